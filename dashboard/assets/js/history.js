// What happened to a machine, and why.

import { useEffect, useState } from "../vendor/preact.js";
import { get, vmPath } from "./api.js";
import { happened } from "./live.js";
import { Ago, Glyph, html, took } from "./ui.js";

export function History({ vm }) {
  return html`<section class="card"><${Events} events=${useEvents(vm.id)} /></section>`;
}

/** What happened to a VM, the oldest first: null before that is known, empty if there never was one. */
export function useEvents(id) {
  const [events, setEvents] = useState(null);
  const last = happened.use()[id]?.id;
  useEffect(() => {
    get(vmPath(id, "/history")).then((h) => setEvents(h.events), (err) => err.status === 404 && setEvents([]));
  }, [id, last]);
  return events;
}

/** What the words of the API leave open, where an event has no reason. */
const meanings = { captured: "as it was then, for a fork or a snapshot" };

/** Events, the newest first; at most so many, if that is said. */
export function Events({ events, most }) {
  if (!events) return html`<p class="quiet">…</p>`;
  const shown = [...events].reverse().slice(0, most);
  return html`<ol class="events">${shown.map((e) => {
    const why = e.reason || meanings[e.event];
    return html`<li key=${e.id}>
      <${Glyph} state=${e.state ?? "deleted"} />
      <div><b>${e.event}</b>${why && html`<p>${why}</p>`}</div>
      <span class="quiet">${e.tookMs >= 1 && html`<span class="took">${took(e.tookMs)}</span>`}<${Ago} at=${e.at} /></span>
    </li>`;
  })}</ol>`;
}
