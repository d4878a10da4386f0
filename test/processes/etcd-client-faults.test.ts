/**
 * Our client on a bad day: members of a real etcd (and our own) are killed, cut off, made learners,
 * ask for passwords and certificates, and the links to them swallow what they are given.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { isQuorateError, type QuorateError } from 'quorate';
import { type EtcdOptions, etcdKv, etcdService } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { kvLocks } from 'quorate/locks';
import { testAuthority } from '../../src/testing/certificates.ts';
import { startCluster, until } from '../support/cluster.ts';
import { type EtcdCluster, engine, missingEtcd, startEtcd } from '../support/etcd.ts';
import { FaultyNetwork, type Impairment, type Links } from '../support/faulty-network.ts';
import { Changes, Follower } from '../support/history.ts';
import { freePorts } from '../support/ports.ts';

const skip = missingEtcd('etcd', 'etcdctl');
const timeout = 120_000;

const portOf = (endpoint: string): number => Number(endpoint.split(':')[1]);

/** Puts a link that can be hurt before each endpoint; member i is called `String(i)`. */
async function behind(network: FaultyNetwork, endpoints: readonly string[]): Promise<string[]> {
  const ports = await Promise.all(
    endpoints.map((endpoint, i) => network.listen(String(i), portOf(endpoint), () => 'client')),
  );
  return ports.map((port) => `127.0.0.1:${port}`);
}

const linksOf =
  (member: number): Links =>
  (from, to) =>
    from === String(member) || to === String(member);
const everyLink: Links = () => true;

async function failure(work: Promise<unknown>): Promise<QuorateError> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (reason) => reason,
  );
  assert.ok(isQuorateError(error), inspect(error));
  return error;
}

function etcdctl(endpoints: readonly string[], ...args: string[]): string {
  const flags = ['--endpoints', endpoints.join(','), '--command-timeout=10s'];
  return execFileSync(engine('etcdctl'), [...flags, ...args], { encoding: 'utf8' });
}

async function onEtcd(
  size: number,
  run: (etcd: EtcdCluster) => Promise<void>,
  flags: readonly string[] = [],
): Promise<void> {
  const etcd = await startEtcd(size, flags);
  try {
    await run(etcd);
  } finally {
    await etcd.close();
  }
}

/** What both kinds of servers can have done to them. */
interface Servers {
  readonly endpoints: readonly string[];
  kill(member: number): Promise<void>;
  restart(member: number): void;
}

/** Every change must reach every watch once, whatever happens to the servers and links. */
async function watchThroughFaults(servers: Servers, total: number): Promise<string> {
  await using network = new FaultyNetwork();
  const endpoints = await behind(network, servers.endpoints);
  await using direct = etcdKv({ endpoints: servers.endpoints });
  // A client each: they are connected to different members.
  await using first = etcdKv({ endpoints });
  await using second = etcdKv({ endpoints });
  await using third = etcdKv({ endpoints });
  const kvs = [first, second, third];
  const changes = new Changes(direct, 'c/', 16);
  const followers = kvs.map((kv, i) => new Follower(`watch ${i}`, kv, 'c/'));
  followers.push(
    new Follower('with progress and fragments', kvs[0]!, 'c/', { progress: true, fragment: true }),
    new Follower('slow', kvs[1]!, 'c/', {}, 3_000),
  );
  const share = Math.floor(total / 16);
  await changes.more(share);
  for (const member of [0, 1, 2]) {
    await servers.kill(member);
    await changes.more(share);
    servers.restart(member);
    await until(`member ${member} is back`, async () => {
      const service = etcdService({ endpoints: servers.endpoints[member]! });
      const { healthy } = await service.health(servers.endpoints[member]!);
      await service.close();
      return healthy;
    });
    const mend = network.impair(linksOf(member), { cut: true });
    await changes.more(share);
    mend();
    network.resetMidFrame(linksOf(member));
    await changes.more(share);
  }
  for (const member of [0, 1]) {
    // Longer than a ping may stay unanswered, so that who is on this link has to leave it.
    const mend = network.impair(linksOf(member), { swallow: true });
    await changes.more(share);
    await delay(11_000);
    mend();
  }
  await changes.more(Math.max(1, total - changes.acknowledged.size));
  await changes.stop();
  const counts: number[] = [];
  const last = await lastOf(direct, 'c/');
  for (const follower of followers) {
    await follower.caughtUp(last);
    counts.push(await follower.assertComplete(direct, changes));
  }
  assert.equal(new Set(counts).size, 1);
  assert.ok(counts[0]! >= total);
  return `${counts[0]} events on each of ${followers.length} watches; of the writes ${changes.unknown} unknown, ${changes.refused} refused`;
}

