// What a machine takes of its host, over the last minutes.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { events, vmPath } from "./api.js";
import { bytes, html, plural } from "./ui.js";

const kept = 120; // samples, one a second

/** The last samples of a VM's, while it runs. */
function useStats(vm) {
  const [samples, setSamples] = useState([]);
  useEffect(() => {
    setSamples([]);
    if (vm.state !== "running") return;
    const abort = new AbortController();
    (async () => {
      while (!abort.signal.aborted) {
        try {
          for await (const event of events(vmPath(vm.id, "/stats/stream?interval_ms=1000"), { signal: abort.signal })) {
            if (event) setSamples((old) => [...old, event.data].slice(-kept));
          }
        } catch { /* tried again */ }
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    })();
    return () => abort.abort();
  }, [vm.id, vm.state]);
  return samples;
}

/** What a counter grew by in a second, from sample to sample. */
function rates(samples, counter) {
  return samples.slice(1).map((now, i) => {
    const before = samples[i];
    const seconds = (new Date(now.at) - new Date(before.at)) / 1000;
    const grown = counter(now) - counter(before);
    return now.instanceId === before.instanceId && seconds > 0 && grown >= 0 ? grown / seconds : 0;
  });
}

const perSecond = (n) => `${bytes(n)}/s`;
const percent = (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} %`;

export function Charts({ vm }) {
  const samples = useStats(vm);
  const last = samples.at(-1);
  const cpus = last?.cpu.count ?? vm.sizing.vcpuCount;
  const charts = [
    { title: "CPU", lines: [rates(samples, (s) => (s.cpu.usedSeconds * 100) / cpus)], show: percent, least: 100, note: `of ${plural(cpus, "vCPU")}` },
    { title: "Memory", lines: [samples.map((s) => s.memory.ownBytes)], show: bytes, least: 2 ** 26, note: last && `own, and ${bytes(last.memory.sharedBytes)} shared` },
    { title: "Network", lines: [rates(samples, (s) => s.network.receivedBytes), rates(samples, (s) => s.network.sentBytes)], names: ["in", "out"], show: perSecond, least: 2 ** 14 },
    { title: "Disk", lines: [rates(samples, (s) => s.disk.readBytes), rates(samples, (s) => s.disk.writtenBytes)], names: ["read", "written"], show: perSecond, least: 2 ** 20 },
  ];
  return html`<section class="charts wide" aria-label="What it takes of the host">${charts.map((c) => html`<${Chart} key=${c.title} ...${c} asleep=${vm.state !== "running"} />`)}</section>`;
}

function Chart({ title, lines, names, show, least, note, asleep }) {
  const id = useRef(`fade-${title}`).current;
  const most = Math.max(least, ...lines.flat()) * 1.08;
  const width = 240, height = 56;
  const points = (line) => line.map((v, i) => `${(width - ((line.length - 1 - i) * width) / (kept - 1)).toFixed(1)},${(height - (v / most) * height).toFixed(1)}`);
  const now = lines.map((line) => line.at(-1));
  const peak = show(Math.max(0, ...lines.flat()));
  const words = now[0] === undefined ? "–" : show(now[0]);
  return html`<figure class="card chart">
    <figcaption><h2>${title}${now[0] !== undefined && html`<small title="in the last 2 minutes">peak ${peak}</small>`}</h2>
      <p class="now">${asleep ? html`<span class="quiet">not running</span>` : names ? names.map((name, i) => html`<span class=${`line${i}`}><i />${name} <b>${now[i] === undefined ? "–" : show(now[i])}</b></span>`) : html`<b>${words}</b> <span class="quiet">${note}</span>`}</p></figcaption>
    <svg viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label=${`${title}: ${names ? names.map((n, i) => `${n} ${now[i] === undefined ? "unknown" : show(now[i])}`).join(", ") : words}, at most ${peak} in the last 2 minutes`}>
      <defs><linearGradient id=${id} x1="0" y1="0" x2="0" y2="1"><stop class="from" offset="0" /><stop class="to" offset="1" /></linearGradient></defs>
      ${lines.map((line, i) => line.length > 1 && html`
        ${i === 0 && html`<polygon fill=${`url(#${id})`} points=${[...points(line), `${width},${height}`, `${(width - ((line.length - 1) * width) / (kept - 1)).toFixed(1)},${height}`].join(" ")} />`}
        <polyline class=${`line${i}`} points=${points(line).join(" ")} />`)}
    </svg>
  </figure>`;
}
