// The page of one machine: what it is, where it is in its life, and what may be
// done with it next.

import { useEffect, useRef } from "../vendor/preact.js";
import { doing, lifecycle, machines } from "./live.js";
import { useKeys } from "./keys.js";
import { Button, Copy, Empty, State, html, nameOf } from "./ui.js";
import { Actions, forkMachine } from "./actions.js";
import { Overview } from "./overview.js";
import { Terminal } from "./terminal.js";
import { Files } from "./files.js";
import { Console } from "./console.js";
import { Events, History, useEvents } from "./history.js";

const parts = [
  { at: "", title: "Overview", draw: (vm) => html`<${Overview} vm=${vm} />` },
  { at: "terminal", title: "Terminal", draw: (vm, rest) => html`<${Terminal} vm=${vm} session=${rest[0]} />` },
  { at: "files", title: "Files", draw: (vm, rest) => html`<${Files} vm=${vm} path=${rest[0] || "/root"} />` },
  { at: "console", title: "Console", draw: (vm) => html`<${Console} vm=${vm} />` },
  { at: "history", title: "History", draw: (vm) => html`<${History} vm=${vm} />` },
];

export function Machine({ id, rest: [at = "", ...rest] }) {
  const all = machines.use();
  const vm = all?.find((m) => m.id === id);
  const name = useRef(); // which outlives the machine
  if (vm) name.current = nameOf(vm);
  const part = parts.find((p) => p.at === at) ?? parts[0];
  const go = (to) => { location.hash = `#/vm/${id}${to && "/" + to}`; };
  useKeys({
    ...Object.fromEntries(parts.map((p, i) => [String(i + 1), () => go(p.at)])),
    f: () => vm && lifecycle.get().some((s) => s.ask === "fork" && s.from === vm.state) && forkMachine(vm),
    u: () => { location.hash = "#/"; },
  });
  useEffect(() => { if (vm) document.title = `${nameOf(vm)} · coppice`; }, [vm?.name, at]);
  if (!vm) return all ? html`<${Gone} id=${id} name=${name.current} />` : html`<div class="heading"><h1>…</h1></div>`;
  return html`
    <div class="heading machine">
      <div class="title">
        <p class="crumbs"><a href="#/">Machines</a></p>
        <h1 title=${vm.name}>${nameOf(vm)}</h1>
        <p class="under"><${State} state=${vm.state} doing=${doing.use()[id]} />
          <span><code>${id}</code><${Copy} text=${id} label="the id" /></span></p>
      </div>
      <${Actions} vm=${vm} />
    </div>
    ${vm.reason && html`<p class="reason"><b>${vm.state}:</b> ${vm.reason}</p>`}
    <nav class="tabs" aria-label="Parts of the machine">
      ${parts.map((p) => html`<a href=${`#/vm/${id}${p.at && "/" + p.at}`} aria-current=${p === part ? "page" : undefined}>${p.title}</a>`)}
    </nav>
    ${part.draw(vm, rest)}`;
}

/** A machine that is not there: maybe it was, and has a history. */
function Gone({ id, name }) {
  const events = useEvents(id);
  if (!events) return html`<div class="heading"><h1>…</h1></div>`;
  const end = events.findLast((e) => e.event === "deleted");
  return html`
    <${Empty} title=${end ? `${name ?? "This machine"} has been deleted` : "There is no such machine"}>
      <p>${end ? "What came from it lives on." : html`No machine of yours has the id <code>${id}</code>.`}</p>
      <${Button} kind="primary" onClick=${() => { location.hash = "#/"; }}>All machines</${Button}>
    </${Empty}>
    ${events.length > 0 && html`<section class="card last"><h2>What happened to it</h2><${Events} events=${events} /></section>`}`;
}
