// What the lifecycle page of the SDK's documentation promises, by the
// unmodified SDK against a running coppice: its address and key come from
// FREESTYLE_API_URL and FREESTYLE_API_KEY.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
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

  test("sizes that cannot be", async () => {
    await assert.rejects(freestyle.vms.create({ vcpuCount: 3 }), Errors.CreateVmVcpuNotPowerOfTwoError);
    await assert.rejects(freestyle.vms.create({ memSizeGb: 4096 }), Errors.CreateVmMemOutOfRangeError);
  });

  test("what is not there yet says so", async () => {
    await assert.rejects(freestyle.domains.list(), Errors.ServiceUnavailableError);
  });
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
