// The files of a machine.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { filePath, get, send } from "./api.js";
import { Button, Icon, Problem, attempt, html, plural, toast } from "./ui.js";
import { Asleep } from "./asleep.js";

const inside = (dir, name) => (dir === "/" ? "/" : dir + "/") + name;
const place = (vm, path) => `#/vm/${vm.id}/files/${encodeURIComponent(path)}`;

export function Files({ vm, path }) {
  return html`<${Asleep} vm=${vm} what="look at its files"><${Browser} vm=${vm} path=${path} /></${Asleep}>`;
}

function Browser({ vm, path }) {
  const [entries, setEntries] = useState(null);
  const [error, setError] = useState(null);
  const [over, setOver] = useState(false);
  const chooser = useRef();
  const look = () => get(filePath(vm.id, path)).then(({ files }) => {
    setError(files ? null : { message: `${path} is a file.` });
    setEntries(files?.sort((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.name.localeCompare(b.name))) ?? []);
  }, (err) => { setError(err); setEntries([]); });
  useEffect(() => { setEntries(null); look(); }, [vm.id, path]);

  const upload = (files) => attempt(async () => {
    for (const file of files) {
      toast(`Uploading ${file.name}…`);
      await send("PUT", filePath(vm.id, inside(path, file.name)), { body: file, headers: { "Content-Type": "application/octet-stream" } });
    }
    toast(`${plural(files.length, "file")} uploaded to ${path}.`);
    await look();
  });
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    upload([...event.dataTransfer.files]);
  };
  const steps = path.split("/").filter(Boolean);
  return html`<section class="card flush files ${over && "over"}" onDragOver=${(e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <header>
      <nav class="path" aria-label="Path"><a href=${place(vm, "/")} aria-label="The root directory">/</a>${steps.map((step, i) => html`
        <a href=${place(vm, "/" + steps.slice(0, i + 1).join("/"))} aria-current=${i === steps.length - 1 ? "page" : undefined}>${step}</a>${i < steps.length - 1 && "/"}`)}</nav>
      <input ref=${chooser} type="file" multiple hidden onChange=${(e) => { upload([...e.target.files]); e.target.value = ""; }} />
      <${Button} kind="small" icon="up" onClick=${() => chooser.current.click()}>Upload</${Button}>
    </header>
    ${error && html`<div class="pad"><${Problem} error=${error} /></div>`}
    <ul>
      ${entries?.map((e) => html`<li key=${e.name}>${e.kind === "directory"
        ? html`<a href=${place(vm, inside(path, e.name))}><${Icon} name="folder" /><span>${e.name}</span></a>`
        : html`<button type="button" onClick=${() => attempt(() => download(vm, inside(path, e.name), e.name))} title=${`Download ${e.name}`}><${Icon} name="file" /><span>${e.name}</span><${Icon} name="down" /></button>`}</li>`)}
      ${!entries && html`<li class="pad quiet">…</li>`}
      ${entries?.length === 0 && !error && html`<li class="pad quiet">Empty. Drop files here to upload them.</li>`}
    </ul>
  </section>`;
}

async function download(vm, path, name) {
  const response = await send("GET", filePath(vm.id, path), { headers: { Accept: "application/octet-stream" } });
  const url = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
