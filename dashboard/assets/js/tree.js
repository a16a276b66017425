// What came from what: all machines and snapshots as they grew, and what each
// has to itself and shares.

import { useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { get, send } from "./api.js";
import { cell, happened, machines, usePolling } from "./live.js";
import { useKeys } from "./keys.js";
import { createMachine } from "./machines.js";
import { Bar, Button, Command, Dialog, Empty, Glyph, Icon, Problem, State, bytes, dialog, html, narrow, plural, useMedia } from "./ui.js";

/** By name where both have one, as those of one fork have, and else by age. */
const before = (a, b) => (a.name && b.name && a.name.localeCompare(b.name, undefined, { numeric: true })) || a.createdAt.localeCompare(b.createdAt);

/** Puts nodes in the order in which they are drawn, each with its depth and all that grew from it. */
export function grow(nodes) {
  const all = new Map(nodes.map((n) => [n.id, { ...n, children: [], depth: 0, size: 1 }]));
  const roots = [];
  for (const node of all.values()) {
    const parent = all.get(node.parentId);
    node.parent = parent;
    (parent ? parent.children : roots).push(node);
  }
  const ordered = [];
  const visit = (node, depth) => {
    node.depth = depth;
    ordered.push(node);
    for (const child of node.children.sort(before)) {
      visit(child, depth + 1);
      node.size += child.size;
    }
  };
  for (const root of roots) visit(root, 0);
  return { roots, ordered };
}

/** How often this page has deleted a snapshot: of that there is no event. */
const pruned = cell(0);

const nameOf = (node) => node.name || node.id.slice(0, node.kind === "snapshot" ? 11 : 8);
const stateOf = (node) => (node.deleted ? "deleted" : node.state);
const sum = (f) => (f ? f.ownBytes + f.sharedBytes : 0);

export function Tree() {
  const [nodes, setNodes] = useState(null);
  const [error, setError] = useState(null);
  const [folded, setFolded] = useState(new Set());
  const vms = machines.use();
  const there = vms?.map((vm) => vm.id).join();
  const events = happened.use();
  usePolling((signal) => get("/v1/tree", { signal }).then((t) => { setNodes(t.nodes); setError(null); }, (err) => err.name !== "AbortError" && setError(err)), 6000, [there, events, pruned.use()]);

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

  if (error && !nodes) return html`<div class="heading"><h1>Tree</h1></div><${Problem} error=${error} />`;
  if (nodes?.length === 0) {
    return html`<div class="heading"><h1>Tree</h1></div><${Empty} title="Nothing has grown yet">
      <p>Every fork of a machine becomes a branch of it here. Plant the first, and fork it:</p>
      <${Command}>coppice fork hello -n 3 --name twig</${Command}>
      <${Button} kind="primary" icon="plus" onClick=${createMachine}>New machine</${Button}></${Empty}>`;
  }
  const living = ordered.filter((n) => !n.deleted);
  const own = (what) => bytes(living.reduce((n, node) => n + (node[what]?.ownBytes ?? 0), 0));
  return html`
    <div class="heading"><h1>Tree</h1>
      <div class="legend">${["running", "suspended", "stopped", "lost", "ready", "deleted"].filter((s) => ordered.some((n) => stateOf(n) === s)).map((s) => html`<${State} state=${s} />`)}</div>
      <p>${nodes ? html`${plural(living.filter((n) => n.kind === "vm").length, "machine")}, ${plural(living.filter((n) => n.kind === "snapshot").length, "snapshot")}. To themselves they have ${own("memory")} of memory and ${own("disk")} of disk; the rest is shared.` : "…"}</p></div>
    <${Canopy} roots=${roots} ordered=${ordered} onPick=${(id) => {
      setFolded(new Set());
      requestAnimationFrame(() => list.current.querySelector(`[data-node="${CSS.escape(id)}"] a.name, [data-node="${CSS.escape(id)}"]`)?.focus());
    }} />
    <div class="tree card flush" ref=${list}>
      <div class="row head" aria-hidden="true"><span>Name</span><span>Memory <i class="own" />own <i class="shared" />shared</span><span>Disk</span></div>
      <${Rows} shown=${shown} folded=${folded} fold=${fold} />
    </div>`;
}

const indent = 22;

function Rows({ shown, folded, fold }) {
  const slim = useMedia(narrow);
  const height = slim ? 52 : 38;
  const step = slim ? 14 : indent;
  const most = Math.max(0, ...shown.map((n) => n.depth));
  const largest = { memory: Math.max(1, ...shown.map((n) => sum(n.memory))), disk: Math.max(1, ...shown.map((n) => sum(n.disk))) };
  const row = new Map(shown.map((n, i) => [n.id, i]));
  const x = (node) => 24 + node.depth * step, y = (node) => row.get(node.id) * height + height / 2;
  const branch = (n) => `M${x(n.parent)} ${y(n.parent) + 9}V${y(n) - 8}Q${x(n.parent)} ${y(n)} ${x(n.parent) + 8} ${y(n)}H${x(n) - 11}`;
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

/** The whole at a glance: stools at the bottom, and what grew from each above. The list says the same in words. */
function Canopy({ roots, ordered, onPick }) {
  const box = useRef();
  const [width, setWidth] = useState(1000);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const depth = Math.max(0, ...ordered.map((n) => n.depth));
  const ground = 24 + Math.max(168, depth * 18), height = ground + 22;
  const level = Math.min(88, (ground - 24) / Math.max(1, depth));
  const leaves = ordered.filter((n) => n.children.length === 0).length + (roots.length - 1) * 0.8;
  const gap = Math.min(88, (width - 48) / Math.max(1, leaves));
  const size = Math.max(3, Math.min(16, gap * 0.82));
  const at = new Map();
  let next = (width - gap * leaves) / 2 + gap / 2;
  const place = (node) => {
    const xs = node.children.map(place);
    const x = xs.length ? (xs[0] + xs.at(-1)) / 2 : next;
    if (!xs.length) next += gap;
    at.set(node.id, [x, ground - node.depth * level]);
    return x;
  };
  for (const root of roots) {
    place(root);
    next += gap * 0.8;
  }
  const branch = (n) => {
    const [x, y] = at.get(n.id), [px, py] = at.get(n.parent.id);
    return `M${px} ${py}C${px} ${py - level * 0.55} ${x} ${y + level * 0.6} ${x} ${y}`;
  };
  return html`<div class="canopy card" ref=${box} aria-hidden="true"><svg width="100%" height=${height} viewBox=${`0 0 ${width} ${height}`}>
    ${roots.map((n) => { const [x, y] = at.get(n.id); return html`<ellipse class="stool" cx=${x} cy=${y + 6} rx=${n.size > 1 ? Math.min(34, 9 + n.size * 0.5) : Math.min(9, gap * 0.7)} ry="4.5" />`; })}
    ${ordered.filter((n) => n.parent).map((n) => html`<path key=${n.id} d=${branch(n)} stroke-width=${Math.min(5, Math.min(1, gap / 6) + Math.sqrt(n.size - 1) * 0.5)} />`)}
    ${ordered.map((n) => { const [x, y] = at.get(n.id); return html`<g key=${n.id} class="bud" onClick=${() => onPick(n.id)}>
      <title>${nameOf(n)}, ${stateOf(n)}</title><circle class="ground" cx=${x} cy=${y} r=${size / 2 + 0.5} /><${Glyph} state=${stateOf(n)} x=${x - size / 2} y=${y - size / 2} size=${size} /></g>`; })}
  </svg></div>`;
}
