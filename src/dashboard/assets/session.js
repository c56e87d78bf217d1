// Who is signed in, and what the key may do. The key is kept for this tab only, and nowhere else.

import { Api, at } from "./api.js";

const PLACE = "hookwheel.key";
// How often the server is asked whether it is ready.
const READY_EVERY_MS = 30_000;

export const session = {
  api: null,
  scopes: new Set(),
  // What the account's profile is, where the key may read it.
  profile: null,
};

function stored() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null;
  }
}

function store(key) {
  try {
    if (key === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, key);
  } catch {
    // Storage is switched off: the key is held until the page is loaded anew.
  }
}

export const may = (scope) => session.scopes.has(scope) || (scope === "read" && session.scopes.has("admin"));

// Why something cannot be done; null where it can.
export const lacks = (scope) =>
  may(scope)
    ? null
    : `This needs a key with the scope “${scope}”; yours has ${[...session.scopes].join(", ") || "none"}.`;

// Signs in and finds out what the key may do.
export async function signIn(key, onUnauthorized) {
  const api = new Api(key, onUnauthorized);
  const scopes = new Set();
  const asked = async (scope, ask, isAllowed = () => false) => {
    try {
      const answer = await ask();
      scopes.add(scope);
      return answer;
    } catch (problem) {
      if (isAllowed(problem)) scopes.add(scope);
      else if (problem.status !== 403) throw problem;
      return null;
    }
  };
  const profiles = await asked("read", () => api.get(at("profiles")));
  await asked("admin", () => api.get(`${at("audit")}?limit=1`));
  // A batch of nothing is refused for its size, by a key that may send, and changes nothing.
  await asked(
    "send",
    () => api.post(at("events", "batch"), []),
    (problem) => problem.status === 400,
  );
  // Reading comes with managing; it is shown on its own only where it stands alone.
  if (scopes.has("admin")) scopes.delete("read");
  session.api = api;
  session.scopes = scopes;
  session.profile = profiles?.data.find((profile) => profile.own) ?? null;
  store(key);
}

// Signs in with the key of this tab, if there is one.
export async function resume(onUnauthorized) {
  const key = stored();
  if (key === null) return false;
  await signIn(key, onUnauthorized);
  return true;
}

export function signOut() {
  session.api = null;
  session.scopes = new Set();
  session.profile = null;
  store(null);
}

// Watches the server's health, and tells of each look.
export function watchHealth(tell) {
  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch("/readyz", { cache: "no-store", credentials: "omit" });
      const text = (await response.text()).trim();
      tell(
        response.ok
          ? { state: "ready", text: "Ready" }
          : { state: "troubled", text: text.slice(0, 500) || `Answered ${response.status}` },
      );
    } catch {
      tell({ state: "away", text: "The server does not answer" });
    }
  };
  look();
  document.addEventListener("visibilitychange", look);
  setInterval(look, READY_EVERY_MS);
}

// The server's version, where it tells one without a key.
export async function version() {
  try {
    const response = await fetch("/openapi.json", { credentials: "omit" });
    const text = response.ok ? (await response.json())?.info?.version : null;
    return typeof text === "string" ? text : null;
  } catch {
    return null;
  }
}
