// The public API as this page uses it: one function for a call, one class for what may go wrong.

// What an answer says is wrong (RFC 9457), or that there was none.
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body?.detail ?? (status === 0 ? "the server does not answer" : `the server answered ${status}`));
    this.status = status;
    this.code = body?.code ?? (status === 0 ? "unreachable" : "unknown");
    this.errors = body?.errors ?? [];
    this.retryAfterSeconds = retryAfter;
  }
}

export class Api {
  #key;
  #onUnauthorized;

  constructor(key, onUnauthorized) {
    this.#key = key;
    this.#onUnauthorized = onUnauthorized;
  }

  // An answer as it comes, for streams.
  async open(method, path, { body, signal, accept = "application/json" } = {}) {
    const headers = { "X-API-Key": this.#key, Accept: accept };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const request = {
      method,
      headers,
      body: body === undefined ? undefined : text,
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    };
    let response;
    try {
      response = await fetch(path, request);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0);
    }
    if (response.ok) return response;
    if (response.status === 401) this.#onUnauthorized();
    const said = await response.json().catch(() => null);
    const seconds = Number(response.headers.get("Retry-After")) || null;
    throw new Problem(response.status, said, seconds);
  }

  // The answer's text and its value; the text has all numbers as they were written.
  async whole(method, path, options) {
    const response = await this.open(method, path, options);
    const text = await response.text();
    return { status: response.status, text, value: text ? JSON.parse(text) : null };
  }

  async get(path, signal) {
    return (await this.whole("GET", path, { signal })).value;
  }

  async post(path, body = {}) {
    return (await this.whole("POST", path, { body })).value;
  }

  async patch(path, body) {
    return (await this.whole("PATCH", path, { body })).value;
  }

  async remove(path) {
    return (await this.whole("DELETE", path)).value;
  }

  // The rows of all pages, up to `max`; `more` says whether there are others.
  async all(path, max, signal) {
    const rows = [];
    let cursor = null;
    do {
      const page = await this.get(withQuery(path, { limit: 200, cursor }), signal);
      rows.push(...page.data);
      cursor = page.next_cursor;
    } while (cursor && rows.length < max);
    return { rows, more: Boolean(cursor) };
  }
}

// A path with a query of what is not null or empty.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

export const at = (...parts) => `/api/v1/${parts.map((part) => encodeURIComponent(part)).join("/")}`;
