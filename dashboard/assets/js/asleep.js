import { post, vmPath } from "./api.js";
import { doing, during } from "./live.js";
import { Button, Empty, attempt, html, nameOf } from "./ui.js";

/** Shows its children while the machine runs, and else how it can be made to. */
export function Asleep({ vm, what, children }) {
  const busy = doing.use()[vm.id];
  if (vm.state === "running") return children;
  const verb = vm.state === "suspended" ? "Resume" : "Start";
  const start = () => attempt(() => during(vm.id, "Starting", () => post(vmPath(vm.id, "/start"))));
  return html`<${Empty} title=${`${nameOf(vm)} is ${vm.state}`}>
    <p>It has to run for you to ${what}.</p>
    ${["suspended", "stopped", "lost"].includes(vm.state) && html`<${Button} kind="primary" icon="play" busy=${busy} onClick=${start}>${verb}</${Button}>`}
  </${Empty}>`;
}
