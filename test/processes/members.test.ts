/**
 * A cluster of real processes whose members change under writes: one becomes five, a dead one is replaced,
 * the leader is removed, and one is left. Every acknowledged write is there in the end.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, isQuorateError } from 'quorate';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import { cli } from '../support/cli.ts';
import { type Cluster, Member, startCluster, until } from '../support/cluster.ts';
import { freePorts } from '../support/ports.ts';

type Service = ReturnType<typeof etcdService>;

/** Small, so that those who join get a snapshot. */
const FLAGS = ['--snapshot-count=300', '--snapshot-catchup-entries=50', '--log-format=console'];

interface Seat {
  readonly name: string;
  readonly member: Member;
  readonly peerUrl: string;
}

/** The processes by name, and what the API says of them. */
class Fleet {
  readonly seats = new Map<string, Seat>();
  readonly folder: string;
  service: Service;

  constructor(cluster: Cluster) {
    const [member] = cluster.members;
    this.folder = cluster.folder;
    const peerUrl = member!.flags.find((flag) => flag.startsWith('--listen-peer-urls='))!;
    const url = peerUrl.slice(peerUrl.indexOf('=') + 1);
    this.seats.set(member!.name, { name: member!.name, member: member!, peerUrl: url });
    this.service = this.#connect();
  }

  get endpoints(): string[] {
    return [...this.seats.values()].map(({ member }) => member.endpoint);
  }

  #connect(): Service {
    return etcdService({ endpoints: this.endpoints, timeoutMs: 10_000 });
  }

  async reconnect(): Promise<void> {
    await this.service.close();
    this.service = this.#connect();
  }

  /** Ready to start: as `quorate member add` says, with the members of now. */
  async seat(name: string, at?: Seat): Promise<Seat> {
    const [clientPort, peerPort] = await freePorts(2);
    const endpoint = at?.member.endpoint ?? `127.0.0.1:${clientPort}`;
    const peerUrl = at?.peerUrl ?? `http://127.0.0.1:${peerPort}`;
    const others = [...this.seats.values()].filter((one) => one.name !== name);
    const peers = [...others, { name, peerUrl }].map((one) => `${one.name}=${one.peerUrl}`);
    const member = new Member(name, endpoint, [
      `--name=${name}`,
      `--data-dir=${join(this.folder, name)}`,
      `--listen-client-urls=http://${endpoint}`,
      `--advertise-client-urls=http://${endpoint}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=${peers.join()}`,
      '--initial-cluster-state=existing',
      ...FLAGS,
    ]);
    return { name, member, peerUrl };
  }

  async add(name: string, isLearner: boolean, at?: Seat): Promise<Seat> {
    const seat = await this.seat(name, at);
    await this.service.memberAdd({ peerUrls: [seat.peerUrl], isLearner });
    this.seats.set(name, seat);
    return seat;
  }

  /** The recommended way: a learner, started, promoted once it has caught up. */
  async grow(name: string, at?: Seat): Promise<void> {
    const { member } = await this.add(name, true, at);
    await refused(this.service.memberPromote(await this.id(name)), 'ERR_LEARNER_NOT_READY');
    member.start();
    await until(`${name} has caught up`, async () => {
      try {
        await this.service.memberPromote(await this.id(name));
        return true;
      } catch (error) {
        assert.ok(isQuorateError(error, 'ERR_LEARNER_NOT_READY'), String(error));
        return false;
      }
    });
    await this.reconnect();
  }

  async id(name: string): Promise<bigint> {
    const { peerUrl } = this.seats.get(name)!;
    const { members } = await this.service.memberList();
    return members.find(({ peerUrls }) => peerUrls[0] === peerUrl)!.id;
  }

  async leader(): Promise<string> {
    return until('there is a leader', async () => {
      for (const { name, member } of this.seats.values()) {
        if (!member.running) continue;
        const { leader, header } = await this.service.status(member.endpoint).catch(() => NOBODY);
        if (leader !== 0n && leader === header?.memberId) return name;
      }
      return undefined;
    });
  }

  async remove(name: string): Promise<void> {
    await this.service.memberRemove(await this.id(name));
  }

  /** A removed member ends by itself, and as one that has done what it was to do. */
  async ends(name: string): Promise<void> {
    const { member } = this.seats.get(name)!;
    await until(`${name} has ended`, () => !member.running);
    assert.equal(member.exitCode, 0, member.output);
    assert.match(member.output, /was removed from the cluster/);
    this.seats.delete(name);
    await this.reconnect();
  }
}

