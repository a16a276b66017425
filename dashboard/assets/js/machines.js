// The list of machines.

import { useRef, useState } from "../vendor/preact.js";
import { get, post } from "./api.js";
import { doing, machines, refresh } from "./live.js";
import { useKeys } from "./keys.js";
import { Ago, Button, Command, Dialog, Empty, Field, State, dialog, duration, html, mib, nameOf, toast } from "./ui.js";

const states = ["running", "starting", "suspending", "suspended", "stopped", "lost"];

export function Machines() {
  const vms = machines.use();
  const [search, setSearch] = useState("");
  const [state, setState] = useState("");
  const box = useRef();
  const rows = useRef();
  const step = (by) => {
    const links = [...rows.current?.querySelectorAll("a.name") ?? []];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
  };
  useKeys({ "/": () => box.current?.focus(), j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1) });

  const there = states.filter((s) => s === state || vms?.some((vm) => vm.state === s));
  const wanted = search.trim().toLowerCase();
  const shown = vms?.filter((vm) => (!state || vm.state === state) && (vm.id.includes(wanted) || (vm.name ?? "").toLowerCase().includes(wanted)))
    .sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  return html`
    <div class="heading">
      <h1>Machines</h1>
      <${Button} kind="primary" icon="plus" onClick=${createMachine}>New machine</${Button}>
    </div>
    ${vms?.length === 0 ? html`<${NoMachines} />` : html`
      <div class="filters">
        <input ref=${box} type="search" placeholder="Search by name or id" aria-label="Search by name or id" value=${search}
          onInput=${(e) => setSearch(e.target.value)} onKeyDown=${(e) => e.key === "Escape" && e.target.blur()} />
        <div class="chips" role="group" aria-label="States">
          ${["", ...there].map((s) => html`<button type="button" aria-pressed=${state === s ? "true" : "false"} onClick=${() => setState(s)}>
            ${s ? html`<${State} state=${s} />` : "All"} <b>${vms?.filter((vm) => !s || vm.state === s).length ?? ""}</b></button>`)}
        </div>
      </div>
      <table class="list machines" ref=${rows}>
        <thead><tr><th>Name</th><th>State</th><th>Size</th><th>When idle</th><th>Created</th></tr></thead>
        <tbody>
          ${shown ? shown.map((vm) => html`<${Row} key=${vm.id} vm=${vm} />`) : html`<${Waiting} />`}
        </tbody>
      </table>
      ${shown?.length === 0 && html`<p class="none">Nothing matches. <button type="button" class="link" onClick=${() => { setSearch(""); setState(""); }}>Show all</button></p>`}`}`;
}

function Row({ vm }) {
  const { vcpuCount, memSizeMib, rootfsSizeMb } = vm.sizing;
  return html`<tr>
    <td><a class="name" title=${vm.name} href=${`#/vm/${vm.id}`}>${nameOf(vm)}</a><code class="id">${vm.id}</code></td>
    <td><${State} state=${vm.state} doing=${doing.use()[vm.id]} /></td>
    <td class="numbers">${vcpuCount} vCPU · ${mib(memSizeMib)} · ${mib(rootfsSizeMb)}</td>
    <td>${whenIdle(vm)}</td>
    <td><${Ago} at=${vm.createdAt} /></td>
  </tr>`;
}

export function whenIdle(vm) {
  if (!vm.idleTimeoutSeconds) return "runs on";
  const verb = vm.persistence?.type === "ephemeral" ? "deleted" : "suspended";
  return `${verb} after ${duration(vm.idleTimeoutSeconds)}`;
}

const Waiting = () => [1, 2, 3].map((n) => html`<tr key=${n} class="waiting" aria-hidden="true"><td colspan="5"><i /></td></tr>`);

function NoMachines() {
  return html`<${Empty} title="No machines yet">
    <p>The first takes a moment, its forks hardly any. Make one here, or on the command line:</p>
    <${Command}>coppice create --name hello</${Command}>
    <${Button} kind="primary" icon="plus" onClick=${createMachine}>New machine</${Button}>
  </${Empty}>`;
}

export function createMachine() {
  get("/v1/vms/snapshots").catch(() => ({ snapshots: [] })).then(({ snapshots }) => {
    const ready = snapshots.filter((s) => s.state === "ready" && !s.deleted);
    dialog.set((close) => html`<${Create} snapshots=${ready} onClose=${close} />`);
  });
}

export const cpus = [1, 2, 4, 8, 16, 32];
export const memories = [0.5, 1, 2, 4, 8, 16, 32, 64];
const timeouts = [[60, "1 minute"], [300, "5 minutes"], [3600, "1 hour"], [86400, "1 day"]];
const number = (v) => (v ? Number(v) : undefined);

export function IdleFields({ usual, kept }) {
  return html`
    <div class="fields">
      <${Field} label="Idle timeout"><select name="idle"><option value="">${usual}</option>
        ${timeouts.map(([s, text]) => html`<option value=${s}>${text}</option>`)}<option value="never">none: it runs on</option></select></${Field}>
      <${Field} label="When idle it is"><select name="persistence"><option value="">${kept}</option>
        <option value="persistent">suspended, always kept</option><option value="ephemeral">deleted</option></select></${Field}>
    </div>`;
}

export function idleOf(form) {
  const idle = form.get("idle"), kind = form.get("persistence");
  return {
    idleTimeoutSeconds: idle === "never" ? null : number(idle),
    persistence: kind === "ephemeral" ? { type: kind, deleteEvent: "OnSuspend" } : kind ? { type: kind } : undefined,
  };
}

function Create({ snapshots, onClose }) {
  const create = async (form) => {
    const made = post("/v1/vms", {
      name: form.get("name").trim() || undefined,
      snapshotId: form.get("from") || undefined,
      vcpuCount: number(form.get("cpu")),
      memSizeGb: number(form.get("memory")),
      rootfsSizeGb: number(form.get("disk")),
      ...idleOf(form),
    });
    setTimeout(refresh, 150); // to see it start
    const { id } = await made;
    await refresh();
    toast("The machine runs.");
    location.hash = `#/vm/${id}`;
  };
  return html`<${Dialog} title="New machine" action="Create" onSubmit=${create} onClose=${onClose}>
    <${Field} label="Name" hint="Optional, and need not be unique."><input name="name" data-first maxlength="100" autocomplete="off" spellcheck=${false} /></${Field}>
    <${Field} label="From"><select name="from"><option value="">A fresh Debian</option>
      ${snapshots.map((s) => html`<option value=${s.snapshotId}>${s.name || s.snapshotId} · ${mib(s.memSizeMib)}</option>`)}</select></${Field}>
    <div class="fields">
      <${Field} label="vCPUs"><select name="cpu"><option value="">default</option>${cpus.map((n) => html`<option>${n}</option>`)}</select></${Field}>
      <${Field} label="Memory"><select name="memory"><option value="">default</option>${memories.map((n) => html`<option value=${n}>${mib(n * 1024)}</option>`)}</select></${Field}>
      <${Field} label="Disk, GiB"><input name="disk" type="number" min="1" max="1024" placeholder="default" /></${Field}>
    </div>
    <${IdleFields} usual="host default" kept="suspended" />
  </${Dialog}>`;
}