async function lastOf(kv: Kv, prefix: string): Promise<number> {
  const { kvs } = await kv.range({ prefix });
  return Math.max(...kvs.map(({ modRevision }) => modRevision));
}

test('10,000 changes: each watch tells each once, while servers are killed and links hurt', {
  skip,
  timeout,
}, async (t) => {
  await onEtcd(3, async (etcd) => t.diagnostic(await watchThroughFaults(etcd, 10_000)));
});

test('4,000 changes on our own servers: the same', { timeout }, async (t) => {
  const cluster = await startCluster();
  const { endpoints, members } = cluster;
  try {
    const servers = {
      endpoints,
      kill: (member: number) => members[member]!.kill(),
      restart: (member: number) => members[member]!.start(),
    };
    t.diagnostic(await watchThroughFaults(servers, 4_000));
  } finally {
    await cluster.close();
  }
});

test('a watch that a compaction overtook while it was cut off says so', { skip }, async () => {
  await onEtcd(1, async (etcd) => {
    await using network = new FaultyNetwork();
    await using kv = etcdKv({ endpoints: await behind(network, etcd.endpoints) });
    await using direct = etcdKv({ endpoints: etcd.endpoints });
    const follower = new Follower('watch', kv, 'c/');
    const first = await direct.put('c/0', '1');
    await until('it has begun', () => follower.revision >= first.revision);
    const mend = network.impair(everyLink, { cut: true });
    await direct.put('c/0', '2');
    const { revision } = await direct.put('c/0', '3');
    await direct.compact(revision);
    mend();
    const error = await until('it has ended', () => follower.error);
    assert.ok(isQuorateError(error, 'ERR_COMPACTED'), inspect(error));
    assert.equal(error.compactRevision, revision);
    assert.equal(follower.seen.length, 1);
  });
});

/** Who talks to a peer of etcd says so in a header; probes do not. */
function etcdPeer(first: Buffer): string | undefined {
  const head = first.toString('latin1');
  const id = /x-server-from: ([0-9a-f]+)\r\n/i.exec(head)?.[1];
  return id ?? (head.includes('\r\n\r\n') ? 'a probe' : undefined);
}

