// The host: what it has, what is left of it, and whether it is well.

import { useState } from "../vendor/preact.js";
import { useAnswer } from "./live.js";
import { Bar, Button, Command, Copy, Problem, html, mib, plural } from "./ui.js";

/** Draws nothing before all answers that have something below them are there: nothing moves then. */
export function Host() {
  const [host] = useAnswer("/v1/host", 5000);
  const [account] = useAnswer("/v1/limits", 5000);
  const [ports] = useAnswer("/v1/ingress", 60000);
  const [ssh] = useAnswer("/v1/ssh", 60000);
  if (!host || !account || !ports || !ssh) return html`<div class="heading"><h1>Host</h1><p>…</p></div>`;
  const admin = host.error?.status !== 403;
  return html`
    <div class="heading"><h1>Host</h1>${host.version && html`<span class="quiet">coppice ${[host.version, host.vmm].filter(Boolean).join(" · ")}</span>`}</div>
    ${admin && html`<${Capacity} host=${host} />`}
    <div class="overview">
      <${Limits} account=${account} />
      <${Ways} ports=${ports} ssh=${ssh} />
      ${admin && html`<${Doctor} />`}
    </div>`;
}

function Capacity({ host }) {
  if (host.error) return html`<div class="gauges"><${Problem} error=${host.error} /></div>`;
  const used = { memory: host.memoryMib - host.freeMemoryMib, storage: host.storageMib - host.freeStorageMib };
  return html`<div class="gauges">
    <${Gauge} title="Memory" free=${host.freeMemoryMib} whole=${host.memoryMib} used=${used.memory}>${plural(host.runningVms, "machine runs", "machines run")}, with ${mib(host.runningMemSizeMib)} in all</${Gauge}>
    <${Gauge} title="Pool" free=${host.freeStorageMib} whole=${host.storageMib} used=${used.storage}>Holds disks and the memory of what is suspended; what is the same is stored once</${Gauge}>
    <section class="card gauge"><h2>Processors</h2><p class="big">${host.cpuCount}</p><small>Made ahead: ${plural(host.spares, "machine")} for the next creates, ${plural(host.husks, "process", "processes")} for the next forks</small></section>
  </div>`;
}

function Gauge({ title, free, whole, used, children }) {
  return html`<section class="card gauge"><h2>${title}</h2>
    <p class="big">${mib(free)} <span>free of ${mib(whole)}</span></p>
    <${Bar} label=${`${mib(used)} of ${mib(whole)} in use`} whole=${whole} parts=${[{ kind: used / whole > 0.9 ? "full" : "own", value: used }]} />
    <small>${children}</small></section>`;
}

const rows = [
  ["Machines", "vms", "vms", String], ["That run", "runningVms", "runningVms", String], ["Their vCPUs", "vcpuCount", "vcpuCount", String],
  ["Their memory", "memSizeMib", "memSizeMib", mib], ["Disks", "rootfsSizeMb", "rootfsSizeMb", mib], ["Snapshots", "snapshots", "snapshots", String],
];

function Limits({ account }) {
  return html`<section class="card"><h2>Your account</h2>
    ${account.error ? html`<${Problem} error=${account.error} />` : html`<dl class="facts limits">${rows.map(([title, usage, limit, show]) => {
      const has = account.usage[usage], most = account.limits[limit];
      return html`<div key=${title}><dt>${title}</dt><dd><b>${show(has)}</b> ${most === null ? html`<span class="quiet">no limit</span>` : html`<span class="quiet">of ${show(most)}</span>
        <${Bar} label=${`${show(has)} of ${show(most)}`} whole=${most} parts=${[{ kind: has >= most ? "full" : "own", value: Math.min(has, most) }]} />`}</dd></div>`;
    })}</dl>`}
  </section>`;
}

/** The ways in other than this page. */
function Ways({ ports, ssh }) {
  const sshHost = ssh.host || location.hostname;
  return html`<section class="card"><h2>Ways in</h2>
    <dl class="facts">
      <div><dt>API</dt><dd><code>${location.origin}</code> <${Copy} text=${location.origin} label="the address" /></dd></div>
      <div><dt>Ports</dt><dd>${ports.error ? html`<${Problem} error=${ports.error} />` : ports.url ? html`<code>${ports.url}</code>` : "are not on the web"}</dd></div>
      <div><dt>SSH</dt><dd>${ssh.error ? html`<${Problem} error=${ssh.error} />` : ssh.port ? html`<code>ssh -p ${ssh.port} NAME@${sshHost}</code>` : "is not served"}</dd></div>
      ${ssh.port && html`<div><dt>Its host key</dt><dd><code>${ssh.hostKey}</code> <${Copy} text=${ssh.hostKey} label="the host key" /></dd></div>`}
    </dl>
    <div class="beside"><h3>For scripts and for the SDK</h3><${Command}>${'eval "$(coppice env)"'}</${Command}></div>
  </section>`;
}

function Doctor() {
  const [answer, look] = useAnswer("/v1/doctor", 30000);
  const [looking, setLooking] = useState(false);
  const again = () => {
    setLooking(true);
    look().finally(() => setLooking(false));
  };
  const broken = answer?.findings?.filter((f) => f.broken).length;
  return html`<section class="card wide doctor">
    <header><h2>Doctor</h2>${answer?.findings && html`<span class=${broken ? "lost" : "running"}>${broken ? `${plural(broken, "thing is", "things are")} broken` : "all is well"}</span>`}
      <${Button} kind="small" icon="refresh" busy=${looking} onClick=${again}>Look again</${Button}></header>
    ${answer?.error && html`<${Problem} error=${answer.error} />`}
    <ul>${!answer && html`<li class="quiet">…</li>`}${answer?.findings?.map((f) => html`<li key=${f.name} class=${f.broken ? "broken" : f.fix ? "note" : "well"}>
      <svg viewBox="0 0 16 16" width="16" height="16" role="img" aria-label=${f.broken ? "broken" : f.fix ? "note" : "well"}><path d=${f.broken ? "M4 4l8 8M12 4l-8 8" : f.fix ? "M8 3v6M8 12.4v.1" : "M3 8.5l3.2 3.2L13 4.8"} /></svg>
      <b>${f.name}</b><div><p>${f.text}</p>${f.fix && html`<p class="fix">To mend it: <code>${f.fix}</code></p>`}</div></li>`)}</ul>
  </section>`;
}
