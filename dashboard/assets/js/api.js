// The way to the API. Who is signed in has a session of two halves: a cookie,
// which no script reads, and what is kept here, which no other port of this host
// gets to see.

const kept = "coppice.session";

/** What the API refused: its code and its sentence for people. */
class Refusal extends Error {
  constructor(status, body) {
    const message = body.message || `the daemon answered ${status}`;
    super(message[0].toUpperCase() + message.slice(1));
    this.status = status;
    this.code = body.code || "";
    this.body = body;
  }
}

let lost = () => {};
/** Has f called when the session has ended, for whatever reason. */
export function onSignedOut(f) { lost = f; }

export function signedIn() { return localStorage.getItem(kept) !== null; }

export async function signIn(key) {
  const response = await reach("/auth/v1/browser-session", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, body);
  localStorage.setItem(kept, body.session);
}

export async function signOut() {
  try {
    await send("DELETE", "/auth/v1/browser-session");
  } finally {
    forget();
  }
}

function forget() {
  localStorage.removeItem(kept);
  lost();
}

/** Is fetch, and says in words that nobody answered. */
async function reach(path, init) {
  try {
    return await fetch(path, init);
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Refusal(0, { code: "UNREACHABLE", message: "The daemon does not answer. On its host, coppice doctor says why." });
  }
}

/** Sends a request and returns its answer, which is a success. */
export async function send(method, path, { body, headers = {}, signal } = {}) {
  const init = { method, signal, headers: { "X-Coppice-Session": localStorage.getItem(kept) ?? "", ...headers } };
  if (body instanceof Blob) {
    init.body = body;
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  const response = await reach(path, init);
  if (response.ok) return response;
  const refusal = new Refusal(response.status, await response.json().catch(() => ({})));
  if (response.status === 401) forget();
  throw refusal;
}

export async function get(path, options) { return (await send("GET", path, options)).json(); }
export async function post(path, body, options) { return (await send("POST", path, { body, ...options })).json(); }

/** A WebSocket of this session's. Browsers let it have no headers. */
export function socket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url, ["coppice", `coppice.session.${localStorage.getItem(kept) ?? ""}`]);
}

/** Yields the lines of an answer as they come. */
export async function* lines(path, options) {
  const response = await send("GET", path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

/** Yields server-sent events, {id, data}, as they come; undefined is a sign of life. */
export async function* events(path, options) {
  let event = {};
  for await (const line of lines(path, options)) {
    if (line === "") {
      yield event.data === undefined ? undefined : event;
      event = {};
    } else if (line.startsWith("id: ")) {
      event.id = line.slice(4);
    } else if (line.startsWith("data: ")) {
      event.data = JSON.parse(line.slice(6));
    } else if (line.startsWith(":")) {
      yield undefined;
    }
  }
}

export const vmPath = (id, rest = "") => `/v1/vms/${encodeURIComponent(id)}${rest}`;
export const filePath = (id, name) => vmPath(id, `/files/${encodeURIComponent(name)}`);
