// What is done with the VMs of a host that has them in memory only, and what the
// page says of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { examine, go, key, late, launch, open, picture, signIn, still, url } from "./lib.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

test("nobody is let in without a key", async () => {
  const page = await open(browser);
  await page.getByLabel("API key").fill("cpk_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("does not know that key").waitFor();
  await examine(page, "signing in, refused");
  await picture(page, "sign-in");
  assert.deepEqual(page.faults, []);
});

test("who is signed in stays so, with the key nowhere, until they sign out", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.reload();
  await page.getByRole("heading", { name: "Machines", exact: true }).waitFor();
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie + location.href);
  assert.ok(!kept.includes(key), "the page keeps the key");
  assert.deepEqual(await page.evaluate(() => document.cookie), "", "scripts can read a cookie");
  const [cookie] = await page.context().cookies();
  assert.ok(!cookie.value.includes(key) && cookie.httpOnly && cookie.sameSite === "Strict");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
  await page.reload();
  await page.getByLabel("API key").waitFor();
  assert.deepEqual(await page.context().cookies(), []);
  assert.deepEqual(page.faults, []);
});

test("what a machine may reach is changed, and what makes no sense is refused in words", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByRole("link", { name: "hello", exact: true }).click();
  await page.getByRole("button", { name: "Change", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox").fill("no/such/thing");
  await dialog.getByRole("button", { name: "Change" }).click();
  await dialog.getByRole("alert").waitFor();
  await examine(page, "a refusal");
  await dialog.getByRole("textbox").fill("10.1.0.0/16");
  await dialog.getByRole("button", { name: "Change" }).click();
  await page.locator(".facts").getByText("10.1.0.0/16").waitFor();
  assert.deepEqual(page.faults, []);
});

test("only what a state allows can be asked for", async () => {
  const page = await open(browser);
  await signIn(page);
  const may = async (name) => {
    await go(page, "Machines");
    await page.getByRole("searchbox").fill(name);
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { name, level: 1 }).waitFor();
    return page.getByRole("group", { name: "What may be done next" }).getByRole("button").allInnerTexts();
  };
  assert.deepEqual(await may("hello"), ["Fork", "Suspend", "Stop", "Snapshot", "Resize", "Kill", "Delete"]);
  assert.deepEqual(await may("build"), ["Start", "Fork", "Snapshot", "Resize", "Delete"]);
  assert.deepEqual(await may("twig-2"), ["Resume", "Fork", "Stop", "Snapshot", "Resize", "Kill", "Delete"]);
  assert.deepEqual(await may("wreck"), ["Start", "Kill", "Delete"]);
  assert.deepEqual(page.faults, []);
});

test("what happens elsewhere is seen without being asked for", async () => {
  const page = await open(browser), other = await open(browser);
  for (const p of [page, other]) {
    await signIn(p);
    await p.getByRole("searchbox").fill("build");
  }
  await page.getByRole("cell", { name: "stopped" }).waitFor();
  await other.getByRole("link", { name: "build", exact: true }).click();
  await other.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("cell", { name: "running" }).waitFor();
  await other.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByRole("cell", { name: "stopped" }).waitFor();
  assert.deepEqual([...page.faults, ...other.faults], []);
});

test("nobody looks while the page is hidden, and at once when it is seen again", async () => {
  const page = await open(browser);
  await page.clock.install();
  await signIn(page);
  await page.getByRole("link", { name: "hello", exact: true }).waitFor();
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const looks = [];
  page.on("request", (request) => looks.push(request.url()));
  const looked = () => page.waitForResponse((response) => response.url().endsWith("/v1/vms"));
  await Promise.all([looked(), page.clock.runFor(6000)]); // as it does while it is seen
  await hide(true);
  looks.length = 0;
  await page.clock.runFor(60000);
  assert.deepEqual(looks, []);
  await Promise.all([looked(), hide(false)]);
  assert.deepEqual(page.faults, []);
});

test("the keyboard reaches everything", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByRole("link", { name: "hello", exact: true }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("hello");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "hello", level: 1 }).waitFor();
  await page.keyboard.press("f");
  await page.getByRole("dialog").getByLabel("How many").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.name), "count");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  for (const [pressed, heading] of [["gt", "Tree"], ["gh", "Host"], ["gm", "Machines"]]) {
    for (const letter of pressed) await page.keyboard.press(letter);
    await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
  }
  await page.keyboard.press("?");
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  await examine(page, "keys");
  await page.keyboard.press("Escape");
  assert.deepEqual(page.faults, []);
});

