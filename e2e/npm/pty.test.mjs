// What the SDK's terminals promise, by the unmodified SDK with the WebSocket of
// the ws package: node 20 has none of its own.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freestyle } from "freestyle";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket;

// A screen collects what a terminal shows.
const screen = () => {
  let seen = "", wake = () => {};
  return {
    onData: (data) => { seen += Buffer.from(data).toString(); wake(); },
    async shows(text) {
      while (!seen.includes(text)) await new Promise((resolve) => { wake = resolve; });
      seen = seen.slice(seen.indexOf(text) + text.length);
    },
  };
};

describe("terminals", { timeout: 240_000 }, () => {
  let vm, vmId;
  before(async () => ({ vm, vmId } = await freestyle.vms.create({ idleTimeoutSeconds: null })));
  after(() => freestyle.vms.delete({ vmId }));

  test("open, type, resize, detach, attach, list, exit", async () => {
    const first = screen();
    const session = await vm.pty.open({ cols: 100, rows: 30, sessionId: "mine", onData: first.onData });
    session.write("stty size\r");
    await first.shows("30 100\r\n");
    session.resize({ cols: 90, rows: 25 });
    session.write("sleep 0.2; stty size\r");
    await first.shows("25 90\r\n");
    const { sessions } = await vm.pty.list();
    assert.deepEqual(sessions.map(({ sessionId, running, cols, rows, attachedCount, user }) => [sessionId, running, cols, rows, attachedCount, user]),
      [["mine", true, 90, 25, 1, "root"]]);
    session.detach();

    const second = screen();
    let exited;
    const end = new Promise((resolve) => { exited = resolve; });
    const again = await vm.pty.attach({ sessionId: "mine", cols: 90, rows: 25, onData: second.onData, onExit: exited });
    await second.shows("25 90");
    again.write("exit 5\r");
    const status = await end;
    assert.equal(status?.exitCode ?? status, 5);
  });

  test("a signal, another user, and close", async () => {
    await vm.exec("useradd -m bob");
    const shown = screen();
    let exited;
    const end = new Promise((resolve) => { exited = resolve; });
    // One process: a shell that hears of a signal between two commands goes on to the second.
    const exec = "perl -e '$| = 1; print getpwuid($<) . \"\\n\"; sleep 1000'";
    const session = await vm.user({ username: "bob" }).pty.open({ exec, onData: shown.onData, onExit: exited });
    await shown.shows("bob\r\n");
    session.signal("SIGINT");
    const status = await end;
    assert.equal(status?.exitCode ?? status, 130);

    await vm.pty.open({ sessionId: "closed", reconnect: false });
    const closed = await vm.pty.close({ sessionId: "closed" });
    assert.deepEqual([closed.sessionId, closed.exitCode], ["closed", 129]);
    await assert.rejects(vm.pty.attach({ sessionId: "closed", reconnect: false }));
  });
});
