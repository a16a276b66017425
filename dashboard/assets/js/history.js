// What happened to a machine, and why.

import { useEffect, useState } from "../vendor/preact.js";
import { get, vmPath } from "./api.js";
import { happened } from "./live.js";
import { Ago, Glyph, html, took } from "./ui.js";

export function History({ vm }) {
  return html`<section class="card"><${Events} vm=${vm} /></section>`;
}

/** The events of a VM, the newest first; at most so many, if that is said. */
export function Events({ vm, most }) {
  const [events, setEvents] = useState(null);
  const last = happened.use()[vm.id]?.id;
  useEffect(() => { get(vmPath(vm.id, "/history")).then((h) => setEvents(h.events), () => {}); }, [vm.id, last]);
  if (!events) return html`<p class="quiet">…</p>`;
  const shown = [...events].reverse().slice(0, most);
  return html`<ol class="events">${shown.map((e) => html`<li key=${e.id}>
    <${Glyph} state=${e.state ?? "deleted"} />
    <div><b>${e.event}</b>${e.reason && html`<p>${e.reason}</p>`}</div>
    <span class="quiet">${e.tookMs > 0 && html`<span class="took">${took(e.tookMs)}</span>`}<${Ago} at=${e.at} /></span>
  </li>`)}</ol>`;
}
