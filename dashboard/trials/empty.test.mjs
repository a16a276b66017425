// The page before a host that has nothing yet.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { examine, launch, open, picture, signIn } from "./lib.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

test("where there is nothing, it says how to begin", async () => {
  const page = await open(browser);
  await signIn(page);
  await page.getByText("No machines yet").waitFor();
  await page.getByText("coppice create --name hello").waitFor();
  await examine(page, "no machines");
  await picture(page, "no-machines");
  await page.getByRole("link", { name: "Tree" }).click();
  await page.getByText("Nothing has grown yet").waitFor();
  await examine(page, "no tree");
  await page.goto(page.url().replace("tree", "vm/00000000000000000000"));
  await page.getByText("There is no such machine").waitFor();
  await examine(page, "no such machine");
  assert.deepEqual(page.faults, []);
});
