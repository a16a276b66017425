// What came from what: all machines and snapshots as they grew, and what each
// has to itself and shares.

import { useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { send } from "./api.js";
import { cell, happened, machines, useAnswer } from "./live.js";
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
  if (!nodes) return html`<div class="heading"><h1>Tree</h1><p>…</p></div>`;
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

/** What grows from nodes side by side: each that has been forked, and a crown of those that have not. */
function parts(nodes) {
  const leaves = nodes.filter((n) => n.children.length === 0);
  const all = nodes.filter((n) => n.children.length > 0).map((node) => ({ node, parts: parts(node.children) }));
  return leaves.length ? [...all, { leaves }] : all;
}

/** Gives each part its width in cells, a crown one of about that many times its height. */
function measure(all, aspect) {
  for (const part of all) {
    if (part.leaves) part.cells = Math.min(part.leaves.length, Math.max(3, Math.ceil(Math.sqrt(part.leaves.length * aspect))));
    else part.cells = Math.max(2, measure(part.parts, aspect));
  }
  return all.reduce((sum, part) => sum + part.cells, all.length - 1);
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
  const { buds, crowns, branches, labels, height } = useMemo(() => drawn(roots, ordered, width), [roots, ordered, width]);
  return html`<div class="canopy card" ref=${box} aria-hidden="true"><svg width="100%" height=${height} viewBox=${`0 0 ${width} ${height}`}>
    ${crowns.map((c) => html`<rect class="crown" ...${c} />`)}
    ${branches.map((b) => html`<path key=${b.key} d=${b.d} stroke-width=${b.thick} />`)}
    ${buds.map(({ node, x, y, size, stool }) => html`<g key=${node.id} class=${`bud ${node.children.length > 0 && "forked"}`} onClick=${() => onPick(node.id)}>
      <title>${nameOf(node)}, ${stateOf(node)}</title>
      ${stool && html`<ellipse class="stool" cx=${x} cy=${y + size / 2} rx=${stool} ry="4.5" />`}
      <circle class="ground" cx=${x} cy=${y} r=${size / 2 + 1} /><${Glyph} state=${stateOf(node)} x=${x - size / 2} y=${y - size / 2} size=${size} /></g>`)}
    ${labels.map((l) => html`<text key=${l.key} class=${l.kind} x=${l.x} y=${l.y} text-anchor=${l.anchor}>${l.text}</text>`)}
  </svg></div>`;
}

const cut = (text, length) => (text.length <= length ? text : `${text.slice(0, Math.floor(length) - 1)}…`);

/** Where all of the picture is, in one of that width. */
function drawn(roots, ordered, width) {
  const all = parts(roots);
  const room = width - 48;
  // From one of a crown to the next: where there is room for it, crowns are a row each, with names.
  let pitch = Math.min(110, room / measure(all, Infinity));
  const depth = Math.max(1, ...ordered.map((n) => n.depth));
  const level = Math.max(16, Math.min(68, 190 / depth));
  const named = pitch >= 70 && level >= 52;
  for (const aspect of named ? [] : [1.6, 1, 0.6, 0.35]) {
    pitch = Math.min(20, room / measure(all, aspect));
    if (pitch >= 11) break;
  }
  const up = named ? 40 : pitch; // from one row to the next
  const rows = (part) => Math.ceil(part.leaves.length / part.cells);
  const above = (some, at) => Math.max(0, ...some.map((p) => (p.leaves ? at * level + rows(p) * up : above(p.parts, at + 1))));
  const ground = Math.max(212, above(all, 0) + 20), height = ground + 44;
  const buds = [], crowns = [], branches = [], labels = [];
  const branch = (part, x, y, from) => {
    const size = part.node?.size ?? part.leaves.length;
    branches.push({ key: (part.node ?? part.leaves[0]).id, thick: Math.min(6, 1 + Math.sqrt(size) * 0.5), d: `M${from[0]} ${from[1]}C${from[0]} ${from[1] - level * 0.55} ${x} ${y + level * 0.6} ${x} ${y}` });
  };
  const crown = (part, left, y, from) => {
    const x = left + (part.cells * pitch) / 2, n = part.leaves.length;
    const size = Math.min(16, pitch * 0.84);
    if (from) branch(part, x, n > 1 || named ? y + up * 0.6 : y, from);
    if (n > 1 || named) crowns.push({ x: left - up * 0.1, y: y - (rows(part) - 0.4) * up, width: part.cells * pitch + up * 0.2, height: (rows(part) + 0.2) * up, rx: Math.min(12, up * 0.6) });
    part.leaves.forEach((node, i) => {
      const row = Math.floor(i / part.cells), across = Math.min(part.cells, n - row * part.cells);
      const at = x + (i % part.cells - (across - 1) / 2) * pitch;
      buds.push({ node, size, x: at, y: y - row * up - (named ? 8 : 0) });
      if (named) labels.push({ key: node.id, kind: "leaf", text: cut(nameOf(node), (pitch - 10) / 6.8), anchor: "middle", x: at, y: y + 17 });
    });
  };
  const place = (some, left, at, from) => {
    for (const [i, part] of some.entries()) {
      const y = ground - at * level;
      if (part.leaves) {
        crown(part, left, y, from);
      } else {
        const x = left + (part.cells * pitch) / 2, size = Math.max(9, Math.min(16, pitch));
        if (from) branch(part, x, y, from);
        const text = nameOf(part.node), room = part.cells * pitch, long = text.length * 6.5 + size;
        if (!from && long < room) labels.push({ key: part.node.id, text, anchor: "middle", x, y: y + 28 });
        else if (from && long < room / 2 + (some[i + 1]?.leaves ? 0 : pitch * 2)) labels.push({ key: part.node.id, text, anchor: "start", x: x + size / 2 + 6, y: y + 4 });
        const inner = measured(part.parts);
        place(part.parts, x - (inner * pitch) / 2, at + 1, [x, y]);
        buds.push({ node: part.node, size, x, y, stool: !from && Math.min(40, 12 + part.node.size * 0.5) });
      }
      left += (part.cells + 1) * pitch;
    }
  };
  const measured = (some) => some.reduce((sum, p) => sum + p.cells, some.length - 1);
  place(all, (width - measured(all) * pitch) / 2, 0);
  return { buds, crowns, branches, labels, height };
}
