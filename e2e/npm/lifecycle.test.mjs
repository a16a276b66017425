// What the lifecycle page of the SDK's documentation promises, by the
// unmodified SDK against a running coppice: its address and key come from
// FREESTYLE_API_URL and FREESTYLE_API_KEY.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Errors, Freestyle, freestyle } from "freestyle";

const state = async (vm) => (await vm.getInfo()).state;

describe("VM lifecycle", () => {
  let vm, vmId;
  before(async () => ({ vm, vmId } = await freestyle.vms.create()));
  after(() => freestyle.vms.delete({ vmId }));

  test("running", async () => {
    assert.match(vmId, /^[a-z0-9]{20}$/);
    const answer = await vm.exec("echo running");
    assert.deepEqual([answer.stdout, answer.stderr, answer.statusCode], ["running\n", "", 0]);
    assert.equal(await state(vm), "running");
  });

  test("exec takes an object, and keeps output and status apart", async () => {
    const answer = await vm.exec({ command: "pwd; echo oops >&2; exit 3", timeoutMs: 60_000 });
    assert.deepEqual([answer.stdout, answer.stderr, answer.statusCode], ["/root\n", "oops\n", 3]);
  });

  test("a signal is 128 and its number", async () => {
    assert.equal((await vm.exec("kill -TERM $$")).statusCode, 143);
  });

  test("a command that takes too long is a typed error with its output so far", async () => {
    await assert.rejects(vm.exec({ command: "echo begun; sleep 300", timeoutMs: 1500 }), (err) => {
      assert.ok(err instanceof Errors.ExecTimedOutError, err);
      assert.deepEqual([err.body.timeoutMs, err.body.stdout], [1500, "begun\n"]);
      return true;
    });
    assert.equal((await vm.exec("pgrep -x sleep")).statusCode, 1, "the command's processes are gone");
  });

  test("stats", async () => {
    const response = await freestyle.fetch(`/v1/vms/${vmId}/stats/stream?interval_ms=100`);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    let text = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      if ((text += chunk).split("\n\n").length > 2) break;
    }
    const [first, second] = text.split("\n\n").map((event) => JSON.parse(event.match(/^event: stats\ndata: (.*)$/)?.[1] ?? "null"));
    assert.deepEqual([first.vmId, first.state], [vmId, "running"]);
    assert.ok(second.cpu.usedSeconds >= first.cpu.usedSeconds && first.cpu.usedSeconds > 0, text);
  });

  test("files", async () => {
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) & 255));
    await vm.fs.writeFile("/root/some/new/place/data.bin", bytes);
    assert.ok(bytes.equals(await vm.fs.readFile("/root/some/new/place/data.bin")));
    await vm.fs.writeTextFile("relative.txt", "grüße\n");
    assert.equal(await vm.fs.readTextFile("/root/relative.txt"), "grüße\n");
    await vm.fs.writeTextFile("/root/empty", "");
    assert.equal(await vm.fs.readTextFile("/root/empty"), "");

    await vm.fs.mkdir("/root/a/b", true);
    assert.equal(await vm.fs.exists("/root/a/b"), true);
    assert.equal((await vm.fs.stat("/root/a")).isDirectory, true);
    assert.deepEqual(await vm.fs.readDir("/root/a"), [{ name: "b", kind: "directory" }]);
    await vm.fs.remove("/root/a", true);
    assert.equal(await vm.fs.exists("/root/a"), false);
    assert.ok((await vm.fs.readDir("/")).some(({ name, kind }) => name === "etc" && kind === "directory"));

    await assert.rejects(vm.fs.readFile("/no/such/file"), (err) => {
      assert.ok(err instanceof Errors.FileNotFoundError, err);
      assert.equal(err.body.path, "/no/such/file");
      return true;
    });
  });

  test("another user", async () => {
    assert.equal((await vm.exec("useradd -m bob")).statusCode, 0);
    const bob = vm.user({ username: "bob" });
    assert.equal((await bob.exec("id -un; pwd")).stdout, "bob\n/home/bob\n");
    await bob.fs.writeTextFile("note", "mine");
    assert.equal((await vm.exec("stat -c %U /home/bob/note")).stdout, "bob\n");
    await assert.rejects(vm.user({ username: "nobody-here" }).exec("true"), Errors.UserNotFoundError);
  });

  test("stopped and started: the disk is kept, the memory is not", async () => {
    await vm.exec("echo kept >/root/kept; echo lost >/dev/shm/lost");
    const before = (await vm.getInfo()).vmInstanceId;
    await vm.stop();
    assert.equal(await state(vm), "stopped");
    await assert.rejects(vm.exec("true"), Errors.VmNotRunningError);

    await vm.start({ idleTimeoutSeconds: 600 });
    const info = await vm.getInfo();
    assert.equal(info.state, "running");
    assert.notEqual(info.vmInstanceId, before);
    const answer = await vm.exec("cat /root/kept /dev/shm/lost");
    assert.deepEqual([answer.stdout, answer.statusCode], ["kept\n", 1]);
    assert.equal((await vm.exec("dmesg | grep -c 'recovery complete'")).stdout, "0\n", "the file system was left clean");
  });

  test("listed", async () => {
    const { vms } = await freestyle.vms.list();
    const mine = vms.find(({ id }) => id === vmId);
    assert.equal(mine.state, "running");
    assert.ok(!Number.isNaN(new Date(mine.createdAt).getTime()));
  });

  test("the page's resize: the disk is kept, the memory is not", async () => {
    await vm.exec("echo lost >/dev/shm/lost");
    assert.deepEqual(await vm.resize({ cpu: 8, memory: 16, storage: 80 }), {});
    const { stdout } = await vm.exec(
      "nproc; awk '/MemTotal/ {print ($2 > 15 * 1024 * 1024)}' /proc/meminfo; df --output=size -BG / | awk 'END {print ($1 + 0 >= 78)}'; cat /root/kept; ls /dev/shm",
    );
    assert.deepEqual(stdout.trim().split(/\s+/), ["8", "1", "1", "kept"]);
    const { state, sizing } = await vm.getInfo();
    assert.deepEqual([state, sizing], ["running", { vcpuCount: 8, memSizeMib: 16 * 1024, rootfsSizeMb: 80 * 1024 }]);

    await assert.rejects(vm.resize({}), Errors.ResizeVmEmptyRequestError);
    await assert.rejects(vm.resize({ cpu: 3 }), Errors.ResizeVmVcpuNotPowerOfTwoError);
    await assert.rejects(vm.resize({ memory: 1 / 1024 }), Errors.ResizeVmMemOutOfRangeError);
    await assert.rejects(vm.resize({ storage: 40 }), (err) => {
      assert.ok(err instanceof Errors.ResizeVmRootfsShrinkNotSupportedError, err);
      assert.deepEqual([err.body.currentMb, err.body.requestedMb], [80 * 1024, 40 * 1024]);
      return true;
    });
  });
});

