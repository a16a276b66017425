// Terminals in a machine. They live on in it when the page goes: the address
// names the one that is shown, and a page that is loaded again attaches to it.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { get, send, socket, vmPath } from "./api.js";
import { Button, Icon, Problem, attempt, html } from "./ui.js";
import { Asleep } from "./asleep.js";

const place = (vm, session) => `#/vm/${vm.id}/terminal/${session}`;
const sessions = (vm) => get(vmPath(vm.id, "/pty/sessions")).then((answer) => answer.sessions.filter((s) => s.running));

/** A name that no terminal has: web-1, web-2 and so on. */
function fresh(all) {
  let n = 1;
  while (all.some((s) => s.sessionId === `web-${n}`)) n++;
  return `web-${n}`;
}

/** The latest that a page has opened. Others are somebody's at another window, which may be larger. */
const last = (all) => all.map((s) => s.sessionId).findLast((id) => id.startsWith("web-"));

export function Terminal({ vm, session }) {
  return html`<${Asleep} vm=${vm} what="work in it"><${Sessions} key=${vm.vmInstanceId} vm=${vm} session=${session} /></${Asleep}>`;
}

function Sessions({ vm, session }) {
  const [all, setAll] = useState(null);
  const [error, setError] = useState(null);
  const look = () => sessions(vm).then((now) => {
    setError(null);
    setAll(now);
    if (!session) location.replace(place(vm, last(now) ?? fresh(now)));
  }, setError);
  useEffect(() => { look(); }, [vm.id, session]);
  const end = (id) => attempt(async () => {
    await send("DELETE", vmPath(vm.id, `/pty/sessions/${encodeURIComponent(id)}`));
    if (id === session) location.hash = `#/vm/${vm.id}/terminal`;
    look();
  });
  if (!all) return html`<section class="card terminals">${error && html`<${Problem} error=${error} /><${Button} icon="refresh" onClick=${look}>Try again</${Button}>`}</section>`;
  const ids = [...new Set([...all.map((s) => s.sessionId), session].filter(Boolean))];
  return html`<section class="card flush terminals">
    <header>
      <nav aria-label="Terminals">${ids.map((id) => html`<span key=${id} aria-current=${id === session ? "page" : undefined}>
        <a href=${place(vm, id)}>${id}</a><button type="button" class="plain" aria-label=${`End ${id}`} title="End it" onClick=${() => end(id)}><${Icon} name="close" /></button></span>`)}</nav>
      <span class="leave"><kbd>Ctrl</kbd><kbd>F6</kbd>leaves the terminal</span>
      <${Button} kind="small" icon="plus" onClick=${() => { location.hash = place(vm, fresh(all)); }}>New</${Button}>
    </header>
    ${session && html`<${Screen} key=${session} vm=${vm} session=${session} onChange=${look} />`}
  </section>`;
}

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  const v = (name) => style.getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return {
    background: v("--sheet"), foreground: v("--ink"), cursor: v("--accent"), cursorAccent: v("--sheet"),
    selectionBackground: dark ? "#3d5c4a" : "#cfe3d7",
    ...(dark ? {
      black: "#3a3d37", red: "#f08d80", green: "#79cc98", yellow: "#e5ac5c", blue: "#9fb0f2", magenta: "#d09bdb", cyan: "#7cc5cf", white: "#d5d7cf",
      brightBlack: "#8a8e83", brightRed: "#f7a99f", brightGreen: "#97dcb0", brightYellow: "#f0c27f", brightBlue: "#b8c5f7", brightMagenta: "#dfb6e7", brightCyan: "#9ad6de", brightWhite: "#ffffff",
    } : {
      black: "#1b1d19", red: "#b3372b", green: "#23784f", yellow: "#8a5a00", blue: "#3a51a8", magenta: "#84488f", cyan: "#0e6d7a", white: "#6b6e66",
      brightBlack: "#5d6058", brightRed: "#c04438", brightGreen: "#2c8559", brightYellow: "#96640c", brightBlue: "#4a5fb0", brightMagenta: "#93559e", brightCyan: "#1f7a87", brightWhite: "#3c3f39",
    }),
  };
};

