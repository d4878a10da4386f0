/**
 * The bugs that tutorials and their readers have in common, each as a test of behaviour. That a
 * message does not change on its way, and that snapshots and entries are applied in order, every
 * test of this folder checks by the way.
 */
import assert from 'node:assert/strict';
import type { PeerMessage } from '../../src/consensus/messages.ts';
import { ELECTION_MS, type Seat } from './core-cluster.ts';
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

onEveryCore(
  'late replies: what a peer once held under another leader does not count',
  { nodes: 5, seeds: 3 },
  (cluster) => {
    cluster.one('first', 5, true);
    const leader = cluster.checkOneLeader();
    const at = cluster.seats.indexOf(leader);
    const follower = cluster.seat(at + 1);
    const others = [2, 3, 4].map((step) => cluster.seat(at + step));
    // The follower holds entries that nobody will ever agree on, and says so.
    const said: PeerMessage[] = [];
    cluster.filter = (message) => {
      if (message.from === follower.id) said.push(structuredClone(message));
      return true;
    };
    cluster.disconnect(...others);
    for (let count = 0; count < 50; count++) cluster.propose(leader, `never ${count}`);
    cluster.wait(30);
    cluster.disconnect(leader, follower);
    cluster.connect(...others);
    cluster.one('instead', 3, true);
    cluster.connect(leader, follower);
    cluster.one('all', 5, true);

    // The first leader leads again, and reaches one other only.
    cluster.until('it leads again', () => {
      const now = cluster.seats.find((seat) => cluster.isLeader(seat));
      if (now !== leader) now?.core.transferLeadership(leader.id);
      return now === leader;
    });
    cluster.one('again', 5, true);
    const pair = new Set([leader.id, others[0]!.id]);
    cluster.filter = ({ from, to }) => pair.has(from) && pair.has(to);
    const index = cluster.propose(leader, 'held by two')!;
    for (const message of said) cluster.deliver(message);
    cluster.wait(30);
    assert.equal(cluster.appliedBy(index), 0, 'two of five are no majority');
    cluster.filter = () => true;
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
    // A leader that has not led before begins its search at the end of its own log.
    const others = cluster.seats.filter((seat) => seat !== leader);
    const [from, to] = cluster.isLeader(others[0]!) ? others : others.toReversed();
    from!.core.transferLeadership(to!.id);
    cluster.until('the other leads', () => cluster.isLeader(to!));
    cluster.one('of another leader', 2, true);
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
  'one vote a term: voters that restart within an election, again and again',
  { nodes: 3, seeds: 5, unreliable: true },
  (cluster) => {
    const [a, b, voter] = cluster.seats as [Seat, Seat, Seat];
    // Two want to lead at once; the third forgets everything that is not on its disk.
    for (let round = 0; round < 1000; round++) {
      for (const seat of [a, b]) seat.core.campaign();
      cluster.wait(1 + cluster.random.below(12));
      cluster.restart(voter);
      cluster.wait(1 + cluster.random.below(12));
      if (round % 20 === 0) for (const seat of [a, b]) cluster.restart(seat);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'one vote a term: a voter that crashed after its vote knows of it',
  { nodes: 3, seeds: 5 },
  (cluster) => {
    const [a, b, voter] = cluster.seats as [Seat, Seat, Seat];
    cluster.checkOneLeader();
    for (const seat of cluster.seats) cluster.crash(seat);
    // What the old leader sent is gone: whoever heard it now would wait for it.
    cluster.wait(10);
    for (const seat of cluster.seats) cluster.start(seat);
    // Both ask the other whether they might lead, then both ask for votes; B's request is late.
    const late: PeerMessage[] = [];
    const isAsking = ({ core }: Seat): boolean => {
      return core.status().role !== 'candidate' && core.status().role !== 'leader';
    };
    cluster.filter = (message) => {
      const { from, to } = message;
      if (from === b.id && to === voter.id) return late.push(message) < 0;
      return from === voter.id || to === voter.id || isAsking(from === a.id ? a : b);
    };
    for (const seat of [a, b]) seat.core.campaign();
    cluster.until('A leads', () => cluster.isLeader(a));
    // A ballot of Paxos has an owner: there B's is a newer one, and may win.
    const isSame = b.core.status().term === a.core.status().term;
    assert.ok(isSame || cluster.consensus === 'paxos', 'B wanted to lead in the same term');
    cluster.restart(voter);
    for (const message of late) cluster.deliver(message);
    cluster.wait(50);
    assert.equal(isSame && cluster.isLeader(b), false);
    cluster.filter = () => true;
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
