import { useState } from "../vendor/preact.js";
import { signIn } from "./api.js";
import { Command, Problem, html } from "./ui.js";

export function SignIn({ onDone }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    const key = new FormData(event.target).get("key").trim();
    if (!key) return setError({ message: "Paste an API key; it begins with cpk_." });
    setBusy(true);
    try {
      await signIn(key);
      onDone();
    } catch (err) {
      setError(err.status === 401 ? { message: "This host does not know that key; it may have been revoked." } : err);
      setBusy(false);
    }
  };
  return html`<main class="signin">
    <form onSubmit=${submit}>
      <img src="/assets/icon.svg" alt="" width="48" height="48" />
      <h1>coppice</h1>
      <p>Virtual machines that can be cut back, and grow many.</p>
      <label class="field"><span>API key</span>
        <input name="key" type="password" autocomplete="current-password" spellcheck=${false} autofocus placeholder="cpk_…" aria-invalid=${error ? "true" : undefined} />
      </label>
      ${error && html`<${Problem} error=${error} />`}
      <button class="button primary wide" aria-busy=${busy ? "true" : undefined}><span>Sign in</span></button>
      <p class="aside">No key at hand? On the host, this shows the one it has, and this makes another:</p>
      <${Command}>coppice env</${Command}>
      <${Command}>coppice keys create browser</${Command}>
    </form>
  </main>`;
}