describe("forked, suspended, snapshot", () => {
  // A process that counts in memory, and answers on a port with how far it is.
  const counter = `
import socket, threading, time
n = 0
def count():
    global n
    while True:
        n += 1
        time.sleep(0.05)
threading.Thread(target=count, daemon=True).start()
server = socket.create_server(("127.0.0.1", 7000))
while True:
    peer, _ = server.accept()
    peer.sendall(str(n).encode())
    peer.close()
`;
  const ask = "cat </dev/tcp/127.0.0.1/7000";

  const run = async (vm, command) => {
    const { stdout, stderr, statusCode } = await vm.exec(command);
    assert.equal(statusCode, 0, stderr);
    return stdout.trim();
  };
  // The counter goes on, and from where it was: a new one would be at 0.
  const goesOn = async (vm, from) => {
    const first = Number(await run(vm, ask));
    await run(vm, "sleep 0.5");
    const second = Number(await run(vm, ask));
    assert.ok(from <= first && first < second, `it was at ${from}, then at ${first} and ${second}`);
    return second;
  };

  let vm, vmId, reached;
  const made = [];
  const mine = (handle) => (made.push(handle.vmId), handle);
  before(async () => {
    ({ vm, vmId } = await freestyle.vms.create({ name: "parent" }));
    await vm.fs.writeTextFile("/root/counter.py", counter);
    await run(vm, "echo in memory >/dev/shm/note; nohup python3 /root/counter.py >/dev/null 2>&1 &");
    await run(vm, `until ${ask} 2>/dev/null; do sleep 0.1; done`);
    reached = await goesOn(vm, 0);
  });
  afterEach(() => Promise.all(made.splice(0).map((id) => freestyle.vms.delete({ vmId: id }))));
  after(() => freestyle.vms.delete({ vmId }));

  test("the page's fork", async () => {
    const { forks } = await vm.fork({ count: 1, persistence: { type: "ephemeral" } });
    assert.equal(forks.length, 1);
    const [{ vm: forked }] = forks;
    mine(forks[0]);
    assert.equal(await run(forked, "echo 'work in parallel'"), "work in parallel");
    assert.equal(await run(forked, "cat /dev/shm/note"), "in memory");
    await goesOn(forked, reached);
    reached = await goesOn(vm, reached);

    // They are apart: what one does the other does not see.
    await run(forked, "echo mine >/dev/shm/note; echo mine >/root/note");
    assert.equal(await run(vm, "cat /dev/shm/note; ls /root/note 2>/dev/null || true"), "in memory");
    assert.notEqual(await run(vm, "cat /etc/machine-id"), await run(forked, "cat /etc/machine-id"));
    const { vms } = await freestyle.vms.list();
    assert.equal(vms.find(({ id }) => id === forks[0].vmId).persistence.type, "ephemeral");
  });

  test("a fork without options is one, a fork of a fork is one as well", async () => {
    const { forks } = await vm.fork();
    assert.equal(forks.length, 1);
    const { forks: grand } = await mine(forks[0]).vm.fork({ count: 2 });
    assert.equal(grand.length, 2);
    for (const child of grand) await goesOn(mine(child).vm, reached);
  });

  test("suspended and started: it goes on where it was", async () => {
    reached = await goesOn(vm, reached);
    const before = (await vm.getInfo()).vmInstanceId;
    const suspended = await vm.suspend();
    assert.equal(suspended.id, vmId);
    assert.match(suspended.snapshotLayerId, /^sc-[a-z0-9]{20}$/);
    assert.equal(await state(vm), "suspended");
    await vm.start();
    assert.equal(await state(vm), "running");
    assert.notEqual((await vm.getInfo()).vmInstanceId, before);
    assert.equal(await run(vm, "cat /dev/shm/note"), "in memory");
    reached = await goesOn(vm, reached);

    const optimized = await vm.optimize();
    assert.equal(optimized.id, vmId);
    assert.match(optimized.message, /freed/);
    reached = await goesOn(vm, reached);
  });

  test("a suspended VM wakes for whoever comes, once for all of them", async () => {
    await vm.suspend();
    const coming = Array.from({ length: 19 }, () => run(vm, "cat /dev/shm/note"));
    coming.push(vm.fs.readTextFile("/dev/shm/note").then((text) => text.trim()));
    assert.deepEqual([...new Set(await Promise.all(coming))], ["in memory"]);
    reached = await goesOn(vm, reached);
  });

  test("a snapshot makes VMs that go on from there", async () => {
    reached = await goesOn(vm, reached);
    const taken = await vm.snapshot({ name: "then" });
    const { snapshotId } = taken;
    assert.match(snapshotId, /^sc-[a-z0-9]{20}$/);
    assert.deepEqual([taken.sourceVmId, taken.sourceVmInstanceId], [vmId, (await vm.getInfo()).vmInstanceId]);

    const { snapshots, readyCount } = await freestyle.vms.snapshots.list();
    assert.equal(readyCount, snapshots.length);
    assert.equal(snapshots.find((s) => s.snapshotId === snapshotId).name, "then");
    await freestyle.vms.snapshots.ref({ snapshotId }).update({ name: "later" });
    const record = await freestyle.vms.snapshots.get({ snapshotId });
    assert.deepEqual([record.name, record.state, record.sourceVmId, record.deleted], ["later", "ready", vmId, false]);

    const { vm: again } = mine(await freestyle.vms.create({ snapshotId }));
    assert.equal(await run(again, "cat /dev/shm/note"), "in memory");
    await goesOn(again, reached);

    assert.equal((await freestyle.vms.snapshots.delete({ snapshotId })).snapshotId, snapshotId);
    await goesOn(again, reached);
    await assert.rejects(freestyle.vms.snapshots.delete({ snapshotId }), Errors.SnapshotNotFoundError);
    await assert.rejects(freestyle.vms.create({ snapshotId }), Errors.SnapshotNotFoundError);
    const left = await freestyle.vms.snapshots.list();
    assert.ok(!left.snapshots.some((s) => s.snapshotId === snapshotId));
  });
});