test('a member cut off from the others, but not from us, costs a read little and no event', {
  skip,
  timeout,
}, async (t) => {
  await using network = new FaultyNetwork();
  const ids = new Map<string, string>();
  const peerPort = (name: string, port: number): Promise<number> =>
    network.listen(name, port, etcdPeer);
  const etcd = await startEtcd(3, [], { peerPort });
  try {
    await using service = disposable(etcdService({ endpoints: etcd.endpoints }));
    for (const { id, name } of (await service.memberList()).members) {
      ids.set(id.toString(16), name);
    }
    await using kv = etcdKv({ endpoints: etcd.endpoints });
    const changes = new Changes(kv, 'c/', 4);
    const followers = [1, 2, 3].map((i) => new Follower(`watch ${i}`, kv, 'c/'));
    await changes.more(50);
    const first = etcd.endpoints.indexOf(etcd.leader()!);
    const isOf = (member: number, end: string): boolean =>
      end === `e${member + 1}` || ids.get(end) === `e${member + 1}`;
    // The leader, cut off altogether; then one that hears the leader, and so believes that it can serve.
    const faults: [Links, Impairment][] = [
      [(from, to) => isOf(first, from) || isOf(first, to), { cut: true }],
      [(from) => isOf(first, from), { swallow: true }],
    ];
    for (const [links, what] of faults) {
      // A client that has no bad experience with any member, and is connected to all.
      await using reader = etcdKv({ endpoints: etcd.endpoints });
      for (let i = 0; i < 9; i++) await reader.get('c/0');
      const mend = network.impair(links, what);
      const took: number[] = [];
      for (const end = performance.now() + 6_000; performance.now() < end; ) {
        const startedAt = performance.now();
        await reader.get('c/0');
        took.push(performance.now() - startedAt);
        await delay(10);
      }
      await changes.more(50);
      mend();
      const worst = Math.max(...took);
      const late = took.filter((ms) => ms > 500).length;
      t.diagnostic(
        `${took.length} reads, ${late} took over 500 ms, the slowest ${Math.round(worst)}`,
      );
      // Until the others have a new leader nobody can answer; then a second for the first to be doubted.
      assert.ok(worst < 4_500 && late <= 8, `${late} slow ones, ${worst} ms`);
    }
    await changes.stop();
    const last = await lastOf(kv, 'c/');
    for (const follower of followers) {
      await follower.caughtUp(last);
      await follower.assertComplete(kv, changes);
    }
    t.diagnostic(`of the writes ${changes.unknown} unknown, ${changes.refused} refused`);
    assert.equal(changes.refused, 0);
  } finally {
    await etcd.close();
  }
});

/** Ends a service with its block. */
function disposable<T extends { close(): Promise<void> }>(service: T): T & AsyncDisposable {
  return Object.assign(service, { [Symbol.asyncDispose]: () => service.close() });
}

test('a put whose reply is lost is unknown, and done once', { skip }, async () => {
  await onEtcd(3, async (etcd) => {
    await using network = new FaultyNetwork();
    const endpoints = await behind(network, etcd.endpoints);
    await using kv = etcdKv({ endpoints, timeoutMs: '2s' });
    await using direct = etcdKv({ endpoints: etcd.endpoints });
    await Promise.all(endpoints.map((_, i) => kv.get(`warm/${i}`)));
    const mend = network.impair((_, to) => to === 'client', { swallow: true });
    const timedOut = failure(kv.put('slow', '1'));
    const txn = failure(kv.txn({ then: [{ op: 'put', key: 'txn', value: '1' }] }));
    const lost = failure(kv.put('lost', '1'));
    await until('the put is done', async () => (await direct.get('lost')) !== undefined);
    assert.equal((await timedOut).code, 'ERR_TIMEOUT');
    for (const one of [await timedOut, await txn, await lost]) assert.equal(one.outcome, 'unknown');
    mend();
    // Nothing that was lost comes again.
    await until('the links are new', () => kv.put('after', '1'));
    for (const key of ['slow', 'lost', 'txn']) assert.equal((await direct.get(key))?.version, 1);
  });
});

test('a lock of 3 s outlives the death of the link it was renewed on', { skip }, async () => {
  await onEtcd(3, async (etcd) => {
    await using network = new FaultyNetwork();
    const endpoints = await behind(network, etcd.endpoints);
    await using kv = etcdKv({ endpoints });
    const locks = kvLocks(kv, { ttl: '3s' });
    const lock = await locks.acquire('job');
    for (const member of [0, 1, 2]) {
      const mend = network.impair(linksOf(member), { swallow: true });
      await delay(4_500);
      assert.equal(lock.lost.aborted, false, `lost with member ${member} gone`);
      mend();
      await delay(1_200);
    }
    await lock.release();
    await locks.close();
  });
});

