// What the trials have in common: a browser, somebody who is signed in, and a
// look at what no page may do.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const { URL: url, KEY: key } = process.env;
export const patience = 60000; // for what a host that emulates takes its time for

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Starts the browser, which the caller closes. */
export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** Opens the page in a window of its own; faults are what it should not have done. */
export async function open(browser, { scheme = "light", width = 1280, height = 860 } = {}) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, acceptDownloads: true, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(error.stack));
  page.on("console", (message) => {
    // What the API refuses is shown by the page, and said here by the browser too.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.faults.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== url && !/^(data|blob):/.test(request.url())) page.faults.push(`asked ${request.url()}`);
    if (key && (request.url().includes(key) || request.url().includes("session="))) page.faults.push(`a secret in ${request.url()}`);
  });
  await page.addInitScript(() => {
    const shifted = []; // what moved although nobody had done anything, and is more than a figure in its line
    const note = (entries) => {
      for (const entry of entries) {
        const moved = entry.sources.map((s) => s.node?.className?.baseVal ?? s.node?.className ?? s.node?.nodeName);
        if (!entry.hadRecentInput && entry.value > 0.002) shifted.push(`${location.hash}: ${moved} by ${entry.value.toFixed(3)}`);
      }
    };
    const observer = new PerformanceObserver((list) => note(list.getEntries()));
    observer.observe({ type: "layout-shift", buffered: true });
    window.shifts = () => {
      note(observer.takeRecords());
      return shifted;
    };
  });
  await page.goto(url);
  return page;
}

export async function signIn(page, secret = key) {
  await page.getByLabel("API key").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Machines", exact: true }).waitFor();
}

/** Goes to one of the pages by its title. */
export const go = async (page, title) => {
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: title }).click();
  await page.getByRole("heading", { name: title, level: 1 }).waitFor();
};

/** Has the API answer later than a click excuses what moves. */
export const late = (page) => page.route("**/v1/**", async (route) => {
  await new Promise((resolve) => setTimeout(resolve, 700));
  await route.continue().catch(() => {}); // who asked may be gone
});

/** Holds the page to stay where it is when what was asked for comes: all that has been drawn. */
export async function still(page, where) {
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  assert.deepEqual(await page.evaluate(() => window.shifts()), [], `${where}: the layout jumps`);
}

/** Keeps a picture of the page, or of the beginning of one that is long. */
export async function picture(page, name) {
  if (!process.env.ARTIFACTS) return;
  mkdirSync(process.env.ARTIFACTS, { recursive: true });
  const fullPage = await page.evaluate(() => {
    scrollTo(0, 0);
    return document.documentElement.scrollHeight < 2400;
  });
  await page.screenshot({ path: join(process.env.ARTIFACTS, `${name}.png`), fullPage });
}

/** Holds the page to WCAG 2.2 AA, as far as a program can, and to its width. */
export async function examine(page, where) {
  await page.evaluate(axe); // which the page's policy does not forbid
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }));
  const faults = found.violations.map((v) => `${v.id}: ${v.help}\n` + v.nodes.slice(0, 4).map((n) => `  ${n.html}\n  ${n.failureSummary}`).join("\n"));
  assert.equal(faults.join("\n"), "", where);
  assert.ok(found.passes.some((p) => p.id === "color-contrast"), `${where}: nothing was seen`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${where} is ${over} pixels too wide`);
}