describe("idle timeout and persistence", () => {
  const until = async (reached) => {
    while (!(await reached())) await new Promise((resolve) => setTimeout(resolve, 50));
  };

  test("an idle VM is suspended, and wakes for a command; null is never", async () => {
    const { vm, vmId } = await freestyle.vms.create({ idleTimeoutSeconds: 2 });
    try {
      await vm.exec("echo in memory >/dev/shm/note");
      assert.ok(new Date((await vm.getInfo()).reclaimAt) > new Date());
      await until(async () => (await state(vm)) === "suspended");
      assert.equal((await vm.getInfo()).reason, "it was idle for 2s");
      assert.equal((await vm.exec("cat /dev/shm/note")).stdout, "in memory\n");

      await vm.start({ idleTimeoutSeconds: null });
      const other = await freestyle.vms.create({ idleTimeoutSeconds: 3, persistence: { type: "ephemeral" } });
      await until(async () => (await other.vm.getInfo()).deleted);
      await assert.rejects(other.vm.exec("true"), Errors.VmDeletedError);
      await assert.rejects(other.vm.start(), Errors.VmDeletedError);
      const info = await vm.getInfo();
      assert.deepEqual([info.state, info.idleTimeoutSeconds, info.reclaimAt], ["running", null, undefined]);
    } finally {
      await freestyle.vms.delete({ vmId });
    }
  });

  test("an ephemeral VM goes at its event, and only then", async () => {
    const { vm } = await freestyle.vms.create({ persistence: { type: "ephemeral", deleteEvent: "OnStop" } });
    await vm.suspend();
    assert.equal((await vm.exec("echo awake")).stdout, "awake\n");
    await vm.stop();
    await assert.rejects(vm.start(), Errors.VmDeletedError);

    const made = await freestyle.vms.create({ persistence: { type: "sticky", priority: 3 } });
    const { vms } = await freestyle.vms.list();
    assert.deepEqual(vms.find(({ id }) => id === made.vmId).persistence, { type: "sticky", priority: 3 });
    await freestyle.vms.delete({ vmId: made.vmId });
  });
});

