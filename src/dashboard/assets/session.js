// Who is signed in, and what the key may do. The key is kept for this tab only, and nowhere else.

import { Api, at } from "./api.js";

const PLACE = "hookwheel.key";
// How often the server is asked whether it is ready.
const READY_EVERY_MS = 30_000;

export const session = {
  api: null,
  // Whose key it is, and what the config calls it.
  account: null,
  keyName: null,
  limits: null,
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

// Signs in, and asks what the key may do.
export async function signIn(key, onUnauthorized) {
  const api = new Api(key, onUnauthorized);
  const own = await api.get(at("key"));
  const scopes = new Set(own.scopes);
  const mayRead = scopes.has("read") || scopes.has("admin");
  const profiles = mayRead ? await api.get(at("profiles")) : null;
  Object.assign(session, { api, scopes, account: own.account, keyName: own.name, limits: own.limits });
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
  Object.assign(session, { api: null, account: null, keyName: null, limits: null, scopes: new Set(), profile: null });
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
