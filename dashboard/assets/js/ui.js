// What all pages are made of.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { cell } from "./live.js";

export { html };

// Words for sizes and times.

const units = ["B", "KiB", "MiB", "GiB", "TiB"];
export function bytes(n) {
  let i = 0;
  while (n >= 1023.5 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${n >= 100 || i === 0 || Number.isInteger(n) ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}
export const mib = (n) => bytes(n * 2 ** 20);

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}
export const took = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms / 1000));

/** A time, as long ago, with the exact one in its title. */
export function Ago({ at }) {
  const [, redraw] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => redraw((n) => n + 1), 10000);
    return () => clearInterval(timer);
  }, []);
  const seconds = (Date.now() - new Date(at)) / 1000;
  const text = Math.abs(seconds) < 5 ? "just now" : seconds < 0 ? `in ${duration(-seconds)}` : `${duration(seconds)} ago`;
  return html`<time datetime=${at} title=${new Date(at).toLocaleString()}>${text}</time>`;
}

export const nameOf = (vm) => vm.name || vm.id.slice(0, 8);
export const plural = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

// States have a colour and a shape each.

const shapes = {
  running: html`<circle cx="8" cy="8" r="5" />`,
  starting: html`<g class="turning"><circle cx="8" cy="8" r="5" class="ring" stroke-dasharray="20 12" /></g>`,
  suspending: html`<g class="turning"><circle cx="8" cy="8" r="5" class="ring" stroke-dasharray="20 12" /></g>`,
  suspended: html`<path d="M11.8 10.9A5.6 5.6 0 0 1 6 2.7a5.6 5.6 0 1 0 5.8 8.2z" />`,
  stopped: html`<rect x="3.5" y="3.5" width="9" height="9" rx="1.5" />`,
  lost: html`<path d="M8 2.2 14.2 13.4H1.8z" />`,
  ready: html`<path d="M8 1.8 14.2 8 8 14.2 1.8 8z" />`,
  deleted: html`<circle cx="8" cy="8" r="4.8" class="ring" stroke-dasharray="2.2 2.4" />`,
};
shapes.building = shapes.starting;

const stateWord = { ready: "snapshot" };

/** The shape of a state, as an SVG of its own or, with x and y, inside one. */
export function Glyph({ state, x, y, size = 16 }) {
  return html`<svg class="glyph ${state}" viewBox="0 0 16 16" width=${size} height=${size} x=${x} y=${y} aria-hidden="true">${shapes[state]}</svg>`;
}

export function State({ state, doing }) {
  const shown = doing ? "starting" : state;
  return html`<span class="state ${shown}"><${Glyph} state=${shown} />${doing ? `${doing}…` : stateWord[state] ?? state}</span>`;
}

