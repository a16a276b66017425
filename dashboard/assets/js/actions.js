// What may be done with a machine: a button for each step that its state allows,
// and the questions that come before.

import { useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { get, post, send, vmPath } from "./api.js";
import { doing, during, lifecycle } from "./live.js";
import { IdleFields, cpus, idleOf, memories } from "./machines.js";
import { Button, Dialog, Field, attempt, bytes, dialog, html, mib, nameOf, plural, toast } from "./ui.js";

// In the order of the buttons. What has a dialog asks before it does anything.
const actions = [
  { ask: "start", icon: "play", word: "Starting", primary: true, title: (vm) => (vm.state === "suspended" ? "Resume" : "Start") },
  { ask: "fork", icon: "fork", primary: true, title: () => "Fork", open: forkMachine },
  { ask: "suspend", icon: "moon", word: "Suspending", title: () => "Suspend" },
  { ask: "stop", icon: "stop", word: "Stopping", title: () => "Stop" },
  { ask: "snapshot", icon: "camera", title: () => "Snapshot", open: takeSnapshot },
  { ask: "resize", icon: "resize", title: () => "Resize", open: resizeMachine },
  { ask: "kill", icon: "kill", title: () => "Kill", open: killMachine },
  { ask: "delete", icon: "trash", title: () => "Delete", danger: true, open: (vm) => deleteMachine(vm) },
];

/** What may be asked of a VM now: in a state that passes only what cuts it short. */
export function allowed(vm, steps) {
  const from = (state) => steps.filter((s) => s.from === state).map((s) => s.ask);
  const passing = { starting: "running", suspending: "running", building: "running" }[vm.state];
  return passing ? from(passing).filter((ask) => ask === "kill" || ask === "delete") : from(vm.state);
}

/** Whether what is asked deletes the VM instead: ephemeral ones are not kept. */
export const endsIt = (vm, ask) => vm.persistence?.type === "ephemeral" && (vm.persistence.deleteEvent === "OnStop" ? ["stop", "kill"] : ["suspend"]).includes(ask);

export function Actions({ vm }) {
  const steps = lifecycle.use();
  const busy = doing.use()[vm.id];
  const can = allowed(vm, steps);
  const shown = actions.filter((a) => can.includes(a.ask));
  const first = shown.find((a) => a.primary);
  const group = useRef();
  // The button that has the focus may go with what it has done. The focus stays near.
  const inside = group.current?.contains(document.activeElement);
  useLayoutEffect(() => { if (inside && document.activeElement === document.body) group.current.focus(); });
  return html`<div class="actions" role="group" aria-label="What may be done next" tabindex="-1" ref=${group}>
    ${shown.map((a) => {
      const wait = busy && !["kill", "delete"].includes(a.ask);
      return html`<${Button} key=${a.ask} icon=${a.icon} kind=${a === first ? "primary" : a.danger ? "danger" : ""} aria-disabled=${wait ? "true" : undefined}
        onClick=${() => !wait && start(vm, a)}>${a.title(vm)}</${Button}>`;
    })}
  </div>`;
}

function start(vm, { ask, word, title, open }) {
  const done = () => send("POST", vmPath(vm.id, `/${ask}`));
  if (endsIt(vm, ask)) deleteMachine(vm, `${title(vm)} ${nameOf(vm)}, which deletes it?`, done);
  else if (open) open(vm);
  else attempt(() => during(vm.id, word, done));
}

const number = (v) => (v ? Number(v) : undefined);

export function forkMachine(vm) {
  dialog.set((close) => html`<${Fork} vm=${vm} onClose=${close} />`);
}

function Fork({ vm, onClose }) {
  const [count, setCount] = useState("3");
  const fork = async (form) => {
    const made = await during(vm.id, "Forking", () => post(vmPath(vm.id, "/fork"), {
      count: Number(count), name: form.get("name").trim() || undefined, ...idleOf(form),
    }));
    for (const error of made.errors ?? []) toast(`${error.message} (${error.code})`, "problem");
    toast(`${plural(made.forks.length, "fork")} of ${nameOf(vm)} made.`);
    location.hash = "#/tree";
  };
  return html`<${Dialog} title=${`Fork ${nameOf(vm)}`} action=${`Fork into ${Number(count) || "…"}`} ready=${Number(count) >= 1 && Number(count) <= 100} onSubmit=${fork} onClose=${onClose}>
    <p class="quiet">${vm.state === "stopped" ? "The forks boot from copies of its disk." : "Each fork goes on from where it is now, memory and processes too; so does it."}</p>
    <div class="fields">
      <${Field} label="How many"><input name="count" data-first type="number" min="1" max="100" value=${count} onInput=${(e) => setCount(e.target.value)} /></${Field}>
      <${Field} label="Name" hint=${Number(count) > 1 ? "Numbered: name-1, name-2 …" : "Optional."}><input name="name" maxlength="90" autocomplete="off" spellcheck=${false} /></${Field}>
    </div>
    <${IdleFields} usual="the same" kept="the same" />
  </${Dialog}>`;
}

function takeSnapshot(vm) {
  const take = async (form) => {
    await during(vm.id, "Taking a snapshot", () => post(vmPath(vm.id, "/snapshot"), { name: form.get("name").trim() || undefined }));
    toast("The snapshot is kept. New machines can start from it.");
  };
  dialog.set((close) => html`<${Dialog} title=${`Snapshot of ${nameOf(vm)}`} action="Take it" onSubmit=${take} onClose=${close}>
    <p class="quiet">Its disk${vm.state === "stopped" ? "" : " and its memory"} as they are now, kept apart from it: new machines can start from there.</p>
    <${Field} label="Name" hint="Optional."><input name="name" data-first maxlength="100" autocomplete="off" spellcheck=${false} /></${Field}>
  </${Dialog}>`);
}

function resizeMachine(vm) {
  const { vcpuCount, memSizeMib, rootfsSizeMb } = vm.sizing;
  const disk = Math.ceil(rootfsSizeMb / 1024);
  const resize = (form) => during(vm.id, "Resizing", () => post(vmPath(vm.id, "/resize"), {
    vcpuCount: number(form.get("cpu")), memSizeGb: number(form.get("memory")),
    rootfsSizeGb: Number(form.get("disk")) > disk ? Number(form.get("disk")) : undefined,
    discardMemory: form.get("discard") ? true : undefined,
  }));
  dialog.set((close) => html`<${Dialog} title=${`Resize ${nameOf(vm)}`} action="Resize" onSubmit=${resize} onClose=${close}>
    <p class="quiet">${{
      running: "It is shut down for that and boots again. Its disk is kept; what it has in memory is lost.",
      suspended: "It is stopped for that. Its disk is kept; what it has in memory is lost.",
      stopped: "It stays stopped.",
    }[vm.state]}</p>
    <div class="fields">
      <${Field} label="vCPUs"><select name="cpu" data-first>${cpus.map((n) => html`<option selected=${n === vcpuCount}>${n}</option>`)}</select></${Field}>
      <${Field} label="Memory"><select name="memory">${memories.map((n) => html`<option value=${n} selected=${n * 1024 === memSizeMib}>${mib(n * 1024)}</option>`)}</select></${Field}>
      <${Field} label="Disk, GiB" hint="It grows only."><input name="disk" type="number" min=${disk} max="1024" value=${disk} /></${Field}>
    </div>
    ${vm.state === "suspended" && html`<label class="field check"><input type="checkbox" name="discard" /><span>Let go of what it has in memory</span></label>`}
  </${Dialog}>`);
}

function killMachine(vm) {
  const kill = () => during(vm.id, "Killing", () => post(vmPath(vm.id, "/kill")));
  dialog.set((close) => html`<${Dialog} title=${`Kill ${nameOf(vm)}?`} action="Kill" danger onSubmit=${kill} onClose=${close}>
    <p>Its run ends at once, as if the plug were pulled. What it has in memory is lost, and so is what it has not written to its disk yet.</p>
  </${Dialog}>`);
}

/** Asks before a machine is deleted, and names what is lost. That is known before: nothing moves under who is about to press. */
async function deleteMachine(vm, title = `Delete ${nameOf(vm)}?`, done = () => send("DELETE", vmPath(vm.id))) {
  // Who would wait for too long is asked without: nothing that hangs is to keep a machine.
  const soon = (path, otherwise) => get(path, { signal: AbortSignal.timeout(3000) }).catch(() => otherwise);
  const [{ nodes }, mappings] = await Promise.all([soon("/v1/tree", { nodes: [] }), soon("/domains/v1/mappings", [])]);
  const node = nodes.find((n) => n.id === vm.id);
  const forks = nodes.filter((n) => n.parentId === vm.id && !n.deleted).length;
  const names = mappings.filter((m) => m.vmId === vm.id).map((m) => m.domain);
  dialog.set((close) => html`<${Delete} vm=${vm} title=${title} node=${node} forks=${forks} names=${names} done=${done} onClose=${close} />`);
}

function Delete({ vm, title, node, forks, names, done, onClose }) {
  const remove = async () => {
    await during(vm.id, "Deleting", done);
    toast(`${nameOf(vm)} is deleted.`);
    if (location.hash.startsWith(`#/vm/${vm.id}`)) location.hash = "#/";
  };
  return html`<${Dialog} title=${title} action=${`Delete ${nameOf(vm)}`} danger onSubmit=${remove} onClose=${onClose}>
    <p>This cannot be undone. Lost for good:</p>
    <ul>
      <li>its disk of ${mib(vm.sizing.rootfsSizeMb)}${node && html`, of which <b>${bytes(node.disk.ownBytes)}</b> are nowhere else`}</li>
      ${vm.state !== "stopped" && vm.state !== "lost" && html`<li>what it has in memory${vm.state === "suspended" ? ", kept while it sleeps" : ": its programs, its terminals"}</li>`}
    </ul>
    ${forks > 0 && html`<p class="quiet">${plural(forks, "fork or snapshot of it stays", "forks and snapshots of it stay")}.</p>`}
    ${names.map((name) => html`<p key=${name} class="quiet">The name <b>${name}</b> stays yours, and answers 410 until you map it to another machine or unmap it.</p>`)}
  </${Dialog}>`;
}