test('a lock is lost for its holder before the store gives it to anybody else', {
  skip,
}, async (t) => {
  await onEtcd(1, async (etcd) => {
    await using network = new FaultyNetwork();
    await using kv = etcdKv({ endpoints: await behind(network, etcd.endpoints) });
    await using direct = etcdKv({ endpoints: etcd.endpoints });
    const locks = kvLocks(kv, { ttl: '5s' });
    const lock = await locks.acquire('job');
    const [lease] = await direct.leases();
    // Renewed at least once.
    await delay(2_000);
    const mend = network.impair(everyLink, { swallow: true });
    const cutAt = performance.now();
    await new Promise((resolve) => lock.lost.addEventListener('abort', resolve, { once: true }));
    const lostMs = performance.now() - cutAt;
    assert.ok((await direct.leaseInfo(lease!)).remainingMs >= 0, 'the store still has the lease');
    await until(
      'the key is gone',
      async () => (await direct.range({ prefix: 'job/' })).count === 0,
    );
    const goneMs = performance.now() - cutAt;
    t.diagnostic(
      `lost after ${Math.round(lostMs)} ms, in the store after ${Math.round(goneMs)} ms`,
    );
    assert.ok(lostMs <= 5_050 && lostMs <= goneMs, `${lostMs} ms, gone after ${goneMs} ms`);
    mend();
    await locks.close();
  });
});

const auth = { username: 'root', password: 'a-secret-password' };

test('tokens that run out or are lost in a restart are renewed; secrets stay unsaid', {
  skip,
  timeout,
}, async () => {
  const flags = ['--auth-token-ttl=1', '--bcrypt-cost=4'];
  await onEtcd(
    1,
    async (etcd) => {
      etcdctl(etcd.endpoints, 'user', 'add', `root:${auth.password}`);
      etcdctl(etcd.endpoints, 'user', 'grant-role', 'root', 'root');
      etcdctl(etcd.endpoints, 'auth', 'enable');
      const endpoints = etcd.endpoints;
      await using kv = etcdKv({ endpoints, auth });
      const follower = new Follower('watch', kv, 'c/');
      const lease = await kv.grantLease('30s');
      const last = async (): Promise<number> => (await kv.put('c/0', 'x')).revision;
      await last();
      // A simple token lives for a second here without a call.
      await delay(2_500);
      await last();
      assert.equal(await kv.keepAlive(lease.id), 30_000);
      await delay(2_500);
      assert.equal(await kv.keepAlive(lease.id), 30_000);
      await etcd.kill(0);
      etcd.restart(0);
      assert.equal(await kv.keepAlive(lease.id), 30_000);
      await follower.caughtUp(await last());
      assert.deepEqual(
        follower.seen.map(({ version }) => version),
        [1, 2, 3],
      );
      const wrong = { username: 'root', password: 'a-wrong-secret' };
      await using other = etcdKv({ endpoints, auth: wrong });
      const error = await failure(other.put('k', 'v'));
      assert.equal(error.code, 'ERR_UNAUTHENTICATED');
      etcdctl(endpoints, '--user', `root:${auth.password}`, 'user', 'add', 'low:pw');
      await using low = etcdKv({ endpoints, auth: { username: 'low', password: 'pw' } });
      assert.equal((await failure(low.put('k', 'v'))).code, 'ERR_PERMISSION_DENIED');
      for (const one of [kv, other, error]) {
        const shown = inspect(one, { depth: 20, showHidden: true }) + JSON.stringify(one);
        assert.ok(!shown.includes('secret'), shown);
      }
    },
    flags,
  );
});