const icons = {
  plus: "M8 3v10M3 8h10",
  play: "M5 3.2v9.6L12.6 8z",
  moon: "M12.6 10.2A5.4 5.4 0 0 1 6 2.9a5.4 5.4 0 1 0 6.6 7.3z",
  stop: "M4 4h8v8H4z",
  kill: "M8.8 1.8 3.6 9h4l-.4 5.2L12.4 7h-4z",
  fork: "M8 14V9.5M8 9.5C8 6.5 4 7 4 3M8 9.5C8 6.5 12 7 12 3M2.5 4.5 4 3l1.5 1.5M10.5 4.5 12 3l1.5 1.5",
  camera: "M2.5 5h2.6l1-1.6h3.8l1 1.6h2.6v7.6h-11zM8 6.6a2.1 2.1 0 1 0 0 4.2 2.1 2.1 0 0 0 0-4.2z",
  resize: "M9.5 2.5h4v4M13.2 2.8 9.4 6.6M6.5 13.5h-4v-4M2.8 13.2l3.8-3.8",
  trash: "M3 4.5h10M6.2 4.5V2.8h3.6v1.7M4.2 4.5l.6 8.7h6.4l.6-8.7M6.8 7v3.8M9.2 7v3.8",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  up: "M8 13V3.5M4 7.2 8 3.2l4 4",
  down: "M8 3v9.5M4 8.8l4 4 4-4",
  file: "M4 1.8h5.2L12 4.6v9.6H4zM9 2v2.8h2.8",
  folder: "M1.8 3.5h4.4l1.4 1.7h6.6v7.6H1.8z",
  refresh: "M13 8a5 5 0 1 1-1.5-3.6M13 2.2v2.9h-2.9",
  open: "M4.5 6.5 8 10l3.5-3.5",
  close: "M4 4l8 8M12 4l-8 8",
  out: "M6 3H3v10h3M7 8h6.5M10.8 5.2 13.6 8l-2.8 2.8",
  link: "M9.5 2.5h4v4M13.2 2.8 7.5 8.5M11.5 9.5v4h-9v-9h4",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d=${icons[name]} /></svg>`;
}

export function Button({ icon, children, kind = "", busy, ...props }) {
  return html`<button type="button" class="button ${kind}" ...${props} aria-busy=${busy ? "true" : undefined}>
    ${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
  </button>`;
}

/** A button that copies, and says that it has. Browsers let only pages copy that nobody in between can have changed. */
export function Copy(props) {
  return navigator.clipboard && html`<${CopyButton} ...${props} />`;
}

function CopyButton({ text, label }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    const timer = done && setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => navigator.clipboard.writeText(text).then(() => setDone(true), () => {});
  return html`<button type="button" class="copy" onClick=${copy} aria-label=${`Copy ${label}`} title=${`Copy ${label}`}>
    <${Icon} name="copy" /><span class="tip" aria-live="polite">${done ? "Copied" : ""}</span>
  </button>`;
}

/** A command to be typed elsewhere. */
export function Command({ children }) {
  return html`<span class="command"><code>${children}</code><${Copy} text=${children} label="the command" /></span>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}</div>`;
}

/** A bar of what is whose: parts are {label, value, kind}, in the same unit as the whole. */
export function Bar({ parts, whole, label }) {
  return html`<div class="bar" role="img" aria-label=${label}>
    ${parts.map((p) => html`<i class=${p.kind} style=${{ width: `${whole ? (100 * p.value) / whole : 0}%` }} />`)}
  </div>`;
}

/** Whether a media query matches, as long as the component is drawn. */
export function useMedia(query) {
  const [matches, setMatches] = useState(matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setMatches(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return matches;
}

export const narrow = "(max-width: 720px)";

// Dialogs.

/** A dialog in front of the page, as long as it is drawn. What it is to do may take its time. */
export function Dialog({ title, action, danger, onSubmit, onClose, children, ready = true }) {
  const ref = useRef();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  useLayoutEffect(() => {
    const shown = ref.current;
    shown.showModal();
    shown.querySelector("[data-first]")?.focus(); // else it is Cancel that has the focus
    return () => shown.close(); // which gives the focus back
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await onSubmit(new FormData(event.target));
      if (ref.current) onClose();
    } catch (err) {
      if (!ref.current) return refused(err); // it was closed meanwhile
      setError(err);
      setBusy(false);
    }
  };
  return html`<dialog ref=${ref} aria-labelledby="dialog-title" onCancel=${(e) => { e.preventDefault(); onClose(); }}
      onMouseDown=${(e) => e.target === ref.current && onClose()}>
    <form onSubmit=${submit} novalidate>
      <h2 id="dialog-title">${title}</h2>
      ${children}
      ${error && html`<${Problem} error=${error} />`}
      <footer>
        <${Button} onClick=${onClose}>Cancel</${Button}>
        <button type="submit" class="button ${danger ? "danger" : "primary"}" disabled=${!ready} aria-busy=${busy ? "true" : undefined}><span>${action}</span></button>
      </footer>
    </form>
  </dialog>`;
}

export function Problem({ error }) {
  return html`<p class="problem" role="alert">${error.message}${error.code && html` <code>${error.code}</code>`}</p>`;
}

export function Field({ label, hint, children }) {
  return html`<label class="field"><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

/** The dialog that is open: a function that draws it, given how to close it. */
export const dialog = cell(null);
export function Dialogs() {
  const draw = dialog.use();
  return draw && draw(() => dialog.set(null));
}

// What is said in passing.

const toasts = cell([]);
let toasted = 0;
export function toast(text, kind = "") {
  const t = { id: ++toasted, text, kind };
  toasts.set([...toasts.get().slice(-3), t]);
  setTimeout(() => dismiss(t.id), kind === "problem" ? 12000 : 4000);
}
const dismiss = (id) => toasts.set(toasts.get().filter((t) => t.id !== id));

/** Does what may be refused, and says so if it is. */
export async function attempt(work) {
  try {
    return await work();
  } catch (err) {
    refused(err);
  }
}

function refused(err) {
  if (err.code === "UNREACHABLE") toast("Maybe that was not done: the daemon does not answer.", "problem");
  else if (err.name !== "AbortError") toast(err.code ? `${err.message} (${err.code})` : err.message, "problem");
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.use().map((t) => html`<div key=${t.id} class="toast ${t.kind}"><span>${t.text}</span>
      <button type="button" class="plain" aria-label="Dismiss" onClick=${() => dismiss(t.id)}><${Icon} name="close" /></button></div>`)}
  </div>`;
}
