// What came from what: all machines and snapshots as they grew, and what each
// has to itself and shares.

import { useMemo, useRef, useState } from "../vendor/preact.js";
import { send } from "./api.js";
import { Canopy } from "./canopy.js";
import { grow, nameOf, stateOf } from "./forest.js";
import { cell, happened, machines, useAnswer } from "./live.js";
import { useKeys } from "./keys.js";
import { createMachine } from "./machines.js";
import { Bar, Button, Command, Dialog, Empty, Glyph, Icon, Problem, State, bytes, dialog, html, narrow, plural, useMedia } from "./ui.js";

/** How often this page has deleted a snapshot: of that there is no event. */
const pruned = cell(0);

const sum = (f) => (f ? f.ownBytes + f.sharedBytes : 0);

export function Tree() {
  const [folded, setFolded] = useState(new Set());
  const vms = machines.use();
  const there = vms?.map((vm) => vm.id).join();
  const events = happened.use();
  const [answer] = useAnswer("/v1/tree", 6000, [there, events, pruned.use()]);
  const nodes = answer?.nodes;

  // States are known sooner than what is stored.
  const fresh = useMemo(() => {
    const states = new Map(vms?.map((vm) => [vm.id, vm.state]));
    return nodes?.map((n) => ({ ...n, state: states.get(n.id) ?? n.state }));
  }, [nodes, vms]);
  const { roots, ordered } = useMemo(() => grow(fresh ?? []), [fresh]);
  const hidden = (node) => node.parent && (folded.has(node.parent.id) || hidden(node.parent));
  const shown = ordered.filter((n) => !hidden(n));
  const fold = (id, to) => setFolded((old) => {
    const next = new Set(old);
    next[to ?? !old.has(id) ? "add" : "delete"](id);
    return next;
  });

  const list = useRef();
  const focused = () => document.activeElement?.closest?.("[data-node]")?.dataset.node;
  const step = (by) => {
    const links = [...list.current?.querySelectorAll("a.name") ?? []];
    links[Math.max(0, Math.min(links.length - 1, links.indexOf(document.activeElement) + by))]?.focus();
  };
  useKeys({
    j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
    ArrowLeft: () => focused() && fold(focused(), true), ArrowRight: () => focused() && fold(focused(), false),
  });

  if (answer?.error) return html`<div class="heading"><h1>Tree</h1></div><${Problem} error=${answer.error} />`;
  if (!nodes) return html`<div class="heading"><h1>Tree</h1><p key="waiting">…</p></div>`;
  if (nodes.length === 0) {
    return html`<div class="heading"><h1>Tree</h1></div><${Empty} title="Nothing has grown yet">
      <p>Every fork of a machine becomes a branch of it here. Plant the first, and fork it:</p>
      <${Command}>coppice fork hello -n 3 --name twig</${Command}>
      <${Button} kind="primary" icon="plus" onClick=${createMachine}>New machine</${Button}></${Empty}>`;
  }
  const living = ordered.filter((n) => !n.deleted);
  const count = (kind) => living.filter((n) => n.kind === kind).length;
  const own = (what) => bytes(living.reduce((n, node) => n + (node[what]?.ownBytes ?? 0), 0));
  return html`
    <div class="heading"><h1>Tree</h1>
      <div class="legend">${["running", "suspended", "stopped", "lost", "ready", "deleted"].filter((s) => ordered.some((n) => stateOf(n) === s)).map((s) => html`<${State} state=${s} />`)}</div>
      <p>${plural(count("vm"), "machine")}${count("snapshot") > 0 && `, ${plural(count("snapshot"), "snapshot")}`}, with ${own("memory")} of memory and ${own("disk")} of disk of their own; the rest is shared.</p></div>
    ${!ordered.some((n) => n.parent) && html`<p class="card hint">Nothing has been forked yet. What you fork a machine into grows from it here.</p>`}
    ${ordered.some((n) => n.parent) && html`<${Canopy} roots=${roots} ordered=${ordered} onPick=${(id) => {
      setFolded(new Set());
      requestAnimationFrame(() => list.current.querySelector(`[data-node="${CSS.escape(id)}"] a.name, [data-node="${CSS.escape(id)}"]`)?.focus());
    }} />`}
    <div class="tree card flush" ref=${list}>
      <div class="row head" aria-hidden="true"><span>Name</span><span>Memory<em> and disk</em> <i class="own" />own <i class="shared" />shared</span><span>Disk</span></div>
      <${Rows} shown=${shown} folded=${folded} fold=${fold} />
    </div>`;
}

