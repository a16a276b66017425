// The page before a host with real VMs: what somebody does on their first day.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test as anyTest } from "node:test";
import { examine, launch, open, picture, signIn } from "./lib.mjs";

let browser, page;
before(async () => {
  browser = await launch();
  page = await open(browser);
});
after(() => browser?.close());

// One thing after the other: where one does not work, those that follow cannot.
let broken = false;
const test = (name, work) => anyTest(name, async (t) => {
  if (broken) return t.skip("what it follows did not work");
  broken = true;
  await work();
  broken = false;
});

const button = (name) => page.getByRole("button", { name, exact: true });
const part = (name) => page.getByRole("navigation", { name: "Parts of the machine" }).getByRole("link", { name });
const state = (name) => page.locator(".under").getByText(name, { exact: true });
const screen = () => page.locator(".xterm-rows");

test("a machine is made, and runs", async () => {
  await signIn(page);
  await page.getByRole("button", { name: "New machine" }).first().click();
  await page.getByRole("dialog").getByLabel("Name").fill("sapling");
  await page.getByLabel("Idle timeout").selectOption({ label: "none: it runs on" });
  await button("Create").click();
  await page.getByRole("heading", { name: "sapling", level: 1 }).waitFor();
  await state("running").waitFor();
});

test("a terminal works, and is there again after a reload", async () => {
  await part("Terminal").click();
  await page.locator(".xterm-cursor").waitFor();
  await page.getByText("root@").first().waitFor();
  await page.keyboard.type("echo in-$((6*7)); (sleep 600 | python3 -m http.server 8123 >/dev/null 2>&1) &\n");
  await screen().getByText("in-42").waitFor();
  await picture(page, "vm-terminal");
  await page.reload();
  await screen().getByText("in-42").waitFor();
  await page.keyboard.type("echo again-$((6*7))\n");
  await screen().getByText("again-42").waitFor();
});

test("files go in and come out, and are what they were", async () => {
  await part("Files").click();
  const content = Buffer.from([0, 255, 10, 13, 60, 98, 62]);
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), button("Upload").click()]);
  await chooser.setFiles({ name: "<b>seed.bin", mimeType: "application/octet-stream", buffer: content });
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "<b>seed.bin" }).click()]);
  assert.equal(download.suggestedFilename().replace(/[<>_]/g, ""), "bseed.bin");
  assert.deepEqual(await readFile(await download.path()), content);
});

test("what listens is linked, and what it takes is drawn", async () => {
  await part("Overview").click();
  const port = page.getByRole("link", { name: "8123" });
  await assert.doesNotReject(async () => {
    for (const end = Date.now() + 60000; !(await port.count()); await page.waitForTimeout(500)) {
      assert.ok(Date.now() < end, "port 8123 is not listed");
      await button("Look again").click();
    }
  });
  assert.match(await port.getAttribute("href"), /^http:\/\/8123-[a-z0-9]{20}\./);
  await page.getByRole("img", { name: /^CPU: \d/ }).waitFor();
  await page.getByRole("img", { name: /^Memory: [1-9]/ }).waitFor();
  await examine(page, "a machine that runs");
  await picture(page, "vm-overview");
});

test("it is forked into three, which are on the tree", async () => {
  await button("Fork").click();
  await page.getByRole("dialog").getByLabel("Name").fill("sapling-twig");
  await button("Fork into 3").click();
  await page.getByRole("heading", { name: "Tree", level: 1 }).waitFor();
  for (const n of [1, 2, 3]) await page.getByRole("link", { name: `sapling-twig-${n}`, exact: true }).waitFor();
  const depth = (name) => page.getByRole("link", { name, exact: true }).evaluate((e) => e.getBoundingClientRect().left);
  assert.ok(await depth("sapling-twig-2") > await depth("sapling"), "a fork is not drawn under its parent");
  await page.getByTitle(/of memory its own/).first().waitFor();
  await examine(page, "a tree");
  await picture(page, "vm-tree");
  await page.getByRole("link", { name: "sapling-twig-2", exact: true }).click();
  await page.getByRole("heading", { name: "sapling-twig-2", level: 1 }).waitFor();
  await part("Terminal").click();
  await screen().getByText("again-42").waitFor(); // its memory is its parent's
});

test("it is suspended, resumed, stopped, seen to start, killed, and says what happened", async () => {
  await part("Overview").click();
  await button("Suspend").click();
  await state("suspended").waitFor();
  await button("Resume").click();
  await state("running").waitFor();
  await button("Stop").click();
  await state("stopped").waitFor();
  assert.equal(await button("Suspend").count(), 0);
  await picture(page, "vm-stopped");
  const observer = await page.context().newPage();
  await observer.goto(page.url().replace(/#.*/, ""));
  const row = observer.getByRole("row", { name: /sapling-twig-2/ });
  await row.getByText("stopped").waitFor();
  await button("Start").click();
  await row.getByText("starting").waitFor();
  await picture(observer, "vm-starting");
  await row.getByText("running").waitFor();
  await observer.close();
  await button("Kill").click();
  await page.getByRole("dialog").getByText("is lost").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Kill" }).click();
  await state("stopped").waitFor();
  await part("History").click();
  for (const event of ["created", "suspended", "resumed", "stopped"]) await page.locator(".events").getByText(event, { exact: true }).first().waitFor();
  await part("Console").click();
  await page.getByLabel("Serial console").first().waitFor();
});

test("it is deleted when that was asked twice, and is gone", async () => {
  await button("Delete").click();
  await page.getByRole("dialog").getByText("its disk of").waitFor();
  await button("Cancel").click();
  await state("stopped").waitFor();
  await button("Delete").click();
  await button("Delete sapling-twig-2").click();
  await page.getByRole("heading", { name: "Machines", level: 1 }).waitFor();
  await page.getByRole("link", { name: "sapling-twig-3", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "sapling-twig-2", exact: true }).count(), 0);
});

test("the host says how it is", async () => {
  await page.getByRole("link", { name: "Host" }).click();
  await page.locator(".doctor").getByText("QEMU", { exact: true }).waitFor();
  await page.getByText(/free of/).first().waitFor();
  await examine(page, "the host");
  await picture(page, "vm-host");
  assert.deepEqual(page.faults, []);
});
