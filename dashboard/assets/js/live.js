// What is known of the VMs, kept as it is: the API's stream of events says when
// something has happened, and a look now and then finds what has only begun.
// Nobody looks while the page is hidden.

import { useEffect, useState } from "../vendor/preact.js";
import { events, get } from "./api.js";

/** A value that components are drawn anew for when it changes. */
export function cell(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const watcher of [...watchers]) watcher();
    },
    use() {
      const [, redraw] = useState(0);
      useEffect(() => {
        const watcher = () => redraw((n) => n + 1);
        watchers.add(watcher);
        watcher(); // it may have changed since it was drawn
        return () => watchers.delete(watcher);
      }, []);
      return value;
    },
  };
}

/** The VMs, oldest first; null until they are known. */
export const machines = cell(null);
/** What this page is doing to VMs: a word like "Stopping" by the VM's id. */
export const doing = cell({});
/** Why nothing is known any more, if that is so. */
export const trouble = cell(null);
/** The last event of each VM, by its id. */
export const happened = cell({});

/** What can be asked of a VM in which state, and where that leads. */
export const lifecycle = cell([]);
export const ingress = cell({});

/** Forgets all that is known: it may not be for whoever signs in next. */
export function forget() {
  machines.set(null);
  trouble.set(null);
  happened.set({});
  answers.clear();
}

let looking, again = false;
/** Looks at all VMs, and returns when they are known as they are now. */
export function refresh() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    do {
      again = false;
      try {
        machines.set((await get("/v1/vms")).vms);
        if (trouble.get()) trouble.set(null);
      } catch (err) {
        if (err.status !== 401) trouble.set(err); // else nobody is signed in any more
      }
    } while (again);
  })().finally(() => { looking = undefined; });
  return looking;
}

/** Does something to a VM, says so meanwhile, and looks what came of it. */
export async function during(id, word, work) {
  doing.set({ ...doing.get(), [id]: word });
  refresh();
  try {
    return await work();
  } finally {
    const { [id]: _, ...rest } = doing.get();
    doing.set(rest);
    await refresh();
  }
}

/** Waits, and longer while the page is hidden; not at all once it is seen again, or at the signal. */
const pause = (ms, signal) => new Promise((resolve) => {
  const over = new AbortController();
  const end = () => {
    clearTimeout(timer);
    over.abort();
    resolve();
  };
  const unlessHidden = () => document.hidden || end();
  const timer = setTimeout(unlessHidden, ms);
  document.addEventListener("visibilitychange", unlessHidden, { signal: over.signal });
  signal.addEventListener("abort", end, { signal: over.signal });
  if (signal.aborted) end();
});

/** Keeps what is known fresh until the signal. */
export function follow(signal) {
  listen(signal);
  look(signal);
  get("/v1/lifecycle", { signal }).then((answer) => lifecycle.set(answer.steps), () => {});
  get("/v1/ingress", { signal }).then(ingress.set, () => {});
}

async function listen(signal) {
  let last, news = {}, told;
  // Many things happen at once when many VMs are forked: they are told together.
  const tell = () => {
    told = undefined;
    happened.set({ ...happened.get(), ...news });
    news = {};
    if (!document.hidden) refresh();
  };
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      for await (const event of events("/v1/events", { signal, headers })) {
        if (!event) continue;
        last = event.id;
        news[event.data.vmId] = event.data;
        told ??= setTimeout(tell, 100);
      }
    } catch { /* the look now and then says what is wrong */ }
    await pause(2000, signal);
  }
  clearTimeout(told);
}

async function look(signal) {
  while (!signal.aborted) {
    await refresh();
    await pause(1000, signal);
  }
}

/** Calls look now, every ms while the page is seen, and when deps change. */
export function usePolling(look, ms, deps = []) {
  useEffect(() => {
    const abort = new AbortController();
    (async () => {
      while (!abort.signal.aborted) {
        await look(abort.signal);
        await pause(ms, abort.signal);
      }
    })();
    return () => abort.abort();
  }, deps);
}

/** What was answered before, by path, to begin with when a page is shown again. */
const answers = new Map();

/** An answer of the API, asked for now and then, and how to ask at once. It is null before the first, and {error} if it was refused. */
export function useAnswer(path, ms, deps = []) {
  const [answer, setAnswer] = useState(answers.get(path) ?? null);
  const look = (signal) => get(path, { signal }).then((now) => {
    answers.set(path, now);
    setAnswer(now);
  }, (error) => {
    if (error.code === "UNREACHABLE") return refresh(); // which says so for the whole page
    if (error.name !== "AbortError") setAnswer({ error });
  });
  usePolling(look, ms, [path, ...deps]);
  return [answer, look];
}
