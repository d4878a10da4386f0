import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType, type PeerMessage } from '../../consensus/messages.ts';
import { isQuorateError } from '../../core/errors.ts';
import { type NodeOptions, openNode } from '../../node.ts';
import { type ClusterObserver, SimulatedCluster } from './cluster.ts';
import type { Life } from './life.ts';
import { SimulatedWorld } from './world.ts';

interface Bench {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;
  /** Runs the world until `work` has settled. */
  run<T>(work: Promise<T>): Promise<T>;
  /** Runs it until something holds. */
  until(holds: () => boolean): Promise<void>;
}

const SETTINGS = {
  heartbeatMs: 50,
  electionMs: 400,
  snapshotEntries: 20,
  surroundings: { segmentBytes: 8192 },
};

function bench(
  nodes: number,
  observer?: ClusterObserver,
  changes: Partial<NodeOptions> = {},
): Bench {
  const world = new SimulatedWorld({ seed: 11 });
  const cluster = new SimulatedCluster({
    world,
    open: openNode,
    nodes,
    settings: { ...SETTINGS, ...changes },
    ...(observer === undefined ? {} : { observer }),
  });
  for (const seat of cluster.seats) cluster.start(seat);
  const until = async (holds: () => boolean): Promise<void> => {
    await world.run(world.nowMs + 120_000, () => !holds());
    assert.equal(world.violation, undefined);
    assert.ok(holds(), 'it came to hold in time');
  };
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let over = false;
    const end = (): void => {
      over = true;
    };
    work.then(end, end);
    await until(() => over);
    return work;
  };
  return { world, cluster, run, until };
}

const life = (cluster: SimulatedCluster, seat: number): Life => {
  const found = cluster.seats[seat]!.life;
  assert.ok(found !== undefined);
  return found;
};

test('nodes elect a leader, replicate writes, survive a crash of all with everything acknowledged, and close', async () => {
  const { cluster, run, until, world } = bench(3);
  await until(() => cluster.running.length === 3);
  for (let i = 0; i < 100; i++) {
    await run(life(cluster, i % 3).call(({ kv }) => kv.put(`key-${i}`, `value-${i}`)));
  }
  for (const seat of cluster.seats) cluster.crash(seat);
  assert.equal(cluster.running.length, 0);
  for (const seat of cluster.seats) cluster.start(seat);
  await until(() => cluster.running.length === 3);
  for (let i = 0; i < 100; i++) {
    const found = await run(life(cluster, i % 3).call(({ kv }) => kv.get(`key-${i}`)));
    assert.equal(found?.value.toString(), `value-${i}`);
  }
  for (const seat of cluster.seats) cluster.stop(seat);
  await until(() => cluster.seats.every((seat) => seat.life === undefined));
  assert.deepEqual(world.faults, { 'power-cut': 3, stop: 3 });
  assert.equal(cluster.seats[0]!.lives, 2);
});

test('a call in a process that dies is unknown, in one that does not run surely not applied', async () => {
  const { cluster, run, until } = bench(3);
  await until(() => cluster.running.length === 3);
  const outcomeOf = (work: Promise<unknown>): Promise<string> =>
    run(
      work.then(
        () => 'ok',
        (error) => (isQuorateError(error, 'ERR_UNAVAILABLE') ? error.outcome : String(error)),
      ),
    );
  const dying = life(cluster, 0);
  const begun = dying.call(({ kv }) => kv.put('a', '1'));
  cluster.kill(cluster.seats[0]!);
  assert.equal(await outcomeOf(begun), 'unknown');
  assert.equal(await outcomeOf(dying.call(({ kv }) => kv.put('a', '2'))), 'not-applied');
  const paused = life(cluster, 1);
  cluster.pause(cluster.seats[1]!);
  const waiting = paused.call(({ kv }) => kv.put('a', '3'));
  cluster.crash(cluster.seats[1]!);
  assert.equal(await outcomeOf(waiting), 'not-applied');
});