test("a dialog keeps the focus, begins with what is safe, and gives it back", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByRole("link", { name: "twig-5", exact: true }).click();
  const focused = () => page.evaluate(() => document.activeElement.innerText);
  for (const [name, first] of [["Delete", "Cancel"], ["Kill", "Cancel"], ["Fork", ""]]) {
    await page.getByRole("button", { name, exact: true }).press("Enter");
    await page.getByRole("dialog").waitFor();
    assert.equal(await focused(), first, name);
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog")), `${name} lets the focus out`);
    }
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal(await focused(), name);
  }
  // What has been done takes its button away.
  await page.getByRole("button", { name: "Suspend", exact: true }).press("Enter");
  await page.getByRole("button", { name: "Resume", exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "What may be done next");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Resume");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Suspend", exact: true }).waitFor();
  // A terminal takes Tab for itself.
  await page.getByRole("link", { name: "Terminal", exact: true }).press("Enter");
  await page.locator(".xterm-cursor").waitFor();
  await page.keyboard.press("Tab");
  assert.ok(await page.evaluate(() => document.activeElement.closest(".screen")));
  await page.keyboard.press("Control+F6");
  assert.equal(await focused(), "web-1");
  assert.deepEqual(page.faults, []);
});

test("the focus stays where it is while the list changes", async () => {
  const page = await open(browser);
  await signIn(page);
  const link = page.getByRole("link", { name: "leaf-9-3", exact: true });
  await link.focus();
  const ask = async (method, path, data) => (await page.request.fetch(url + path, { method, data, headers: { Authorization: `Bearer ${key}` } })).json();
  const { id } = await ask("POST", "/v1/vms", { name: "newcomer" });
  await page.getByRole("link", { name: "newcomer", exact: true }).waitFor();
  assert.ok(await link.evaluate((e) => e === document.activeElement));
  await ask("DELETE", `/v1/vms/${id}`);
  await page.getByRole("link", { name: "newcomer", exact: true }).waitFor({ state: "detached" });
  assert.ok(await link.evaluate((e) => e === document.activeElement));
  // And the list is where it was when one comes back to it.
  const at = await page.evaluate(() => scrollY);
  assert.ok(at > 1000);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "leaf-9-3", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => scrollY), 0);
  await page.goBack();
  await link.waitFor();
  assert.equal(await page.evaluate(() => scrollY), at);
  assert.deepEqual(page.faults, []);
});

test("what fails says so in words, and can be tried again", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByRole("link", { name: "twig-6", exact: true }).click();
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  const said = page.getByRole("status");
  let answer;
  await page.route("**/stop", (route) => answer(route));
  for (const [text, how] of [
    ["The VM is being suspended (VM_BUSY)", (route) => route.fulfill({ status: 409, json: { code: "VM_BUSY", message: "the VM is being suspended" } })],
    ["There is no such VM (VM_NOT_FOUND)", (route) => route.fulfill({ status: 404, json: { code: "VM_NOT_FOUND", message: "there is no such VM" } })],
    ["The daemon answered 502", (route) => route.fulfill({ status: 502, body: "<html>" })],
    ["Maybe that was not done: the daemon does not answer.", (route) => route.abort()],
  ]) {
    answer = how;
    await stop.click();
    await said.getByText(text, { exact: true }).waitFor();
    await page.locator("[aria-disabled]").waitFor({ state: "detached" });
  }
  await examine(page, "failures");
  // In a dialog too, which stays.
  await page.route("**/fork", (route) => route.abort());
  await page.getByRole("button", { name: "Fork", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Fork into 3" }).click();
  await dialog.getByRole("alert").getByText("does not answer").waitFor();
  assert.ok(await dialog.getByRole("button", { name: "Fork into 3" }).isEnabled());
  await page.keyboard.press("Escape");
  // Where something was to be seen there is why it is not, and a way to try again.
  await page.route(/\/(ports|sessions)$/, (route) => route.fulfill({ status: 503, json: { code: "GUEST_UNREACHABLE", message: "the guest does not answer" } }));
  await page.getByRole("button", { name: "Look again" }).click();
  await page.getByRole("alert").getByText("The guest does not answer").waitFor();
  await page.getByRole("link", { name: "Terminal", exact: true }).click();
  await page.getByRole("alert").getByText("The guest does not answer").waitFor();
  await examine(page, "no terminal");
  await page.unroute(/\/(ports|sessions)$/);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(".xterm-cursor").waitFor();
  // A daemon that is gone is said once; what was known stays, until it is back.
  await page.route("**/v1/**", (route) => route.abort());
  await go(page, "Host");
  const gone = page.getByRole("alert").getByText("What you see may be out of date");
  await gone.waitFor();
  assert.equal(await page.getByRole("alert").count(), 1);
  await go(page, "Machines");
  await page.getByRole("link", { name: "twig-6", exact: true }).waitFor();
  await examine(page, "a daemon that is gone");
  await page.unroute("**/v1/**");
  await gone.waitFor({ state: "detached" });
  assert.deepEqual(page.faults, []);
});

test("a machine that is deleted while its page is open says so", async () => {
  const page = await open(browser);
  await signIn(page);
  const ask = async (method, path, data) => (await page.request.fetch(url + path, { method, data, headers: { Authorization: `Bearer ${key}` } })).json();
  const { id } = await ask("POST", "/v1/vms", { name: "short-lived" });
  await page.getByRole("link", { name: "short-lived", exact: true }).click();
  await page.getByRole("heading", { name: "short-lived", level: 1 }).waitFor();
  await ask("DELETE", `/v1/vms/${id}`);
  await page.getByRole("heading", { name: "short-lived has been deleted" }).waitFor();
  await page.locator(".events").getByText("deleted", { exact: true }).waitFor();
  await examine(page, "a machine that is gone");
  assert.deepEqual(page.faults, []);
});

test("what would delete an ephemeral machine asks first", async () => {
  const page = await open(browser);
  await signIn(page);
  const made = await page.request.post(url + "/v1/vms", { data: { name: "mayfly", persistence: { type: "ephemeral" } }, headers: { Authorization: `Bearer ${key}` } });
  assert.ok(made.ok(), await made.text());
  await page.getByRole("link", { name: "mayfly", exact: true }).click();
  await page.getByRole("button", { name: "Suspend", exact: true }).click();
  await page.getByRole("dialog").getByRole("heading", { name: "Suspend mayfly, which deletes it?" }).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete mayfly" }).click();
  await page.getByRole("heading", { name: "Machines", level: 1 }).waitFor();
  await page.getByRole("status").getByText("mayfly is deleted.").waitFor();
  assert.deepEqual(page.faults, []);
});

test("a machine that is lost says why, and starts again", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByRole("button", { name: /^lost/ }).click();
  await page.getByRole("link", { name: "wreck", exact: true }).click();
  const reason = page.getByText("lost: the run ended: it fell");
  await reason.waitFor();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").waitFor();
  assert.equal(await page.getByRole("dialog").getByRole("listitem").count(), 1, "a lost machine has more to lose than its disk");
  await page.keyboard.press("Escape");
  for (const part of ["Terminal", "Files"]) {
    await page.getByRole("link", { name: part, exact: true }).click();
    await page.getByRole("heading", { name: "wreck is lost" }).waitFor();
  }
  await page.getByRole("button", { name: "Start", exact: true }).first().click();
  await page.locator(".under").getByText("running", { exact: true }).waitFor();
  assert.equal(await reason.count(), 0);
  assert.deepEqual(page.faults, []);
});