/** After what a connection that broke is tried again, in ms; the last again and again. */
const patience = [300, 700, 1500, 3000, 5000];

function Screen({ vm, session, onChange }) {
  const box = useRef();
  const [said, setSaid] = useState("Connecting…");
  useEffect(() => {
    let gone = false;
    let stop = () => {};
    Promise.all([import("../vendor/xterm.js"), import("../vendor/xterm-fit.js"), document.fonts.load("13px 'JetBrains Mono'")])
      .then(([xterm, fit]) => { if (!gone) stop = attach(xterm.Terminal, fit.FitAddon, box.current, vm, session, setSaid, onChange); });
    return () => { gone = true; stop(); };
  }, []);
  return html`<div class="shell"><div class="screen" ref=${box} />${said && html`<p class="said" role="status">${said}</p>`}</div>`;
}

/** Shows a terminal session in an element, until the function that it returns is called. */
function attach(Xterm, Fit, element, vm, session, say, onChange) {
  const terminal = new Xterm({
    fontFamily: '"JetBrains Mono", ui-monospace, monospace', fontSize: 13, lineHeight: 1.25, theme: colours(),
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, scrollback: 5000, macOptionIsMeta: true, screenReaderMode: false,
  });
  const fit = new Fit();
  terminal.loadAddon(fit);
  terminal.open(element);
  fit.fit();
  terminal.focus();
  // Tab goes to the program, so something else has to lead out of here.
  terminal.attachCustomKeyEventHandler((event) => {
    if (!event.ctrlKey || event.key !== "F6") return true;
    event.preventDefault();
    if (event.type === "keydown") element.closest(".terminals").querySelector("[aria-current] a").focus();
    return false;
  });
  const encoder = new TextEncoder();
  let conn, attempts = 0, opened = false, closed = false, timer;

  const resized = () => conn?.readyState === WebSocket.OPEN && conn.send(JSON.stringify({ type: "resize", cols: terminal.cols, rows: terminal.rows }));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => { terminal.options.theme = colours(); };
  dark.addEventListener("change", recolour);
  const watch = new ResizeObserver(() => fit.fit());
  watch.observe(element);
  terminal.onResize(resized);
  terminal.onData((data) => conn?.readyState === WebSocket.OPEN && conn.send(encoder.encode(data)));
  terminal.onBinary((data) => conn?.readyState === WebSocket.OPEN && conn.send(Uint8Array.from(data, (c) => c.charCodeAt(0))));

  const heard = (message) => {
    if (typeof message !== "string") return terminal.write(new Uint8Array(message));
    const said = JSON.parse(message);
    if (said.type === "sessionInfo") {
      opened = true;
      attempts = 0;
      say(null);
      onChange();
    } else if (said.type === "exited") {
      closed = true;
      say(`The program has ended, with status ${said.exitCode}.`);
      onChange();
    } else if (said.type === "error") {
      say(said.message);
    }
  };
  const connect = async () => {
    const size = `cols=${terminal.cols}&rows=${terminal.rows}`;
    const there = opened || await sessions(vm).then((all) => all.some((s) => s.sessionId === session), () => opened);
    if (closed) return;
    conn = socket(vmPath(vm.id, there ? `/pty/sessions/${encodeURIComponent(session)}?${size}` : `/pty?${size}&sessionId=${encodeURIComponent(session)}`));
    conn.binaryType = "arraybuffer";
    conn.onopen = () => terminal.reset(); // the screen is drawn anew
    conn.onmessage = (event) => heard(event.data);
    conn.onclose = () => {
      if (closed) return;
      say("The connection is lost. Connecting again…");
      if (attempts > 0) opened = false; // it may be gone
      timer = setTimeout(connect, patience[Math.min(attempts++, patience.length - 1)]);
    };
  };
  connect();
  return () => {
    closed = true;
    clearTimeout(timer);
    watch.disconnect();
    dark.removeEventListener("change", recolour);
    conn?.close();
    terminal.dispose();
  };
}
