/**
 * Lease reads of Raft where leaders change as fast as they can: nodes are cut off, stopped, restarted and
 * handed leadership, clocks run at different rates, leases are three times as long as an election takes. No
 * read may be older than a write that anybody had seen when it began. That these storms would find one is
 * tested with clocks that break the bound and with leaders that do not wait.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RaftCore } from '../../src/consensus/raft/raft.ts';
import { CoreCluster, type Seat } from './core-cluster.ts';
import { type CoreUnderTest, cores } from './cores.ts';
import { KvCluster } from './kv-cluster.ts';

const DURATION_MS = 300;
const DRIFT = 0.05;

interface Rules {
  /** What the nodes believe of their clocks. */
  readonly maxClockDrift: number;
  /** What is true of them. */
  readonly drift: number;
  /** How long new leaders believe that leases last. @defaultValue the truth */
  readonly believedMs?: number;
  /** @defaultValue 3 */
  readonly nodes?: number;
}

function raftWithLeases({ maxClockDrift, believedMs }: Rules): CoreUnderTest {
  return {
    consensus: 'raft',
    cutsLog: true,
    options: {},
    create: ({ maxAppendBytes, now, ...start }) =>
      new RaftCore({
        ...start,
        applied: start.snapshot.index,
        settings: { maxAppendBytes },
        lease: new Believed(now, maxClockDrift, believedMs),
      }),
  };
}

/** The duration is asked for once to compute the wait, and later to hold the lease. */
class Believed {
  readonly now: () => number;
  readonly maxClockDrift: number;
  #first: number | undefined;
  #asked = 0;

  constructor(now: () => number, maxClockDrift: number, first: number | undefined) {
    this.now = now;
    this.maxClockDrift = maxClockDrift;
    this.#first = first;
  }

  get durationMs(): number {
    this.#asked += 1;
    return this.#asked <= 2 ? (this.#first ?? DURATION_MS) : DURATION_MS;
  }
}

class LeaseStorm {
  readonly cluster: CoreCluster;
  stale = 0;
  answered = 0;
  /** Answers that needed no round: they came in the same millisecond, from the leader itself. */
  byLease = 0;
  #value = 0;

  constructor(seed: number, rules: Rules) {
    const nodes = rules.nodes ?? 3;
    this.cluster = new CoreCluster(raftWithLeases(rules), { seed, nodes, snapshotEvery: 40 });
    for (const [at, seat] of this.cluster.seats.entries()) {
      seat.clockRate = at % 2 === 0 ? 1 - rules.drift : 1 + rules.drift;
    }
  }

  run(steps: number): void {
    const { cluster } = this;
    for (let step = 0; step < steps; step++) {
      this.#disturb();
      for (let turn = cluster.random.below(6); turn >= 0; turn--) {
        for (const seat of cluster.seats) {
          if (seat.life === undefined || seat.paused) continue;
          if (cluster.random.below(3) === 0) cluster.propose(seat, `v${this.#value++}`);
          this.#read(seat);
        }
        cluster.wait(1 + cluster.random.below(8));
      }
    }
    this.#heal();
    cluster.checkAllAgree();
  }

  #read(seat: Seat): void {
    const { cluster } = this;
    // Whatever any node has applied, a client may have heard of.
    const atLeast = cluster.chosen.length - 1;
    const askedMs = cluster.nowMs;
    const isAlone = !seat.connected && cluster.isLeader(seat);
    cluster.read(seat, (index) => {
      if (index === undefined) return;
      this.answered += 1;
      if (isAlone && cluster.nowMs === askedMs) this.byLease += 1;
      if (index < atLeast) this.stale += 1;
    });
  }

  #disturb(): void {
    const { cluster } = this;
    const { random } = cluster;
    const seat = cluster.seat(random.below(cluster.seats.length));
    const leader = cluster.seats.find((one) => cluster.isLeader(one) && !one.paused);
    const fate = random.below(20);
    if (fate < 4 && leader !== undefined) cluster.disconnect(leader);
    else if (fate < 6) {
      for (const one of cluster.seats) if (random.below(2) === 0) this.#goOn(one);
      cluster.connect(...cluster.seats);
    } else if (fate < 8) cluster.restart(seat);
    else if (fate < 10 && leader !== undefined) cluster.pause(leader);
    else if (fate < 13) this.#goOn(seat);
    else if (fate < 15 && !seat.paused) seat.core.campaign();
    else if (fate < 18) leader?.core.transferLeadership(seat.id);
    else cluster.connect(seat);
  }

  /** Its clients ask before it hears of anything that happened meanwhile. */
  #goOn(seat: Seat): void {
    if (!seat.paused) return;
    seat.paused = false;
    this.#read(seat);
    this.cluster.unpause(seat);
  }

  #heal(): void {
    for (const seat of this.cluster.seats) this.#goOn(seat);
    this.cluster.connect(...this.cluster.seats);
  }
}