function Rows({ shown, folded, fold }) {
  const slim = useMedia(narrow);
  const height = slim ? 52 : 38;
  const most = Math.max(0, ...shown.map((n) => n.depth));
  const step = slim ? Math.min(14, 44 / most) : Math.min(22, 330 / most);
  const largest = { memory: Math.max(1, ...shown.map((n) => sum(n.memory))), disk: Math.max(1, ...shown.map((n) => sum(n.disk))) };
  const row = new Map(shown.map((n, i) => [n.id, i]));
  const x = (node) => 24 + node.depth * step, y = (node) => row.get(node.id) * height + height / 2;
  const bend = Math.min(8, step - 11); // how far there is from the line of a parent to the shape of a child
  const branch = (n) => `M${x(n.parent)} ${y(n.parent) + 9}` + (bend > 0
    ? `V${y(n) - bend}Q${x(n.parent)} ${y(n)} ${x(n.parent) + bend} ${y(n)}H${x(n) - 11}`
    : `V${y(n) - 16}L${x(n)} ${y(n) - 9}`);
  return html`<div class="rows">
    <svg class="branches" aria-hidden="true" width=${40 + most * step} height=${shown.length * height}>
      ${shown.filter((n) => n.parent).map((n) => html`<path key=${n.id} d=${branch(n)} />`)}
      ${shown.map((n) => html`<${Glyph} key=${n.id} state=${stateOf(n)} x=${x(n) - 8} y=${y(n) - 8} />`)}
    </svg>
    <ul>${shown.map((n) => html`<li key=${n.id} class="row" data-node=${n.id} style=${{ height: `${height}px`, "--in": `${x(n) + 18}px` }} tabindex=${n.kind === "vm" && !n.deleted ? undefined : -1}>
      <span class="label" style=${{ paddingLeft: `${x(n) + 18}px` }}>
        ${n.kind === "vm" && !n.deleted ? html`<a class="name" href=${`#/vm/${n.id}`}>${nameOf(n)}</a>` : html`<b>${nameOf(n)}</b>`}
        <span class="what">${n.deleted ? `deleted ${n.kind === "vm" ? "machine" : n.kind}` : n.kind === "snapshot" ? "snapshot" : n.state}</span>
        ${n.children.length > 0 && html`<button type="button" class="fold" aria-expanded=${folded.has(n.id) ? "false" : "true"} onClick=${() => fold(n.id)}
          aria-label=${`${plural(n.size - 1, "descendant")} of ${nameOf(n)}`}>${folded.has(n.id) ? `+${n.size - 1}` : html`<${Icon} name="open" />`}</button>`}
        ${n.kind === "snapshot" && !n.deleted && html`<button type="button" class="fold" title="Delete the snapshot" aria-label=${`Delete the snapshot ${nameOf(n)}`} onClick=${() => deleteSnapshot(n)}><${Icon} name="trash" /></button>`}
      </span>
      <${Share} what="memory" of=${n.memory} whole=${largest.memory} />
      <${Share} what="disk" of=${n.deleted && n.kind === "vm" ? undefined : n.disk} whole=${largest.disk} />
    </li>`)}</ul>
  </div>`;
}

function deleteSnapshot(node) {
  const remove = async () => {
    await send("DELETE", `/v1/vms/snapshots/${encodeURIComponent(node.id)}`);
    pruned.set(pruned.get() + 1);
  };
  dialog.set((close) => html`<${Dialog} title=${`Delete the snapshot ${nameOf(node)}?`} action="Delete" danger onSubmit=${remove} onClose=${close}>
    <p>No machine can be made from it any more. <b>${bytes(node.disk.ownBytes)}</b> that are nowhere else are lost for good.</p>
    ${node.children.length > 0 && html`<p class="quiet">${plural(node.children.length, "machine that came", "machines that came")} from it go on.</p>`}
  </${Dialog}>`);
}

function Share({ what, of, whole }) {
  if (!of) return html`<span class="share" />`;
  const words = `${bytes(of.ownBytes)} of ${what} its own, ${bytes(of.sharedBytes)} shared`;
  return html`<span class="share" title=${words}>
    <${Bar} label=${words} whole=${whole} parts=${[{ kind: "own", value: of.ownBytes }, { kind: "shared", value: of.sharedBytes }]} />
    <small><em>${what} </em>${bytes(of.ownBytes)}</small>
  </span>`;
}
