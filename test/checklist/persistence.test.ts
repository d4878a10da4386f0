/** 6.5840, part 3C: what survives a crash, and bad networks for long. */
import assert from 'node:assert/strict';
import type { PeerMessage } from '../../src/consensus/messages.ts';
import type { CoreCluster, Seat } from './core-cluster.ts';
import { ELECTION_MS } from './core-cluster.ts';
import { onEveryCore } from './support.ts';

onEveryCore('3C persist 1: all crash, one by one and together', { nodes: 3 }, (cluster) => {
  cluster.one('11', 3, true);
  for (const seat of cluster.seats) cluster.restart(seat);
  cluster.one('12', 3, true);

  const first = cluster.checkOneLeader();
  cluster.restart(first);
  cluster.one('13', 3, true);

  const second = cluster.checkOneLeader();
  cluster.crash(second);
  cluster.one('14', 2, true);
  cluster.start(second);
  // Not by its own disk alone: by the leader that knows better.
  cluster.until('it has caught up', () => second.life?.applied.includes('14') === true);

  const third = cluster.checkOneLeader();
  const follower = cluster.seat(cluster.seats.indexOf(third) + 1);
  cluster.crash(follower);
  cluster.one('15', 2, true);
  cluster.start(follower);
  cluster.one('16', 3, true);
});

onEveryCore('3C persist 2: five nodes, two fresh from their disks', { nodes: 5 }, (cluster) => {
  for (let round = 0; round < 5; round++) {
    cluster.one(`${round}a`, 5, true);
    const at = cluster.seats.indexOf(cluster.checkOneLeader());
    const [a, b, c, d] = [1, 2, 3, 4].map((step) => cluster.seat(at + step)) as [
      Seat,
      Seat,
      Seat,
      Seat,
    ];
    cluster.disconnect(a, b);
    cluster.one(`${round}b`, 3, true);
    cluster.disconnect(cluster.seat(at), c, d);
    for (const seat of [a, b]) cluster.restart(seat);
    cluster.connect(a, b);
    cluster.wait(ELECTION_MS);
    cluster.restart(c);
    cluster.connect(c);
    cluster.one(`${round}c`, 3, true);
    cluster.connect(d, cluster.seat(at));
  }
  cluster.one('1000', 5, true);
});

onEveryCore('3C persist 3: a partitioned leader and a follower crash', { nodes: 3 }, (cluster) => {
  cluster.one('101', 3, true);
  const at = cluster.seats.indexOf(cluster.checkOneLeader());
  const [leader, a, b] = [0, 1, 2].map((step) => cluster.seat(at + step)) as [Seat, Seat, Seat];
  cluster.disconnect(b);
  cluster.one('102', 2, true);
  cluster.crash(leader);
  cluster.crash(a);
  cluster.connect(b);
  cluster.start(leader);
  cluster.one('103', 2, true);
  cluster.start(a);
  cluster.one('104', 3, true);
});

/** Lets `seat` lead with the votes of `peers`; it is the only one to be heard. `passes` may lose more. */
function lead(
  cluster: CoreCluster,
  seat: Seat,
  peers: readonly Seat[],
  passes: (message: PeerMessage) => boolean,
): void {
  const ids = new Set([seat, ...peers].map(({ id }) => id));
  cluster.filter = (message) => {
    const { from, to } = message;
    const isHeard = (from === seat.id || to === seat.id) && ids.has(from) && ids.has(to);
    return isHeard && passes(message);
  };
  if (seat.life === undefined) cluster.start(seat);
  for (let attempt = 0; !cluster.isLeader(seat); attempt++) {
    assert.ok(attempt < 100, `${cluster}: it leads`);
    seat.core.campaign();
    cluster.wait(20);
  }
}

onEveryCore(
  '3C figure 8, step by step: an entry of an older term is not committed by counting',
  { nodes: 5, seeds: 3, maxAppendBytes: 1 },
  (cluster) => {
    const [s1, s2, s3, s4, s5] = cluster.seats as [Seat, Seat, Seat, Seat, Seat];
    lead(cluster, s1, [s2, s3, s4, s5], () => true);
    const place = cluster.one('first', 5, true) + 1;
    // (a) S1 gets its entry to S2 only.
    cluster.filter = ({ from, to }) => from === s1.id && to === s2.id;
    assert.equal(cluster.propose(s1, 'old'), place);
    cluster.wait(10);
    cluster.crash(s1);
    // (b) S5 leads by the votes of S3 and S4, and nobody hears of what it takes.
    lead(cluster, s5, [s3, s4], ({ from }) => from !== s5.id || !cluster.isLeader(s5));
    cluster.propose(s5, 'other');
    cluster.wait(10);
    cluster.crash(s5);
    // (c) S1 leads again: its old entry reaches S2 and S3, of what it began since only S2 hears.
    const hasOld = (): boolean => s3.core.status().lastIndex >= place;
    lead(cluster, s1, [s2, s3], ({ to, entries }) => {
      return to !== s3.id || entries.length === 0 || !hasOld();
    });
    cluster.until('S3 has the old entry', hasOld);
    cluster.wait(20);
    cluster.crash(s1);
    // (d) S5 leads by the votes of S3 and S4: if they may choose its entry, nobody chose another.
    lead(cluster, s5, [s3, s4], () => true);
    cluster.wait(100);
    cluster.filter = () => true;
    cluster.start(s1);
    cluster.checkAllAgree();
  },
);

