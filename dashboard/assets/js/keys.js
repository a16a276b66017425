// The keyboard: single letters and pairs of them, where nothing is being typed.

import { useEffect, useLayoutEffect, useRef } from "../vendor/preact.js";
import { Button, html } from "./ui.js";

const typing = (target) => target.closest?.("input, textarea, select, dialog, .shell");

/** Has keys, like "c" or "g t", do things as long as the component is drawn. */
export function useKeys(keys) {
  const before = useRef(""); // kept when the component is drawn anew between two keys
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
      const act = keys[`${before.current} ${event.key}`] ?? keys[event.key];
      before.current = event.key;
      if (!act) return;
      event.preventDefault();
      before.current = "";
      act();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}

const table = [
  ["Everywhere", [["g m", "Machines"], ["g t", "Tree"], ["g h", "Host"], ["c", "Create a machine"], ["?", "These keys"]]],
  ["In a list", [["/", "Search"], ["j", "Next"], ["k", "Previous"], ["Enter", "Open"], ["← →", "In the tree: fold, unfold"]]],
  ["At a machine", [["1 – 5", "Its parts"], ["f", "Fork it"], ["u", "Back to the list"], ["Ctrl F6", "Leave the terminal"]]],
];

export function Keys({ onClose }) {
  const ref = useRef();
  useLayoutEffect(() => {
    const shown = ref.current;
    shown.showModal();
    return () => shown.close(); // which gives the focus back
  }, []);
  return html`<dialog ref=${ref} class="keys" aria-labelledby="dialog-title" onCancel=${(e) => { e.preventDefault(); onClose(); }}
      onMouseDown=${(e) => e.target === ref.current && onClose()}>
    <h2 id="dialog-title">Keys</h2>
    ${table.map(([where, keys]) => html`<h3>${where}</h3><dl>
      ${keys.map(([key, what]) => html`<div><dt>${key.split(" ").map((k) => (k === "–" ? " – " : html`<kbd>${k}</kbd>`))}</dt><dd>${what}</dd></div>`)}
    </dl>`)}
    <footer><${Button} onClick=${onClose}>Close</${Button}></footer>
  </dialog>`;
}
