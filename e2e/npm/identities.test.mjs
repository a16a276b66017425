// Identities, by the unmodified SDK against a running coppice: its address and
// key come from FREESTYLE_API_URL and FREESTYLE_API_KEY.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Errors, Freestyle, freestyle } from "freestyle";

describe("an identity", () => {
  let vm, vmId, other, identity, identityId, token, tokenId;
  // What the identity sees, by its token: the API, and the VM as two users.
  let theirs, asRoot, asDeploy;
  const show = (accessToken) => {
    theirs = new Freestyle({ accessToken, baseUrl: process.env.FREESTYLE_API_URL });
    asRoot = theirs.vms.ref({ vmId });
    asDeploy = asRoot.user({ username: "deploy" });
  };

  before(async () => {
    ({ vm, vmId } = await freestyle.vms.create());
    ({ vmId: other } = await freestyle.vms.create());
    assert.equal((await vm.exec("useradd -m -s /bin/bash deploy")).statusCode, 0);
    ({ identity, identityId } = await freestyle.identities.create());
    ({ token, tokenId } = await identity.tokens.create());
    show(token);
  });
  after(() => Promise.all([vmId, other].map((id) => freestyle.vms.delete({ vmId: id }))));

  test("is listed, as its tokens are, without their secrets", async () => {
    const { identities } = await freestyle.identities.list();
    assert.ok(identities.some(({ id, managed }) => id === identityId && managed === false));
    assert.deepEqual(await identity.tokens.list(), { tokens: [{ id: tokenId }] });
    assert.deepEqual((await theirs.whoami()).identityId, identityId);
  });

  test("knows no VM before it has a grant", async () => {
    await assert.rejects(asRoot.exec("true"), Errors.VmNotFoundError);
    await assert.rejects(identity.permissions.vms.get({ vmId }), Errors.VmPermissionNotFoundError);
  });

  test("uses the VM granted as the user granted", async () => {
    const record = await identity.permissions.vms.grant({ vmId, allowedUsers: ["deploy"] });
    assert.deepEqual([record.vmId, record.identityId, record.allowedUsers], [vmId, identityId, ["deploy"]]);
    await assert.rejects(identity.permissions.vms.grant({ vmId }), Errors.PermissionAlreadyExistsError);
    assert.deepEqual((await identity.permissions.vms.list()).permissions, [record]);

    assert.equal((await asDeploy.exec("id -un; pwd")).stdout, "deploy\n/home/deploy\n");
    await asDeploy.fs.writeTextFile("note", "theirs");
    assert.equal(await asDeploy.fs.readTextFile("/home/deploy/note"), "theirs");
    assert.equal((await vm.exec("stat -c %U /home/deploy/note")).stdout, "deploy\n");
  });

  test("is nobody else there", async () => {
    const user = (username) => asRoot.user({ username });
    for (const somebody of [asRoot, user("root"), user("0"), user("nobody"), user("no-such-user")]) {
      await assert.rejects(somebody.exec("true"), Errors.ForbiddenError);
      await assert.rejects(somebody.fs.readTextFile("/etc/hostname"), Errors.ForbiddenError);
      await assert.rejects(somebody.fs.writeTextFile("/tmp/x", "x"), Errors.ForbiddenError);
    }
    await assert.rejects(asDeploy.fs.readFile("/etc/shadow"), Errors.FilesBadRequestError, "what the guest itself does not allow");
  });

  test("is nowhere else", async () => {
    for (const id of [other, "00000000000000000000"]) {
      const elsewhere = theirs.vms.ref({ vmId: id }).user({ username: "deploy" });
      await assert.rejects(elsewhere.exec("true"), Errors.VmNotFoundError);
      await assert.rejects(elsewhere.fs.readTextFile("/etc/hostname"), Errors.VmNotFoundError);
    }
  });

  test("may do nothing else", async () => {
    for (const call of [
      () => theirs.vms.list(),
      () => theirs.vms.create(),
      () => theirs.vms.delete({ vmId }),
      () => asRoot.getInfo(),
      () => asRoot.start(),
      () => asRoot.stop(),
      () => asRoot.suspend(),
      () => asRoot.kill(),
      () => asRoot.fork({ count: 1 }),
      () => asRoot.snapshot(),
      () => asRoot.resize({ cpu: 2 }),
      () => theirs.identities.list(),
      () => theirs.identities.create(),
      () => theirs.identities.ref({ identityId }).tokens.create(),
      () => theirs.identities.ref({ identityId }).permissions.vms.grant({ vmId: other }),
      () => theirs.identities.ref({ identityId }).permissions.vms.update({ vmId, allowedUsers: null }),
    ])
      await assert.rejects(call, Errors.ForbiddenError, String(call));
    assert.equal((await vm.getInfo()).state, "running");
  });

  test("loses what it is doing when its grant changes", { timeout: 120_000 }, async () => {
    const ended = assert.rejects(asDeploy.exec("exec sleep 1001"), Errors.UnauthorizedErrorError);
    const running = async () => (await vm.exec("pgrep -u deploy -x sleep")).statusCode === 0;
    while (!(await running()));
    await identity.permissions.vms.update({ vmId, allowedUsers: null });
    await ended;
    while (await running());
    assert.equal((await asRoot.exec("id -un")).stdout, "root\n", "every user is granted now");
    await identity.permissions.vms.revoke({ vmId });
    await assert.rejects(asRoot.exec("true"), Errors.VmNotFoundError);
    await identity.permissions.vms.grant({ vmId });
  });

  test("ends with its token, and with itself", async () => {
    const { token: second } = await identity.tokens.create();
    await identity.tokens.revoke({ tokenId });
    await assert.rejects(asRoot.exec("true"), Errors.UnauthorizedErrorError);
    await assert.rejects(theirs.vms.list(), Errors.UnauthorizedErrorError);

    show(second);
    assert.equal((await asRoot.exec("echo on")).stdout, "on\n");
    await freestyle.identities.delete({ identityId });
    await assert.rejects(asRoot.exec("true"), Errors.UnauthorizedErrorError);
    await assert.rejects(freestyle.identities.delete({ identityId }), Errors.IdentityNotFoundError);
    const { identities } = await freestyle.identities.list();
    assert.ok(!identities.some(({ id }) => id === identityId));
  });
});
