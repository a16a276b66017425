// A machine at a glance.

import { useEffect, useState } from "../vendor/preact.js";
import { get, send, vmPath } from "./api.js";
import { happened, ingress, machines, refresh } from "./live.js";
import { whenIdle } from "./machines.js";
import { Ago, Button, Command, Dialog, Field, Icon, Problem, attempt, bytes, dialog, html, mib, nameOf, plural } from "./ui.js";
import { Charts } from "./charts.js";
import { Lifecycle } from "./lifecycle.js";
import { Events, useEvents } from "./history.js";

export function Overview({ vm }) {
  return html`<div class="overview">
    <section class="card wide"><${Lifecycle} vm=${vm} /></section>
    <${Charts} key=${vm.vmInstanceId} vm=${vm} />
    <${Facts} vm=${vm} />
    <div class="stack">
      <${Ports} vm=${vm} />
      <${Lately} vm=${vm} />
    </div>
  </div>`;
}

const reach = { open: "the internet", closed: "nothing outside" };

function Facts({ vm }) {
  const [node, setNode] = useState();
  const [network, setNetwork] = useState();
  const last = happened.use()[vm.id]?.id;
  useEffect(() => {
    get("/v1/tree").then(({ nodes }) => setNode(nodes.find((n) => n.id === vm.id)), () => {});
    get(vmPath(vm.id, "/network")).then(setNetwork, () => {});
  }, [vm.id, vm.state, last]);
  const parent = node?.parentId && machines.get()?.find((m) => m.id === node.parentId);
  const { vcpuCount, memSizeMib, rootfsSizeMb } = vm.sizing;
  const kept = { sticky: "while the pool has room for it", persistent: "always", ephemeral: "until it ends" }[vm.persistence?.type];
  const facts = [
    ["Size", `${plural(vcpuCount, "vCPU")}, ${mib(memSizeMib)} memory, ${mib(rootfsSizeMb)} disk`],
    ["Memory", node?.memory && vm.state === "running" ? html`${bytes(node.memory.ownBytes)} its own, ${bytes(node.memory.sharedBytes)} shared` : node && "none, as it does not run"],
    ["Disk", node && html`${bytes(node.disk.ownBytes)} its own, ${bytes(node.disk.sharedBytes)} shared`],
    ["From", node && (parent ? html`<a class="link" href=${`#/vm/${parent.id}`}>${nameOf(parent)}</a>` : node.parentId ? html`<code>${node.parentId}</code>` : "the host's image")],
    ["When idle", html`${whenIdle(vm)}${vm.reclaimAt && html`, so <${Ago} at=${vm.reclaimAt} />`}`],
    ["Kept", kept],
    ["May reach", network && html`${reach[network.egress] ?? network.egress}${network.egressDefault && ", as the host has it"}${" "}
      <button type="button" class="link" onClick=${() => changeEgress(vm, network, setNetwork)}>Change</button>`],
    ["Created", html`<${Ago} at=${vm.createdAt} />`],
    vm.vmInstanceId && ["Id of its run", html`<code>${vm.vmInstanceId}</code>`],
  ].filter(Boolean);
  return html`<section class="card"><h2>About it</h2>
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value ?? "…"}</dd></div>`)}</dl>
    <div class="beside"><h3>From the command line</h3><${Command}>${`coppice shell ${/^\w[\w.-]*$/.test(vm.name) ? vm.name : vm.id}`}</${Command}></div>
  </section>`;
}

function changeEgress(vm, network, changed) {
  const change = async (form) => {
    const body = { egress: form.get("egress").trim() || null };
    changed(await (await send("PUT", vmPath(vm.id, "/network"), { body })).json());
  };
  dialog.set((close) => html`<${Dialog} title=${`What ${nameOf(vm)} may reach`} action="Change" onSubmit=${change} onClose=${close}>
    <${Field} label="Networks and names" hint="open, closed, or a list as in 10.1.0.0/16,*.example.com. Empty: as the host has it. It holds at once.">
      <input name="egress" data-first value=${network.egressDefault ? "" : network.egress} placeholder=${network.egress} autocomplete="off" spellcheck=${false} /></${Field}>
  </${Dialog}>`);
}

function Ports({ vm }) {
  const [ports, setPorts] = useState(null);
  const [error, setError] = useState(null);
  const running = vm.state === "running";
  const where = ingress.use();
  const look = () => get(vmPath(vm.id, "/ports")).then((p) => {
    setError(null);
    setPorts(p.ports);
  }, setError);
  useEffect(() => { running ? look() : setPorts(null); }, [vm.id, vm.state, vm.vmInstanceId]);
  const setPrivate = async () => {
    await send("PUT", vmPath(vm.id, "/ingress"), { body: { private: !vm.private } });
    await refresh();
  };
  const url = (port) => where.url?.replace("{port}", port).replace("{vm}", vm.id);
  return html`<section class="card">
    <header><h2>Open ports</h2>${running && html`<${Button} kind="small" icon="refresh" onClick=${look}>Look again</${Button}>`}</header>
    ${!running ? html`<p class="quiet">Nothing listens while it does not run.</p>`
      : error ? html`<${Problem} error=${error} />`
      : ports === null ? html`<p class="quiet">…</p>`
      : ports.length === 0 ? html`<p class="quiet">Nothing listens. What does, say <code>python3 -m http.server 8000</code>, is linked here.</p>`
      : html`<ul class="ports">${ports.map((p) => html`<li key=${p.port}>
          ${url(p.port) ? html`<a class="link" href=${url(p.port)} target="_blank" rel="noopener noreferrer"><b>${p.port}</b> <${Icon} name="link" /></a>` : html`<b>${p.port}</b>`}
          <span class="quiet">${p.loopback ? "on its loopback" : "on its network"}</span></li>`)}</ul>`}
    <p class="web"><span class="quiet">${vm.private ? "Private: visitors show a key or a token." : "Public: who knows an address can visit it."}</span>
      <button type="button" class="link" onClick=${() => attempt(setPrivate)}>${vm.private ? "Make public" : "Make private"}</button></p>
  </section>`;
}

function Lately({ vm }) {
  return html`<section class="card"><header><h2>Lately</h2><a class="link" href=${`#/vm/${vm.id}/history`}>All of it</a></header>
    <${Events} events=${useEvents(vm.id)} most=${5} /></section>`;
}
