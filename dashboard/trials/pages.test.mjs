// The pages before a host whose VMs are in memory only, many of them: how they
// look, and whether they stay as they are.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { examine, go, late, launch, open, picture, signIn, still } from "./lib.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    test(`every page, ${scheme}, ${width} wide`, async () => {
      const page = await open(browser, { scheme, width, height: width < 600 ? 844 : 860 });
      await late(page);
      await signIn(page);
      const arrive = async (name, shown) => {
        await shown.waitFor();
        await page.waitForFunction(() => !/(^|\s)…/.test(document.body.innerText));
        await still(page, name);
      };
      const see = async (name, shown) => {
        await arrive(name, shown);
        await examine(page, `${name}, ${scheme}, ${width}`);
        await picture(page, `${name}-${scheme}-${width}`);
      };
      /** Sees a page, and that it does not move either when it is loaded anew; colours change nothing about that. */
      const seeTwice = async (name, shown) => {
        await see(name, shown);
        if (scheme === "dark") return;
        await page.reload();
        await arrive(`${name}, loaded anew`, shown);
      };
      const link = (name) => page.getByRole("link", { name, exact: true });
      await seeTwice("machines", link("hello"));
      await page.getByRole("button", { name: "New machine" }).click();
      await see("create", page.getByRole("dialog"));
      await page.keyboard.press("Escape");
      await go(page, "Tree");
      await seeTwice("tree", link("twig-7"));
      await go(page, "Host");
      await seeTwice("host", page.getByText("all is well"));
      await go(page, "Machines");
      await link("wreck").click();
      await seeTwice("lost", page.locator(".reason"));
      await go(page, "Machines");
      await link("hello").click();
      await seeTwice("machine", page.getByRole("img", { name: /^CPU: \d/ }));
      for (const [part, shown] of [["Files", link("etc")], ["Console", page.getByLabel("Serial console").first()], ["History", page.locator(".events")], ["Terminal", page.locator(".xterm-cursor")]]) {
        await link(part).click();
        await seeTwice(part.toLowerCase(), shown);
      }
      await page.getByRole("button", { name: "Delete", exact: true }).click();
      await see("delete", page.getByText("are nowhere else"));
      assert.deepEqual(page.faults, []);
    });
  }
}

test("a tree of 200 machines can be read, folded and walked", async () => {
  const page = await open(browser);
  await signIn(page);
  await go(page, "Tree");
  const rows = page.locator(".rows li");
  await page.getByRole("link", { name: "twig-7", exact: true }).waitFor();
  const all = await rows.count();
  assert.ok(all >= 200, `${all} rows`);
  assert.equal(await page.locator(".canopy .bud").count(), all, "the picture and the list differ");

  // State by shape, and not by colour alone.
  const shapes = await page.evaluate(() => ["running", "suspended", "stopped", "deleted", "ready"].map((state) => document.querySelector(`.branches .${state}`)?.innerHTML));
  assert.equal(new Set(shapes).size, shapes.length, "states look alike");
  assert.ok(shapes.every(Boolean));

  // Nothing is drawn over anything else.
  const boxes = await rows.evaluateAll((all) => all.map((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return { top, bottom, name: row.querySelector(".name, b").getBoundingClientRect().height };
  }));
  boxes.reduce((above, row) => (assert.ok(row.top >= above.bottom - 0.5 && row.name <= row.bottom - row.top), row));

  // By the keyboard: to the first, fold it, and only the stools are left of it.
  await page.locator("body").press("j");
  await page.keyboard.press("ArrowLeft");
  const folded = page.getByRole("button", { expanded: false });
  const hidden = Number((await folded.innerText()).slice(1));
  assert.equal(await rows.count(), all - hidden);
  await page.keyboard.press("ArrowRight");
  assert.equal(await rows.count(), all);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("group", { name: "What may be done next" }).waitFor();
  assert.deepEqual(page.faults, []);
});

test("names are text, whatever is in them", async () => {
  const page = await open(browser);
  await signIn(page);
  for (const place of ["#/", "#/tree"]) {
    await page.evaluate((to) => { location.hash = to; }, place);
    await page.getByRole("link", { name: "<img src=x onerror=alert(1)>" }).first().waitFor();
  }
  await page.getByRole("link", { name: "<img src=x onerror=alert(1)>" }).first().click();
  await page.getByRole("heading", { name: "<img src=x onerror=alert(1)>" }).waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  assert.deepEqual(page.faults, []);
});

test("what a column has is below its head, at any width that has heads", async () => {
  for (const width of [760, 1000]) {
    const page = await open(browser, { width });
    await signIn(page);
    await page.getByRole("link", { name: "hello", exact: true }).waitFor();
    const lefts = (row) => page.locator(row).first().locator("th:visible, td:visible").evaluateAll((all) => all.map((cell) => cell.getBoundingClientRect().left));
    assert.deepEqual(await lefts(".machines tbody tr"), await lefts(".machines thead tr"), `${width} wide`);
    await examine(page, `${width} wide`);
    await page.context().close();
  }
});

test("the longest name fits a phone", async () => {
  const page = await open(browser, { width: 390, height: 844 });
  await signIn(page);
  await page.getByRole("searchbox").fill("namename");
  await examine(page, "a long name in the list");
  await page.getByRole("link", { name: "namename" }).click();
  await page.getByRole("img", { name: /^CPU: \d/ }).waitFor();
  await examine(page, "a long name");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await examine(page, "a long name in a dialog");
  for (const part of [dialog, dialog.getByRole("button", { name: "Cancel" })]) assert.ok(await part.evaluate((e) => e.scrollWidth <= e.clientWidth), "something is cut off");
  assert.deepEqual(page.faults, []);
});

test("who goes back by the keyboard sees where they are", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.locator(".list .name").nth(40).focus();
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press("Shift+Tab");
    const hidden = await page.evaluate(() => document.querySelector(".top").getBoundingClientRect().bottom - document.activeElement.closest("tr").getBoundingClientRect().top);
    assert.ok(hidden <= 0, `${hidden} pixels of the row are below the top bar`);
  }
});