const NOBODY = { leader: 0n, header: undefined };

/** It is refused with `code`, and the members stay as they are. */
async function refused(change: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(change, (error) => {
    assert.ok(isQuorateError(error, code), String(error));
    assert.equal(error.outcome, 'not-applied');
    return true;
  });
}

/** Puts new keys all the time, wherever there is somebody to take them. */
class Writer {
  readonly acknowledged = new Map<string, number>();
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(fleet: Fleet) {
    this.#done = this.#run(fleet);
  }

  async #run(fleet: Fleet): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const key = `w/${i}`;
      const kv = etcdKv({ endpoints: fleet.endpoints, timeoutMs: 3000 });
      try {
        for (let n = 0; n < 20; n++) {
          const { revision } = await kv.put(`${key}/${n}`, 'v'.repeat(100));
          this.acknowledged.set(`${key}/${n}`, revision);
        }
      } catch (error) {
        if (!isQuorateError(error)) throw error;
        await delay(10); // the pace of tries while nobody serves
      } finally {
        await kv.close();
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
}

async function voters(fleet: Fleet): Promise<string[]> {
  const { members } = await fleet.service.memberList();
  return members
    .filter(({ isLearner }) => !isLearner)
    .map(({ name }) => name)
    .sort();
}

test('members come and go under writes: 1, 5, 1, and 2 again', { timeout: 180_000 }, async () => {
  const cluster = await startCluster({ size: 1, flags: FLAGS });
  const fleet = new Fleet(cluster);
  const writer = new Writer(fleet);
  try {
    // A voter at once, as etcdctl does without --learner: nothing is decided until it runs.
    (await fleet.add('n2', false)).member.start();
    await fleet.grow('n3');
    (await fleet.add('n4', false)).member.start();
    await fleet.grow('n5');
    await until('all have told their names', async () => !(await voters(fleet)).includes(''));
    assert.deepEqual(await voters(fleet), ['n1', 'n2', 'n3', 'n4', 'n5']);

    const before = (await fleet.service.memberList()).members;
    const inUse = { peerUrls: [fleet.seats.get('n2')!.peerUrl], isLearner: false };
    await refused(fleet.service.memberAdd(inUse), 'ERR_PEER_URL_EXISTS');
    await refused(fleet.service.memberAdd({ ...inUse, peerUrls: ['x'] }), 'ERR_BAD_PEER_URLS');
    await refused(fleet.service.memberRemove(0x1234n), 'ERR_MEMBER_NOT_FOUND');
    await refused(fleet.service.memberPromote(await fleet.id('n4')), 'ERR_NOT_LEARNER');
    assert.deepEqual((await fleet.service.memberList()).members, before);

    // What has joined goes on after a crash by what is on its disk.
    const n4 = fleet.seats.get('n4')!;
    await n4.member.kill('SIGKILL');
    n4.member.start();
    const isHealthy = async (): Promise<boolean> => {
      return (await fleet.service.health(n4.member.endpoint)).healthy;
    };
    await until('n4 is back', isHealthy);
    // And after the loss of its disk, under its id.
    await n4.member.kill('SIGKILL');
    await rm(join(fleet.folder, 'n4'), { recursive: true });
    n4.member.start();
    await until('n4 is back with what the others have', isHealthy);

    // A dead one is replaced, with an empty folder, at the same address, under a new id.
    const dead = fleet.seats.get('n3')!;
    const oldId = await fleet.id('n3');
    await dead.member.kill('SIGKILL');
    await fleet.remove('n3');
    await rm(join(fleet.folder, 'n3'), { recursive: true });
    fleet.seats.delete('n3');
    await fleet.grow('n3', dead);
    assert.notEqual(await fleet.id('n3'), oldId);

    // The leader goes: it still answers, and ends.
    const leader = await fleet.leader();
    await fleet.remove(leader);
    const gone = fleet.seats.get(leader)!;
    await fleet.ends(leader);
    assert.equal((await voters(fleet)).length, 4);
    gone.member.start();
    await until('started again it ends again', () => !gone.member.running);
    assert.equal(gone.member.exitCode, 0, gone.member.output);

    // Down to one. With one of three dead, of the others none may go.
    const left = [...fleet.seats.keys()];
    await fleet.remove(left[3]!);
    await fleet.ends(left[3]!);
    await fleet.seats.get(left[2]!)!.member.kill('SIGKILL');
    const hasty = etcdService({ endpoints: fleet.endpoints, timeoutMs: 3000 });
    await refused(hasty.memberRemove(await fleet.id(left[1]!)), 'ERR_UNAVAILABLE');
    await hasty.close();
    await fleet.remove(left[2]!);
    fleet.seats.delete(left[2]!);
    await fleet.remove(left[1]!);
    await fleet.ends(left[1]!);
    await refused(fleet.service.memberRemove(await fleet.id(left[0]!)), 'ERR_NOT_ENOUGH_STARTED');
    assert.deepEqual(await voters(fleet), [left[0]]);

    // And a second voter again, after all that was.
    (await fleet.add('n9', false)).member.start();
    await until('n9 takes part', async () => (await voters(fleet)).includes('n9'));

    await writer.stop();
    const kv = etcdKv({ endpoints: fleet.endpoints });
    const { kvs } = await kv.range({ prefix: 'w/' });
    const found = new Map(kvs.map((entry) => [entry.key.toString(), entry.modRevision]));
    for (const [key, revision] of writer.acknowledged) {
      assert.equal(found.get(key), revision, `acknowledged ${key}`);
    }
    assert.ok(writer.acknowledged.size > 100, `${writer.acknowledged.size} writes`);
    await kv.close();
  } catch (error) {
    const outputs = [...fleet.seats.values()].map(
      ({ name, member }) => `${name}: ${member.output}`,
    );
    throw new Error(outputs.join('\n'), { cause: error });
  } finally {
    await writer.stop();
    await fleet.service.close();
    await Promise.all([...fleet.seats.values()].map(({ member }) => member.kill('SIGKILL')));
    await cluster.close();
  }
});

test('quorate member and move-leader do it from the command line, and say what is wrong', {
  timeout: 60_000,
}, async () => {
  const cluster = await startCluster();
  const [port] = await freePorts(1);
  const member = async (...args: string[]): Promise<{ code: number | null; text: string }> => {
    const { code, out, err } = await cli(...args, '--endpoints', cluster.endpoints.join());
    return { code, text: out + err };
  };
  try {
    const leader = await cluster.awaitLeader();
    const url = `http://127.0.0.1:${port}`;
    const added = await member('member', 'add', 'x', '--learner', '--peer-urls', url, '--json');
    const { id } = (JSON.parse(added.text) as { member: { id: string } }).member;
    assert.equal(added.code, 0);
    const list = await member('member', 'list');
    assert.match(list.text, new RegExp(`${id} +unstarted +- +${url} +- +yes`));
    const early = await member('member', 'promote', id);
    assert.equal(early.code, 1);
    assert.match(early.text, /can only promote a learner member which is in sync with leader/);
    assert.match(
      (await member('member', 'remove', id)).text,
      new RegExp(`Member ${id} removed from`),
    );
    assert.equal((await member('member', 'remove', 'zz')).code, 2);
    assert.equal((await member('member', 'update', id)).code, 2);
    const { members } = JSON.parse((await member('member', 'list', '--json')).text) as {
      members: { id: string; name: string }[];
    };
    const next = members.find(({ name }) => name !== leader.name)!;
    assert.equal((await member('move-leader', next.id)).code, 0);
    assert.equal((await cluster.awaitLeader()).name, next.name);
  } finally {
    await cluster.close();
  }
});

test('a node that was not added, or finds nobody, says what to do and leaves nothing behind', {
  timeout: 60_000,
}, async () => {
  const cluster = await startCluster({ size: 1, flags: FLAGS });
  const fleet = new Fleet(cluster);
  try {
    const stranger = await fleet.seat('x');
    stranger.member.start();
    await until('it has ended', () => !stranger.member.running);
    assert.equal(stranger.member.exitCode, 1);
    const line = `no member at ${stranger.peerUrl} .* quorate member add x --learner --peer-urls ${stranger.peerUrl}`;
    assert.match(stranger.member.output, new RegExp(line));
    await cluster.members[0]!.kill('SIGKILL');
    stranger.member.start();
    await until('it has ended', () => !stranger.member.running);
    assert.match(stranger.member.output, /no member of the cluster could be asked.*ECONNREFUSED/);
  } finally {
    await fleet.service.close();
    await cluster.close();
  }
});