const TIMES = Number(process.env['QUORATE_CHECKLIST_TIMES'] ?? 1);

function storms(seeds: number, steps: number, rules: Rules): LeaseStorm[] {
  return Array.from({ length: seeds }, (_, at) => {
    const storm = new LeaseStorm(at + 1, rules);
    storm.run(steps);
    return storm;
  });
}

function sum(all: readonly LeaseStorm[], of: (storm: LeaseStorm) => number): number {
  return all.reduce((total, storm) => total + of(storm), 0);
}

for (const nodes of [3, 5]) {
  test(`with clocks within the bound no read of ${nodes} nodes is stale`, () => {
    const all = storms(10 * TIMES, 400, { maxClockDrift: DRIFT, drift: DRIFT, nodes });
    assert.equal(
      sum(all, (storm) => storm.stale),
      0,
    );
    assert.ok(sum(all, (storm) => storm.answered) > 5000);
    const byLease = sum(all, (storm) => storm.byLease);
    assert.ok(byLease > 200, `${byLease} reads of leaders that were cut off needed their lease`);
    assert.ok(sum(all, (storm) => storm.cluster.leadersSeen) > 200);
    assert.ok(sum(all, (storm) => storm.cluster.chosen.length) > 1500);
  });
}

test('with clocks far beyond the bound a stale read is found, and writes stay safe', () => {
  const all = storms(20, 400, { maxClockDrift: 0, drift: 0.4 });
  assert.ok(sum(all, (storm) => storm.stale) > 0);
});

test('without the wait of new leaders a stale read is found', () => {
  const all = storms(20, 400, { maxClockDrift: 0, drift: 0, believedMs: 1 });
  assert.ok(sum(all, (storm) => storm.stale) > 0);
});

const raft = cores.find((core) => core.consensus === 'raft')!;
const nodesWithLeases: CoreUnderTest = {
  ...raft,
  options: { leaseReads: { maxClockDrift: 0.05 } },
};

test('a leader of real nodes reads by its lease while nobody answers it', async () => {
  const cluster = new KvCluster(nodesWithLeases, { seed: 1, nodes: 3 });
  await cluster.start(...cluster.seats);
  const leader = await cluster.leader();
  const { kv } = leader.node!;
  await cluster.during(kv.put('key', 'value'));
  cluster.disconnect(...cluster.seats.filter((seat) => seat !== leader));
  const beganMs = cluster.clock.now();
  const read = await cluster.during(kv.get('key'));
  assert.equal(read?.value.toString(), 'value');
  assert.ok(cluster.clock.now() - beganMs <= 1, 'no way takes less');
  await cluster.finish();
});

for (const snapshotEntries of [20, 100_000]) {
  test(`stores with leases are linearizable, a snapshot each ${snapshotEntries} entries`, async () => {
    for (let seed = 1; seed <= 2 * TIMES; seed++) {
      const options = { seed, nodes: 3, unreliable: seed % 2 === 0, snapshotEntries };
      const cluster = new KvCluster(nodesWithLeases, options);
      await cluster.start(...cluster.seats);
      const asking = cluster.clients(6, 1000, 2);
      await cluster.during(cluster.partitions(500));
      cluster.crash(...cluster.seats);
      await cluster.wait(20);
      await cluster.start(...cluster.seats);
      await cluster.during(cluster.partitions(300));
      await cluster.during(asking);
      await cluster.finish();
    }
  });
}