test("before a delete it is known what is lost and what is not, and nothing moves", async () => {
  const page = await open(browser, { width: 390, height: 844 });
  const ask = async (method, path, data) => (await page.request.fetch(url + path, { method, data, headers: { Authorization: `Bearer ${key}` } })).json();
  const { id } = await ask("POST", "/v1/vms", { name: "mapped" });
  await ask("POST", "/domains/v1/mappings/mapped.example.test", { vmId: id, vmPort: 80 });
  await signIn(page);
  await page.getByRole("link", { name: "mapped", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await page.route("**/v1/tree", () => {}); // which hangs, and keeps nobody from asking
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await dialog.getByText("its disk of 16 GiB").waitFor();
  await page.keyboard.press("Escape");
  await page.unroute("**/v1/tree");
  await late(page);
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  const remove = dialog.getByRole("button", { name: "Delete mapped" });
  await remove.waitFor();
  const at = await remove.boundingBox();
  await dialog.getByText("are nowhere else").waitFor();
  await dialog.getByText("The name mapped.example.test stays yours, and answers 410 until you map it to another machine or unmap it.").waitFor();
  assert.deepEqual(await remove.boundingBox(), at, "what deletes moves");
  assert.doesNotMatch(await dialog.getByRole("list").innerText(), /mapped\.example\.test/);
  await remove.click();
  await page.getByRole("heading", { name: "Machines", level: 1 }).waitFor();
  const mappings = await ask("GET", "/domains/v1/mappings");
  assert.ok(mappings.some((m) => m.domain === "mapped.example.test"), "the name went with the machine");
  assert.deepEqual(page.faults, []);
});

test("another account sees nothing of this one's, and is out when its key is revoked", async () => {
  const page = await open(browser);
  const ask = async (method, path, secret, data) => {
    const answer = await page.request.fetch(url + path, { method, data, headers: { Authorization: `Bearer ${secret}` } });
    assert.ok(answer.ok(), await answer.text());
    return answer.json();
  };
  const bob = await ask("POST", "/v1/accounts", key, { name: "bob" });
  const other = await ask("POST", "/v1/keys", bob.key, { name: "other" });
  await late(page);
  await signIn(page, bob.key);
  await page.getByText("No machines yet").waitFor();
  await go(page, "Host");
  await page.getByText("Your account").waitFor();
  await page.getByRole("heading", { name: "Doctor" }).waitFor({ state: "detached" });
  await still(page, "the host, for somebody else");
  await examine(page, "the host, for somebody else");
  const { keys } = await ask("GET", "/v1/keys", other.key);
  await ask("DELETE", `/v1/keys/${keys.find((k) => k.id !== other.id).id}`, other.key);
  await page.getByLabel("API key").waitFor();
  assert.deepEqual(page.faults, []);
});
