/**
 * The bugs that tutorials and their readers have in common, each as a test of behaviour. That a
 * message does not change on its way, and that snapshots and entries are applied in order, every
 * test of this folder checks by the way.
 */
import assert from 'node:assert/strict';
import type { PeerMessage } from '../../src/consensus/messages.ts';
import { ELECTION_MS } from './core-cluster.ts';
import { onEveryCore } from './support.ts';

onEveryCore(
  'late replies: what answers an earlier term or role changes nothing',
  { nodes: 3, seeds: 4 },
  (cluster) => {
    const old: PeerMessage[] = [];
    cluster.filter = (message) => {
      if (old.length < 3000) old.push(structuredClone(message));
      return true;
    };
    for (let round = 0; round < 6; round++) {
      cluster.one(`a${round}`, 2, true);
      const leader = cluster.checkOneLeader();
      cluster.disconnect(leader);
      // Never to be chosen, but acknowledgements of its places are about.
      cluster.propose(leader, `lost ${round}`, `lost too ${round}`);
      cluster.one(`b${round}`, 2, true);
      cluster.connect(leader);
      cluster.wait(100);
      for (const message of old) cluster.deliver(message);
      for (const message of old.toReversed()) cluster.deliver(message);
      cluster.wait(100);
    }
    cluster.checkAllAgree();
  },
);

onEveryCore('a peer that hangs keeps no candidate from leading', { nodes: 5 }, (cluster) => {
  // Not cut off, which would be noticed: everything to and from them vanishes.
  const [hung, alsoHung] = [cluster.seat(3).id, cluster.seat(4).id];
  const hangs = (id: string): boolean => id === hung || id === alsoHung;
  cluster.filter = ({ from, to }) => !hangs(from) && !hangs(to);
  const beganMs = cluster.nowMs;
  cluster.until('three of five elect a leader', () =>
    cluster.seats.some((seat) => cluster.isLeader(seat)),
  );
  assert.ok(cluster.nowMs - beganMs < ELECTION_MS);
  for (let count = 0; count < 20; count++) {
    const proposedMs = cluster.nowMs;
    cluster.one(`${count}`, 3, true);
    assert.ok(cluster.nowMs - proposedMs < 50, 'nobody waits for those who do not answer');
  }
});

onEveryCore('a dead node blocks nobody: proposers do not wait for all', { nodes: 3 }, (cluster) => {
  cluster.checkOneLeader();
  const leader = cluster.checkOneLeader();
  cluster.crash(cluster.seat(cluster.seats.indexOf(leader) + 1));
  const beganMs = cluster.nowMs;
  for (let count = 0; count < 100; count++) cluster.one(`${count}`, 2, true);
  assert.ok(cluster.nowMs - beganMs < 1500);
});

onEveryCore(
  'one entry at a time is no way back: a log of 500 wrong entries is mended in a few rounds',
  { nodes: 3 },
  (cluster) => {
    cluster.one('first', 3, true);
    const leader = cluster.checkOneLeader();
    cluster.disconnect(leader);
    for (let count = 0; count < 500; count++) cluster.propose(leader, `wrong ${count}`);
    for (let count = 0; count < 300; count++) cluster.one(`right ${count}`, 2, true);
    cluster.connect(leader);
    const beganMs = cluster.nowMs;
    cluster.one('last', 3, true);
    assert.ok(cluster.nowMs - beganMs < 500, `${cluster.nowMs - beganMs} ms`);
  },
);

onEveryCore(
  'a new leader commits what the old one left, without a proposal',
  { nodes: 3, seeds: 5 },
  (cluster) => {
    cluster.one('first', 3, true);
    const leader = cluster.checkOneLeader();
    const down = cluster.seats.indexOf(leader);
    const [a, b] = [cluster.seat(down + 1), cluster.seat(down + 2)];
    // The followers get the entry, the leader does not hear of it any more.
    cluster.filter = ({ to }) => to !== leader.id;
    const index = cluster.propose(leader, 'left behind')!;
    cluster.wait(5);
    cluster.crash(leader);
    cluster.until('both apply it', () => {
      return a.life!.applied.length > index && b.life!.applied.length > index;
    });
    assert.equal(cluster.chosen[index], 'left behind');
  },
);

onEveryCore('no promise leaves before its write: disks that hang', { nodes: 3 }, (cluster) => {
  const leader = cluster.checkOneLeader();
  for (const seat of cluster.seats) if (seat !== leader) seat.diskMs = Number.POSITIVE_INFINITY;
  const index = cluster.propose(leader, 'on one disk')!;
  cluster.wait(3 * ELECTION_MS);
  assert.equal(cluster.appliedBy(index), 0, 'two of three disks have not got it');
  // Nobody can promise anything to a new leader either: only one disk works.
  for (const seat of cluster.seats) cluster.crash(seat);
  for (const seat of cluster.seats) {
    seat.diskMs = 1;
    cluster.start(seat);
  }
  cluster.checkAllAgree();
});

onEveryCore(
  'one vote a term, across crashes: voters that restart within an election',
  { nodes: 3, seeds: 10 },
  (cluster) => {
    // Everybody wants to lead at once, and forgets everything that is not on the disk.
    for (let round = 0; round < 40; round++) {
      for (const seat of cluster.seats) {
        if (seat.life === undefined) cluster.start(seat);
        if (cluster.random.below(2) === 0) seat.core.campaign();
      }
      cluster.wait(1 + cluster.random.below(8));
      cluster.restart(cluster.seat(cluster.random.below(3)));
      cluster.wait(1 + cluster.random.below(8));
    }
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'snapshots and entries reach the state in one order',
  { nodes: 3, seeds: 5, snapshotEvery: 10, unreliable: true },
  (cluster) => {
    for (let round = 0; round < 20; round++) {
      const away = cluster.seat(round);
      cluster.disconnect(away);
      for (let count = 0; count < 15; count++) cluster.one(`${round}/${count}`, 2, true);
      if (cluster.random.below(2) === 0) cluster.restart(away);
      cluster.connect(away);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'a read is as new as what was acknowledged before it, also on a deposed leader',
  { nodes: 3, seeds: 5 },
  (cluster) => {
    for (let round = 0; round < 5; round++) {
      cluster.one(`${round}a`, 3, true);
      const leader = cluster.checkOneLeader();
      cluster.disconnect(leader);
      const newest = cluster.one(`${round}b`, 2, true);
      const answers: (number | undefined)[] = [];
      for (const seat of cluster.seats) cluster.read(seat, (index) => answers.push(index));
      cluster.wait(200);
      cluster.connect(leader);
      cluster.until('all reads are answered', () => answers.length === 3);
      for (const index of answers) assert.ok(index === undefined || index >= newest, `${index}`);
    }
  },
);