test('a paused leader is deposed, and a call in it is answered after it goes on', async () => {
  const { cluster, run, until } = bench(3);
  const leader = (): number =>
    cluster.running.findIndex(
      ({ node, process }) => !process.paused && node!.status().role === 'leader',
    );
  await until(() => cluster.running.length === 3 && leader() >= 0);
  const first = leader();
  cluster.pause(cluster.seats[first]!);
  const call = life(cluster, first).call(({ kv }) => kv.put('late', 'yes'));
  await until(() => leader() >= 0);
  assert.notEqual(leader(), first);
  const other = life(cluster, leader());
  assert.equal(await run(other.call(({ kv }) => kv.get('late'))), undefined);
  cluster.continue(cluster.seats[first]!);
  await run(call);
  assert.equal((await run(other.call(({ kv }) => kv.get('late'))))?.value.toString(), 'yes');
});

test('a node whose disk was wiped comes back by a snapshot', async () => {
  const { cluster, run, until } = bench(3);
  await until(() => cluster.running.length === 3);
  for (let i = 0; i < 60; i++) await run(life(cluster, 0).call(({ kv }) => kv.put('k', `${i}`)));
  cluster.crash(cluster.seats[2]!);
  cluster.wipe(cluster.seats[2]!);
  cluster.start(cluster.seats[2]!);
  await until(() => cluster.running.length === 3);
  const back = life(cluster, 2);
  await until(() => back.node!.status().revision >= 61);
  assert.equal((await run(back.call(({ kv }) => kv.get('k'))))?.value.toString(), '59');
});

test('a node that was cut off catches up when the network is calm again', async () => {
  const { cluster, run, until } = bench(3);
  await until(() => cluster.running.length === 3);
  const [a, b, c] = cluster.seats.map((seat) => seat.host) as [string, string, string];
  for (const [from, to] of [
    [a, c],
    [c, a],
    [b, c],
    [c, b],
  ] as const) {
    cluster.network.cut(from, to);
  }
  await run(life(cluster, 0).call(({ kv }) => kv.put('k', 'majority')));
  cluster.calm();
  await until(() => life(cluster, 2).node!.status().revision === 2);
});

test('a node whose disk fails stops itself, is told of, and can be started again', async () => {
  const ended: string[] = [];
  const { cluster, run, until } = bench(1, {
    onEnded: ({ name, failure }, how) => ended.push(`${name} ${how} ${failure?.message}`),
  });
  await until(() => cluster.running.length === 1);
  const seat = cluster.seats[0]!;
  await run(life(cluster, 0).call(({ kv }) => kv.put('k', 'before')));
  seat.disk.weather.syncErrorRate = 1;
  const put = life(cluster, 0).call(({ kv }) => kv.put('k', 'v'));
  await assert.rejects(run(put), { outcome: 'unknown' });
  await until(() => seat.life === undefined);
  assert.match(ended[0]!, /^a failed writing .* failed \(EIO\)/);
  cluster.start(seat);
  await until(() => ended.length === 2);
  assert.match(ended[1]!, /^a failed /, 'it cannot start either');
  seat.disk.calm();
  cluster.start(seat);
  await until(() => cluster.running.length === 1);
});

test('a node that is closed while it has no quorum leaves nothing behind', async () => {
  const { cluster, until, world } = bench(3);
  cluster.crash(cluster.seats[1]!);
  cluster.crash(cluster.seats[2]!);
  await until(() => cluster.running.length === 1);
  await world.run(world.nowMs + 10_000);
  cluster.stop(cluster.seats[0]!);
  await until(() => cluster.seats[0]!.life === undefined);
});

test('a node that fell far behind catches up while writes go on without a pause', async () => {
  const { cluster, until, world } = bench(3, undefined, { keepEntries: 50 });
  await until(() => cluster.running.length === 3);
  let open = 0;
  let written = 0;
  const write = (): void => {
    const leader = cluster.running.find(({ node }) => node!.status().role === 'leader');
    for (let i = 0; leader !== undefined && i < 3 && open < 200; i++) {
      open += 1;
      written += 1;
      const done = (): void => {
        open -= 1;
      };
      leader.call(({ kv }) => kv.put('k', `${written}`)).then(done, done);
    }
    world.after(1, write);
  };
  world.after(0, write);
  await until(() => written > 500);
  const late = cluster.seats.find(({ life }) => life!.node!.status().role === 'follower')!;
  cluster.stop(late);
  await until(() => written > 1500 && late.life === undefined);
  const missed = written;
  // While it takes a snapshot in, all that is kept is applied several times over.
  late.disk.weather.slowMs = 8;
  cluster.start(late);
  await until(() => written > missed + 3000);
  const { snapshotIndex, appliedIndex } = late.life!.node!.status();
  assert.ok(snapshotIndex > missed / 2, 'it got a snapshot');
  assert.ok(appliedIndex > written - 300, `it follows closely: ${appliedIndex} of ${written}`);
});