test('TLS of a real etcd: certificates on both sides, by name, and strangers refused', {
  skip,
}, async () => {
  const authority = testAuthority('ours');
  const server = authority.issue('server');
  const client = authority.issue('client');
  const stranger = testAuthority('a stranger');
  const folder = await mkdtemp(join(tmpdir(), 'quorate-etcd-tls-'));
  const file = async (name: string, content: string): Promise<string> => {
    await writeFile(join(folder, name), content);
    return join(folder, name);
  };
  const [ca, cert, key] = [
    await file('ca.pem', authority.cert),
    await file('server.pem', server.cert),
    await file('server.key', server.key),
  ];
  const flags = ['--cert-file', cert, '--key-file', key, '--trusted-ca-file', ca];
  const ctl = ['--cacert', ca, '--cert', cert, '--key', key];
  const etcd = await startEtcd(1, [...flags, '--client-cert-auth'], { scheme: 'https', ctl });
  try {
    const [endpoint] = etcd.endpoints;
    const connect = async (tls: EtcdOptions['tls'], endpoints = endpoint!): Promise<void> => {
      await using kv = etcdKv({ endpoints, ...(tls === undefined ? {} : { tls }) });
      await kv.put('k', 'v');
    };
    const good = { ca: authority.cert, ...client };
    await connect(good);
    await connect({ ...good, serverName: 'localhost' }, `https://${endpoint}`);
    const refused: readonly [EtcdOptions['tls'], RegExp][] = [
      [{ ...good, ca: stranger.cert }, /not trusted: check tls\.ca/],
      [{ ...good, serverName: 'other.example' }, /for another name.*tls\.serverName/],
      [{ ca: authority.cert }, /client certificate.*tls\.cert/],
      [{ ca: authority.cert, ...stranger.issue('x') }, /client certificate.*tls\.cert/],
      [undefined, /may speak TLS only/],
    ];
    for (const [tls, message] of refused) {
      const error = await failure(connect(tls));
      assert.deepEqual([error.code, error.outcome], ['ERR_UNAVAILABLE', 'not-applied']);
      assert.match(error.message, message);
    }
  } finally {
    await etcd.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test('a learner among the endpoints costs next to nothing', { skip, timeout }, async (t) => {
  await onEtcd(1, async (etcd) => {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-etcd-learner-'));
    const [clientPort, peerPort] = await freePorts(2);
    const [client, peer] = [`127.0.0.1:${clientPort}`, `http://127.0.0.1:${peerPort}`];
    await using service = disposable(etcdService({ endpoints: etcd.endpoints }));
    const [first] = (await service.memberList()).members;
    await service.memberAdd({ peerUrls: [peer], isLearner: true });
    const learner = spawn(
      engine('etcd'),
      [
        ...['--name', 'l', '--data-dir', join(folder, 'l'), '--log-level', 'error'],
        ...['--listen-client-urls', `http://${client}`],
        ...['--advertise-client-urls', `http://${client}`],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', `${first!.name}=${first!.peerUrls[0]},l=${peer}`],
        ...['--initial-cluster-state', 'existing'],
      ],
      { stdio: 'ignore' },
    );
    try {
      await until('the learner answers', () => service.status(client).then(() => true));
      await using kv = etcdKv({ endpoints: [client, etcd.endpoints[0]!] });
      const startedAt = performance.now();
      const follower = new Follower('watch', kv, 'c/');
      const lease = await kv.grantLease('10s');
      for (let i = 0; i < 50; i++) {
        await kv.put('c/0', String(i));
        assert.equal((await kv.get('c/0'))?.version, i + 1);
        assert.equal(await kv.keepAlive(lease.id), 10_000);
      }
      await follower.caughtUp(await lastOf(kv, 'c/'));
      assert.equal(follower.seen.length, 50);
      const tookMs = performance.now() - startedAt;
      t.diagnostic(`150 calls took ${Math.round(tookMs)} ms`);
      assert.ok(tookMs < 4_000, `${tookMs} ms`);
      await using alone = etcdKv({ endpoints: client });
      const askedAt = performance.now();
      assert.equal((await failure(alone.get('c/0'))).code, 'ERR_UNSUPPORTED');
      assert.ok(performance.now() - askedAt < 1_000);
    } finally {
      const gone = new Promise((resolve) => learner.once('exit', resolve));
      learner.kill('SIGKILL');
      await gone;
      await rm(folder, { recursive: true, force: true });
    }
  });
});
