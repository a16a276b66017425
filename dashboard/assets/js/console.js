// What the serial console has printed.

import { useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { send, vmPath } from "./api.js";
import { usePolling } from "./live.js";
import { html } from "./ui.js";

// What terminals obey and people do not read.
const controls = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>78cDEHMNOZ]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const plainly = (text) => text.replace(/\r+\n/g, "\n").replace(controls, "").replace(/\r/g, "\n");

export function Console({ vm }) {
  const [text, setText] = useState(null);
  const [follow, setFollow] = useState(true);
  const box = useRef();
  usePolling((signal) => send("GET", vmPath(vm.id, "/console"), { signal }).then((r) => r.text()).then((t) => setText(plainly(t)), () => {}), 2000, [vm.id]);
  useLayoutEffect(() => { if (follow && box.current) box.current.scrollTop = box.current.scrollHeight; }, [text, follow]);
  return html`<section class="card flush">
    <header><h2>Serial console</h2>
      <label class="field check"><input type="checkbox" checked=${follow} onChange=${(e) => setFollow(e.target.checked)} /><span>Follow</span></label></header>
    <pre class="log" ref=${box} tabindex="0" aria-label="Serial console">${text === null ? "…" : text || "Nothing has been printed yet."}</pre>
  </section>`;
}
