// The picture of what came from what.

import { useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { nameOf, stateOf } from "./forest.js";
import { Glyph, html } from "./ui.js";

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
export function Canopy({ roots, ordered, onPick }) {
  const box = useRef();
  const [width, setWidth] = useState(1000);
  useLayoutEffect(() => {
    setWidth(box.current.clientWidth); // before it is seen
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
