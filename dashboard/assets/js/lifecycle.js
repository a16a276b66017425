// The life of a machine, as a diagram: where it is, and where each step leads.
// The steps are what the API says; only where they are drawn is said here.

import { doing, lifecycle } from "./live.js";
import { Glyph, html, narrow, useMedia } from "./ui.js";
import { allowed, endsIt } from "./actions.js";

const layouts = {
  wide: {
    width: 760, height: 292, pill: 116,
    at: { running: [380, 34], suspended: [110, 146], stopped: [650, 146], lost: [380, 258] },
    exits: { running: [[110, 34], [650, 34]], suspended: [[110, 34], [110, 258]], stopped: [[650, 34], [650, 258]], lost: [[110, 258], [650, 258]] },
    label: { "lost running": 0.25, "running lost": 0.22, "suspended stopped": 0.3, forks: 0.5, deleted: 0.5 },
  },
  narrow: {
    width: 340, height: 380, pill: 106, quiet: true,
    at: { running: [170, 130], suspended: [57, 238], stopped: [283, 238], lost: [170, 346] },
    exits: { running: [[57, 34], [283, 34]], suspended: [[57, 34], [57, 346]], stopped: [[283, 34], [283, 346]], lost: [[57, 34], [283, 34]] },
    label: { "lost running": 0.25, "suspended stopped": 0.5, "lost deleted": 0.82, forks: 0.5, deleted: 0.5 },
  },
};
const height = 40, apart = 9;

/** The steps as edges: those that lead to the same place are one. */
function edges(vm, steps) {
  const all = new Map();
  const add = (from, to, ask, kind) => {
    const key = `${from} ${to}`;
    const edge = all.get(key) ?? { key, from, to, asks: [], kind };
    edge.asks.push(ask);
    all.set(key, edge);
  };
  const can = allowed(vm, steps);
  for (const { ask, from, works } of steps) {
    const here = from === vm.state && can.includes(ask);
    if (ask === "fork") {
      if (here) add(from, "forks", ask, "next");
    } else if (!works || (here && endsIt(vm, ask))) {
      if (here) add(from, "deleted", ask, "next");
    } else if (works !== from) {
      add(from, works, ask, here ? "next" : "");
    }
  }
  if (steps.length) add("running", "lost", "if it breaks", "rare");
  return [...all.values()];
}

/** Where a line from a point in the pill at [cx, cy] leaves it, and a little further. */
function leave([cx, cy], [x, y], [dx, dy], pill) {
  const away = (c, p, d, half) => (d ? (half + 6 - (p - c) * Math.sign(d)) / Math.abs(d) : Infinity);
  const t = Math.min(away(cx, x, dx, pill / 2), away(cy, y, dy, height / 2));
  return [x + dx * t, y + dy * t];
}

function Edge({ edge, layout }) {
  const [a, b] = [layout.at[edge.from], layout.at[edge.to]];
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  const d = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
  const side = [-d[1] * apart, d[0] * apart]; // so that ways there and back are two lines
  const [x1, y1] = leave(a, [a[0] + side[0], a[1] + side[1]], d, layout.pill);
  const [x2, y2] = leave(b, [b[0] + side[0], b[1] + side[1]], [-d[0], -d[1]], layout.pill);
  const at = layout.label[edge.key] ?? layout.label[edge.to] ?? 0.36;
  const named = edge.kind === "next" || !layout.quiet;
  return html`<g class="edge ${edge.kind}">
    <line x1=${x1} y1=${y1} x2=${x2} y2=${y2} marker-end=${`url(#arrow-${edge.kind || "plain"})`} />
    ${named && html`<text x=${x1 + (x2 - x1) * at} y=${y1 + (y2 - y1) * at + 4}>${edge.asks.join(" · ")}</text>`}
  </g>`;
}

function Node({ name, now, layout }) {
  const [x, y] = layout.at[name];
  const half = 11 + name.length * 3.6; // of the shape and the word, which are in the middle
  return html`<g class="node ${name} ${now && "now"}" aria-current=${now ? "step" : undefined}>
    <rect x=${x - layout.pill / 2} y=${y - height / 2} width=${layout.pill} height=${height} rx=${height / 2} />
    <${Glyph} state=${name === "forks" ? "running" : now || name} x=${x - half} y=${y - 8} />
    <text x=${x - half + 22} y=${y + 5}>${name}</text>
  </g>`;
}

export function Lifecycle({ vm }) {
  const steps = lifecycle.use();
  const busy = doing.use()[vm.id];
  const drawn = useMedia(narrow) ? layouts.narrow : layouts.wide;
  // In a state that passes it is on its way: the shape turns where it comes from or goes.
  const at = { starting: "running", building: "running", suspending: "suspended" }[vm.state] ?? vm.state;
  // What leaves the circle is next to where the machine is, so that no way there crosses another.
  const [forks, deleted] = drawn.exits[at];
  const layout = { ...drawn, at: { ...drawn.at, forks, deleted } };
  const next = edges(vm, steps).filter((e) => e.kind === "next");
  const words = `It is ${vm.state}. ${next.map((e) => `${e.asks.join(" or ")} leads to ${e.to}`).join(", ")}.`;
  return html`<figure class="lifecycle">
    <svg viewBox=${`0 0 ${layout.width} ${layout.height}`} role="img" aria-label=${words} style=${{ aspectRatio: `${layout.width} / ${layout.height}` }}>
      <defs>${["plain", "next", "rare"].map((kind) => html`<marker id=${`arrow-${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse">
        <path class=${kind} d="M0 0.5 8 4 0 7.5z" /></marker>`)}</defs>
      ${edges(vm, steps).sort((a, b) => (a.kind === "next") - (b.kind === "next")).map((e) => html`<${Edge} key=${e.key} edge=${e} layout=${layout} />`)}
      ${["running", "suspended", "stopped", "lost", "deleted"].map((name) => html`<${Node} key=${name} name=${name} layout=${layout} now=${name === at && (busy ? "starting" : vm.state)} />`)}
      <${Node} name="forks" layout=${layout} />
    </svg>
  </figure>`;
}
