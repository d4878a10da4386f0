/**
 * Locks that a quorum decides, three durable nodes each (every change is synced to disk by a majority before it is
 * acknowledged): embedded, where the load runs in the process of the leader; through our client for etcd on our own nodes
 * and on etcd, the same recipe; and npm's `etcd3` with its own lock, which does not wait.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Etcd3 } from 'etcd3';
import { etcdKv } from '../src/drivers/etcd/index.ts';
import { kvLocks } from '../src/locks/index.ts';
import { until } from '../test/support/cluster.ts';
import { missingEtcd } from '../test/support/etcd.ts';
import { freePorts } from '../test/support/ports.ts';
import { etcdSystem, quorateSystem } from './clusters.ts';
import { type PairsLoad, pairs, type QueueLoad, queue, type Take } from './locks-load.ts';
import type { NodeOrder } from './locks-quorum-node.ts';
import type { Report } from './report.ts';

const LANES = 64;

interface Locker {
  pairs(lanes: number, ms: number): Promise<PairsLoad>;
  /** Where it waits for a lock that is held. */
  readonly queue?: (lanes: number, ms: number) => Promise<QueueLoad>;
  close(): Promise<void>;
}

type Lockers = Readonly<Record<string, Locker>>;

export async function benchOnQuorum(report: Report, quick: boolean): Promise<void> {
  const missing = missingEtcd('etcd', 'etcdctl');
  if (missing !== false) return report.note(missing);
  await using open = new AsyncDisposableStack();
  const add = async (opening: Promise<Locker>): Promise<Locker> => {
    const locker = await opening;
    open.defer(() => locker.close());
    return locker;
  };
  const ours = await quorateSystem();
  open.defer(() => ours.close());
  const etcd = await etcdSystem();
  open.defer(() => etcd.close());
  const embedded = await add(embeddedLocker());
  const remote = await add(kvLocker(ours.leader));
  const onEtcd = await add(kvLocker(etcd.leader));
  const etcd3 = await add(etcd3Locker(etcd.leader));
  const peers = { 'etcd, our client': onEtcd, 'etcd, npm etcd3': etcd3 };
  // One run for both: ours in the leader's process, and ours over the network as the peers are.
  const lockers = { quorate: embedded, 'quorate over gRPC': remote, ...peers };
  await measurePairs(report, lockers, 1, quick);
  await measurePairs(report, lockers, LANES, quick);
  await measureQueue(report, lockers, quick);
}

async function measurePairs(
  report: Report,
  lockers: Lockers,
  lanes: number,
  quick: boolean,
): Promise<void> {
  const all: Record<string, PairsLoad[]> = {};
  await alternate(lockers, quick, async (who, locker, ms, isWarm) => {
    const load = await locker.pairs(lanes, ms);
    if (isWarm) (all[who] ??= []).push(load);
  });
  const name = `quorum, free, ${lanes} at once`;
  add(report, all, `${name}`, 'pairs/s', 'higher', (load) => load.rate);
  add(report, all, `${name}: p50`, 'ms', 'lower', (load) => load.p50);
  add(report, all, `${name}: p99`, 'ms', 'lower', (load) => load.p99);
  report.note(`${name} done`);
}

async function measureQueue(report: Report, lockers: Lockers, quick: boolean): Promise<void> {
  const all: Record<string, QueueLoad[]> = {};
  await alternate(lockers, quick, async (who, locker, ms, isWarm) => {
    const load = await locker.queue?.(LANES, 2 * ms);
    if (isWarm && load !== undefined) (all[who] ??= []).push(load);
  });
  const name = `quorum, ${LANES} want one`;
  add(report, all, `${name}`, 'grants/s', 'higher', (load) => load.rate);
  add(report, all, `${name}: wait p50`, 'ms', 'lower', (load) => load.p50);
  add(report, all, `${name}: wait p99`, 'ms', 'lower', (load) => load.p99);
  add(report, all, `${name}: not first come`, 'grants', 'lower', (load) => load.overtaken);
  const fairness = `${name}: most to fewest of a worker`;
  add(report, all, fairness, 'ratio', 'lower', (load) => load.unfairness);
  report.note(`${name}: npm's etcd3 does not wait for a lock`);
}

/** Rounds in which each has its turn; the first warms up. */
async function alternate(
  lockers: Lockers,
  quick: boolean,
  turn: (who: string, locker: Locker, ms: number, isWarm: boolean) => Promise<void>,
): Promise<void> {
  for (let round = 0; round <= (quick ? 1 : 4); round++) {
    for (const [who, locker] of Object.entries(lockers)) {
      await turn(who, locker, quick ? 400 : 1200, round > 0);
    }
  }
}

/** Twice: ours embedded, and ours through the same client as the peers. */
function add<L>(
  report: Report,
  all: Readonly<Record<string, readonly L[]>>,
  name: string,
  unit: string,
  better: 'higher' | 'lower',
  pick: (load: L) => number,
): void {
  const samples = Object.entries(all).map(([who, loads]) => [who, loads.map(pick)] as const);
  const { quorate = [], 'quorate over gRPC': remote = [], ...peers } = Object.fromEntries(samples);
  report.add({ name, unit, better }, { quorate, ...peers });
  report.add({ name: `${name}, over gRPC`, unit, better }, { quorate: remote, ...peers });
}

/** What is run here, by a function that takes a lock. */
function local(take: Take, waits: boolean, close: () => Promise<void>): Locker {
  return {
    pairs: (lanes, ms) => pairs(take, lanes, ms),
    ...(waits && { queue: (lanes: number, ms: number) => queue(take, lanes, ms) }),
    close,
  };
}

async function kvLocker(endpoint: string): Promise<Locker> {
  const kv = etcdKv({ endpoints: endpoint });
  const locks = kvLocks(kv);
  const take: Take = async (name) => {
    const lock = await locks.acquire(name);
    return { token: lock.fencingToken, giveBack: () => lock.release() };
  };
  return local(take, true, async () => {
    await locks.close();
    await kv.close();
  });
}

async function etcd3Locker(endpoint: string): Promise<Locker> {
  const client = new Etcd3({ hosts: `http://${endpoint}` });
  const take: Take = async (name) => {
    const lock = await client.lock(name).acquire();
    return { giveBack: () => lock.release() };
  };
  return local(take, false, async () => client.close());
}

/** Three nodes in processes of their own; the leader's does the work. */
async function embeddedLocker(): Promise<Locker> {
  const folder = await mkdtemp(join(tmpdir(), 'quorate-bench-'));
  const ports = await freePorts(3);
  const program = fileURLToPath(new URL('./locks-quorum-node.ts', import.meta.url));
  const children = ['n1', 'n2', 'n3'].map((name) =>
    fork(program, [name, folder, ...ports.map(String)], {
      execArgv: ['--conditions=quorate-source', '--no-warnings'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'advanced',
    }),
  );
  await Promise.all(children.map((child) => once(child, 'message')));
  const leader = await until('a node leads', async () => {
    for (const child of children) {
      if (await tell<boolean>(child, { task: 'leads', lanes: 0, ms: 0 })) return child;
    }
    return undefined;
  });
  return {
    pairs: (lanes, ms) => tell(leader, { task: 'pairs', lanes, ms }),
    queue: (lanes, ms) => tell(leader, { task: 'queue', lanes, ms }),
    async close() {
      const gone = children.map((child) => once(child, 'exit'));
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(gone);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function tell<T>(child: ChildProcess, order: NodeOrder): Promise<T> {
  const answer = once(child, 'message');
  child.send(order);
  const [result] = await answer;
  return result as T;
}