describe("errors are typed", () => {
  test("no such VM", async () => {
    const { vm } = await freestyle.vms.get({ vmId: "00000000000000000000" });
    for (const call of [() => vm.exec("true"), () => vm.start(), () => vm.stop(), () => vm.delete()])
      await assert.rejects(call, Errors.VmNotFoundError);
  });

  test("a wrong key", async () => {
    const stranger = new Freestyle({ apiKey: "wrong", baseUrl: process.env.FREESTYLE_API_URL });
    await assert.rejects(stranger.vms.list(), Errors.UnauthorizedErrorError);
    await assert.rejects(stranger.vms.create(), Errors.UnauthorizedErrorError, "create does not retry it for ever");
  });

  test("what cannot be", async () => {
    await assert.rejects(freestyle.vms.create({ vcpuCount: 3 }), Errors.CreateVmVcpuNotPowerOfTwoError);
    await assert.rejects(freestyle.vms.create({ memSizeGb: 4096 }), Errors.CreateVmMemOutOfRangeError);
    await assert.rejects(freestyle.vms.create({ snapshotId: "sc-nonsense" }), Errors.InvalidSnapshotIdError);
  });

  test("what is not there yet says so", async () => {
    await assert.rejects(freestyle.domains.list(), Errors.ServiceUnavailableError);
  });
});

test("domains", async () => {
  const { vmId, domains } = await freestyle.vms.create({ domains: [{ domain: "made.example.com", vmPort: 3000 }] });
  try {
    assert.deepEqual(domains, ["made.example.com"]);
    const mapped = await freestyle.domains.mappings.create({ domain: "app.example.com", vmId, vmPort: 80 });
    assert.equal(mapped.domain, "app.example.com");
    assert.equal(mapped.vmId, vmId);
    const { mappings } = await freestyle.domains.mappings.list({});
    assert.deepEqual(mappings.map(({ domain, vmPort }) => [domain, vmPort]), [["app.example.com", 80], ["made.example.com", 3000]]);
    await assert.rejects(freestyle.domains.mappings.create({ domain: "localhost", vmId, vmPort: 80 }));
    for (const { domain } of mappings) await freestyle.domains.mappings.delete({ domain });
    assert.deepEqual((await freestyle.domains.mappings.list({})).mappings, []);
  } finally {
    await freestyle.vms.delete({ vmId });
  }
});

test("whoami", async () => {
  assert.match((await freestyle.whoami()).accountId, /^[0-9a-f-]{36}$/);
});

test("deleted, and deleted again", async () => {
  const { vm, vmId } = await freestyle.vms.create();
  await freestyle.vms.delete({ vmId });
  await freestyle.vms.delete({ vmId });
  await assert.rejects(vm.exec("true"), Errors.VmDeletedError);
  const { vms } = await freestyle.vms.list();
  assert.ok(!vms.some(({ id }) => id === vmId));
});