/**
 * Leaders crash soon after they took something, before or after it is committed: what a majority
 * holds of an older term is not committed by that alone (Raft figure 8).
 */
onEveryCore(
  '3C figure 8: leaders crash again and again',
  { nodes: 5, seeds: 5, maxAppendBytes: 1 },
  (cluster) => {
    cluster.one('first', 1, true);
    let running = 5;
    for (let round = 0; round < 1000; round++) {
      const leaders = cluster.seats.filter((seat) => {
        return cluster.propose(seat, `${round}`) !== undefined;
      });
      cluster.wait(
        cluster.random.below(10) === 0 ? cluster.random.below(500) : 1 + cluster.random.below(13),
      );
      const leader = leaders.at(-1);
      if (leader?.life !== undefined) {
        cluster.crash(leader);
        running -= 1;
      }
      if (running >= 3) continue;
      const down = cluster.seats.filter(({ life }) => life === undefined);
      cluster.start(down[cluster.random.below(down.length)]!);
      running += 1;
    }
    for (const seat of cluster.seats) if (seat.life === undefined) cluster.start(seat);
    cluster.checkAllAgree();
    assert.ok(cluster.leadersSeen > 50, `${cluster.leadersSeen} leaders`);
  },
);

onEveryCore(
  '3C unreliable agreement: many at a time, one message in ten lost',
  { nodes: 5, seeds: 5, unreliable: true },
  (cluster) => {
    for (let round = 1; round < 50; round++) {
      for (let count = 0; count < 4; count++) {
        for (const seat of cluster.seats) cluster.propose(seat, `${round}/${count}`);
      }
      cluster.one(`${round}`, 1, true);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  '3C figure 8 (unreliable): leaders are cut off, replies come seconds late',
  { nodes: 5, seeds: 8, unreliable: true },
  (cluster) => {
    cluster.one('first', 1, true);
    for (let round = 0; round < 3000; round++) {
      if (round === 1500) cluster.longReordering = true;
      const leaders = cluster.seats.filter((seat) => {
        return cluster.propose(seat, `${round}`) !== undefined && seat.connected;
      });
      cluster.wait(
        cluster.random.below(10) === 0 ? cluster.random.below(500) : 1 + cluster.random.below(13),
      );
      const leader = leaders.at(-1);
      if (leader !== undefined && cluster.random.below(2) === 0) cluster.disconnect(leader);
      const away = cluster.seats.filter((seat) => !seat.connected);
      if (away.length > 2) cluster.connect(away[cluster.random.below(away.length)]!);
    }
    cluster.connect(...cluster.seats);
    cluster.longReordering = false;
    cluster.checkAllAgree();
    assert.ok(cluster.leadersSeen > 25, `${cluster.leadersSeen} leaders`);
  },
);

/** Three clients propose without pause while nodes are cut off, crash and return. */
function churn(cluster: CoreCluster): void {
  const pending: { readonly text: string; readonly index: number; readonly untilMs: number }[] = [];
  const acknowledged: string[] = [];
  let next = 0;
  for (let round = 0; round < 20; round++) {
    const seat = cluster.seat(cluster.random.below(5));
    const other = cluster.seat(cluster.random.below(5));
    if (cluster.random.below(1000) < 200) cluster.disconnect(seat);
    if (cluster.random.below(1000) < 500) {
      if (other.life === undefined) cluster.start(other);
      cluster.connect(other);
    }
    if (cluster.random.below(1000) < 200) cluster.crash(cluster.seat(cluster.random.below(5)));
    for (let step = 0; step < 35; step++) {
      for (const asked of cluster.seats) {
        const text = `c${next++}`;
        const index = cluster.propose(asked, text);
        if (index !== undefined) pending.push({ text, index, untilMs: cluster.nowMs + 1000 });
      }
      cluster.wait(20);
      for (let at = pending.length - 1; at >= 0; at--) {
        const { text, index, untilMs } = pending[at]!;
        if (cluster.chosen[index] === text) acknowledged.push(text);
        if (cluster.chosen[index] !== undefined || cluster.nowMs > untilMs) pending.splice(at, 1);
      }
    }
  }
  cluster.unreliable = false;
  for (const seat of cluster.seats) if (seat.life === undefined) cluster.start(seat);
  cluster.connect(...cluster.seats);
  cluster.checkAllAgree();
  assert.ok(acknowledged.length > 100, `${acknowledged.length} were acknowledged`);
  const kept = new Set(cluster.seat(0).life!.applied);
  for (const text of acknowledged) assert.ok(kept.has(text), `${cluster}: ${text} is lost`);
}

onEveryCore('3C churn (reliable)', { nodes: 5, seeds: 3 }, churn);
onEveryCore('3C churn (unreliable)', { nodes: 5, seeds: 3, unreliable: true }, churn);