test('a node that was added joins, catches up and votes', async () => {
  const { cluster, run, until, world } = bench(3);
  await until(() => cluster.running.length === 3);
  for (let i = 0; i < 30; i++) await run(life(cluster, 0).call(({ kv }) => kv.put('k', `${i}`)));
  const seat = cluster.join();
  assert.equal(seat.name, 'd');
  const added = await run(
    life(cluster, 0).call(({ backend }) =>
      backend.memberAdd({ peerUrls: [seat.peerUrl], isLearner: true }),
    ),
  );
  cluster.start(seat);
  await until(() => seat.life?.node?.status().revision === 31);
  const { id } = added.member!;
  const promote = (): Promise<unknown> =>
    run(life(cluster, 1).call(({ backend }) => backend.memberPromote({ id })));
  // The leader may not have heard yet how far it is.
  const hasPromoted = (): Promise<boolean> =>
    promote().then(
      () => true,
      (error) => {
        if (isQuorateError(error, 'ERR_LEARNER_NOT_READY')) return false;
        throw error;
      },
    );
  while (!(await hasPromoted())) await world.run(world.nowMs + 50);
  // With four voters two are no majority: without the one that joined, nothing goes on.
  cluster.crash(cluster.seats[0]!);
  await run(life(cluster, 1).call(({ kv }) => kv.put('k', 'three of four')));
  cluster.kill(seat);
  cluster.start(seat);
  await until(() => seat.life?.node?.status().revision === 32);
  assert.equal(world.violation, undefined);
});

test('a cluster runs on Paxos where the settings say so', async () => {
  const { cluster, run, until } = bench(3, undefined, { consensus: 'paxos' });
  await until(() => cluster.running.length === 3);
  await run(life(cluster, 1).call(({ kv }) => kv.put('k', 'v')));
  for (const seat of cluster.seats) cluster.crash(seat);
  for (const seat of cluster.seats) cluster.start(seat);
  await until(() => cluster.running.length === 3);
  assert.equal((await run(life(cluster, 2).call(({ kv }) => kv.get('k'))))?.value.toString(), 'v');
});

test('observers see what starts, what its core was given, and every message', async () => {
  const sent = new Set<PeerMessage['type']>();
  const received: string[] = [];
  const fresh: boolean[] = [];
  const started: string[] = [];
  const { cluster, run, until } = bench(3, {
    wrapCore: (_, core, recovered) => {
      fresh.push(recovered.fresh);
      return core;
    },
    onSend: (_, message) => void sent.add(message.type),
    onReceive: ({ name }, message) => void received.push(`${name} ${message.type}`),
    onStarted: ({ name, number }) => started.push(`${name}${number}`),
  });
  await until(() => cluster.running.length === 3);
  await run(life(cluster, 0).call(({ kv }) => kv.put('k', 'v')));
  await until(() => sent.has(MessageType.heartbeat));
  cluster.kill(cluster.seats[0]!);
  cluster.start(cluster.seats[0]!);
  await until(() => cluster.running.length === 3);
  assert.deepEqual(fresh, [true, true, true, false]);
  assert.deepEqual(started.sort(), ['a1', 'a2', 'b1', 'c1']);
  for (const type of [MessageType.vote, MessageType.append]) {
    assert.ok(sent.has(type), `a message of type ${type} was seen`);
  }
  assert.ok(received.length > 10);
});

test('messages are lost, doubled and overtaken as often as the weather says, and calls lose their replies', async () => {
  const { cluster, run, until, world } = bench(3);
  await until(() => cluster.running.length === 3);
  Object.assign(cluster.messages, {
    lossRate: 0.05,
    duplicateRate: 0.2,
    reorderRate: 0.2,
    lostReplyRate: 0.2,
  });
  for (let i = 0; i < 60; i++) {
    const put = life(cluster, i % 3).call(({ kv }) => kv.put('k', `${i}`));
    await run(put.catch(() => undefined));
  }
  for (const kind of ['message-lost', 'message-duplicate', 'message-reorder', 'reply-lost']) {
    assert.ok((world.faults[kind] ?? 0) > 0, kind);
  }
});
