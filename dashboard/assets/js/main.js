// The page: who is signed in, where they are, and the frame around it.

import { render, useEffect, useLayoutEffect, useState } from "../vendor/preact.js";
import { onSignedOut, signOut, signedIn } from "./api.js";
import { cell, follow, forget, trouble } from "./live.js";
import { Dialogs, Icon, Toasts, attempt, dialog, html } from "./ui.js";
import { SignIn } from "./signin.js";
import { Machines, createMachine } from "./machines.js";
import { Machine } from "./machine.js";
import { Tree } from "./tree.js";
import { Host } from "./host.js";
import { Keys, useKeys } from "./keys.js";

const place = cell(location.hash);
addEventListener("hashchange", () => {
  scrolled.set(place.get(), scrollY);
  place.set(location.hash);
});

/** How far each place was scrolled when it was left: there one comes back to. */
const scrolled = new Map();
history.scrollRestoration = "manual";

const pages = [
  { at: "", title: "Machines", draw: () => html`<${Machines} />` },
  { at: "tree", title: "Tree", draw: () => html`<${Tree} />` },
  { at: "host", title: "Host", draw: () => html`<${Host} />` },
  { at: "vm", title: "Machine", draw: ([id, ...rest]) => html`<${Machine} key=${id} id=${id} rest=${rest} />`, under: "" },
];

function App() {
  const [inside, setInside] = useState(signedIn());
  onSignedOut(() => {
    forget();
    setInside(false);
  });
  const enter = () => {
    dialog.set(null); // one may have been about to open when the session ended
    setInside(true);
  };
  return inside ? html`<${Frame} />` : html`<${SignIn} onDone=${enter} />`;
}

function Frame() {
  const here = place.use();
  const [at, ...rest] = here.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const page = pages.find((p) => p.at === at) ?? pages[0];
  useEffect(() => {
    const abort = new AbortController();
    follow(abort.signal);
    return () => abort.abort();
  }, []);
  useEffect(() => { document.title = `${page.title} · coppice`; }, [page]);
  useLayoutEffect(() => {
    scrollTo(0, scrolled.get(here) ?? 0);
    if (document.activeElement === document.body) document.getElementById("main").focus({ preventScroll: true }); // what had it is gone
  }, [here]);
  useKeys({
    "g m": () => { location.hash = "#/"; },
    "g t": () => { location.hash = "#/tree"; },
    "g h": () => { location.hash = "#/host"; },
    c: createMachine,
    "?": () => dialog.set((close) => html`<${Keys} onClose=${close} />`),
  });
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <header class="top">
      <div class="inside">
        <a class="brand" href="#/" aria-label="coppice"><img src="/assets/icon.svg" alt="" width="24" height="24" /><span>coppice</span></a>
        <nav aria-label="Pages">
          ${pages.filter((p) => p.under === undefined).map((p) => html`
            <a href=${`#/${p.at}`} aria-current=${p.at === (page.under ?? page.at) ? "page" : undefined}>${p.title}</a>`)}
        </nav>
        <button type="button" class="plain" aria-label="Sign out" onClick=${() => attempt(signOut)}><${Icon} name="out" /><span>Sign out</span></button>
      </div>
    </header>
    <main id="main" tabindex="-1" class="inside">${page.draw(rest)}</main>
    <${Dialogs} />
    <div class="passing"><${Toasts} /><${Trouble} /></div>`;
}

function Trouble() {
  const error = trouble.use();
  return error && html`<p class="trouble" role="alert">${error.message.replace(/\.?$/, ".")} What you see may be out of date.</p>`;
}

render(html`<${App} />`, document.getElementById("app"));
