/**
 * The nemesis: draws what goes wrong and when, and plays it. Kinds are those of the catalogues of
 * TigerBeetle's VOPR, FoundationDB and Jepsen; which of them a seed uses, and how often, is the
 * seed's own (swarm testing). Faults that hurt data ask the atlas first.
 */
import type { Random } from '../../core/random.ts';
import type { Seat } from './cluster.ts';
import { between, exponential } from './draw.ts';
import type { Nemesis } from './nemesis.ts';
import type { PlannedFault } from './types.ts';

/** How one kind of fault is drawn and played. */
interface FaultKind {
  /** How likely it is, compared with the others that are on. */
  readonly weight: number;
  /** A node and, for ways between two, a peer are drawn. */
  readonly peer?: true;
  /** No node is drawn: it strikes whoever leads, or everyone. */
  readonly anyone?: true;
  /** Least and most time that it lasts, in election timeouts. */
  readonly lasts?: readonly [least: number, most: number];
  /** Least and most amount, where it has one. */
  readonly amount?: readonly [least: number, most: number];
  /** Only where more than one node votes. */
  readonly needsPeers?: true;
  /** Changes who belongs to the cluster: never in a run in which disks are lost or damaged. */
  readonly changesMembers?: true;
  /** Data of a disk are lost or damaged. */
  readonly hurtsData?: true;
  /** Strikes one of the clients of locks in a process of its own, chosen by `node`: only in runs aimed at locks. */
  readonly ofLocks?: true;
  play(nemesis: Nemesis, fault: PlannedFault, seat: Seat, forMs: number): void;
}

/** All kinds, by the name that stories use. */
export const FAULT_KINDS: Readonly<Record<string, FaultKind>> = {
  crash: {
    weight: 10,
    lasts: [0, 3],
    play: (nemesis, _fault, seat, forMs) => nemesis.crash(seat, forMs),
  },
  /** As soon as the disk is busy, so that a write is torn: ten times likelier than at any time. */
  'crash-in-write': {
    weight: 30,
    lasts: [0, 3],
    play: (nemesis, _fault, seat, forMs) => nemesis.crashInWrite(seat, forMs),
  },
  'crash-leader': {
    weight: 8,
    anyone: true,
    lasts: [0, 3],
    play: (nemesis, _fault, _seat, forMs) => {
      const leader = nemesis.leader();
      if (leader !== undefined) nemesis.crash(leader, forMs);
    },
  },
  'crash-all': {
    weight: 3,
    anyone: true,
    lasts: [0, 2],
    play: (nemesis, _fault, _seat, forMs) => {
      for (const seat of nemesis.seats) nemesis.crash(seat, forMs);
    },
  },
  /** Dies again while it starts. */
  'crash-twice': {
    weight: 5,
    lasts: [0, 1],
    amount: [0, 30],
    play: (nemesis, fault, seat, forMs) => {
      nemesis.crash(seat, forMs);
      nemesis.world.after(forMs + (fault.amount ?? 0), () => nemesis.crash(seat, forMs));
    },
  },
  kill: {
    weight: 8,
    lasts: [0, 3],
    play: (nemesis, _fault, seat, forMs) => nemesis.kill(seat, forMs),
  },
  stop: {
    weight: 4,
    lasts: [0, 3],
    play: (nemesis, _fault, seat, forMs) => nemesis.stop(seat, forMs),
  },
  pause: {
    weight: 8,
    lasts: [0, 5],
    play: (nemesis, _fault, seat, forMs) => nemesis.pause(seat, forMs),
  },
  'pause-leader': {
    weight: 8,
    anyone: true,
    lasts: [0, 5],
    play: (nemesis, _fault, _seat, forMs) => {
      const leader = nemesis.leader();
      if (leader !== undefined) nemesis.pause(leader, forMs);
    },
  },
  isolate: {
    weight: 10,
    needsPeers: true,
    lasts: [0, 6],
    play: (nemesis, _fault, seat, forMs) => nemesis.isolate(seat, forMs),
  },
  'isolate-leader': {
    weight: 10,
    needsPeers: true,
    anyone: true,
    lasts: [0, 6],
    play: (nemesis, _fault, _seat, forMs) => {
      const leader = nemesis.leader();
      if (leader !== undefined) nemesis.isolate(leader, forMs);
    },
  },
  /** `amount` says, bit by bit, on which side a seat is. */
  partition: {
    weight: 10,
    needsPeers: true,
    anyone: true,
    lasts: [0, 6],
    amount: [1, 126],
    play: (nemesis, fault, _seat, forMs) => nemesis.partition(fault.amount ?? 1, forMs),
  },
  'one-way': {
    weight: 10,
    needsPeers: true,
    peer: true,
    lasts: [0, 6],
    play: (nemesis, fault, seat, forMs) => {
      nemesis.cut(seat, nemesis.peerOf(seat, fault), forMs);
    },
  },
  /** Nothing that it sends arrives, and it hears all; or the other way round. */
  mute: {
    weight: 5,
    needsPeers: true,
    lasts: [0, 5],
    play: (nemesis, _fault, seat, forMs) => {
      for (const other of nemesis.seats) if (other !== seat) nemesis.cut(seat, other, forMs);
    },
  },
  deafen: {
    weight: 5,
    needsPeers: true,
    lasts: [0, 5],
    play: (nemesis, _fault, seat, forMs) => {
      for (const other of nemesis.seats) if (other !== seat) nemesis.cut(other, seat, forMs);
    },
  },
  reset: {
    weight: 6,
    needsPeers: true,
    peer: true,
    play: (nemesis, fault, seat) => {
      nemesis.context.cluster.network.reset(seat.host, nemesis.peerOf(seat, fault).host);
      nemesis.world.fault('reset');
    },
  },
  'slow-network': {
    weight: 5,
    needsPeers: true,
    anyone: true,
    lasts: [1, 5],
    amount: [5, 200],
    play: (nemesis, fault, _seat, forMs) => nemesis.slowNetwork(fault.amount ?? 5, forMs),
  },
  'disk-slow': {
    weight: 6,
    lasts: [1, 5],
    amount: [1, 100],
    play: (nemesis, fault, seat, forMs) => nemesis.slowDisk(seat, fault.amount ?? 1, forMs),
  },
  'disk-stall': {
    weight: 6,
    lasts: [0, 5],
    play: (nemesis, _fault, seat, forMs) => nemesis.stallDisk(seat, forMs),
  },
  'disk-full': {
    weight: 4,
    lasts: [1, 5],
    amount: [0, 20_000],
    play: (nemesis, fault, seat, forMs) => nemesis.fillDisk(seat, fault.amount ?? 0, forMs),
  },
  'disk-error': {
    weight: 4,
    lasts: [0, 2],
    amount: [0, 2],
    play: (nemesis, fault, seat, forMs) => nemesis.breakDisk(seat, fault.amount ?? 0, forMs),
  },
  'disk-flip': {
    weight: 3,
    hurtsData: true,
    lasts: [0, 2],
    play: (nemesis, _fault, seat, forMs) => nemesis.damage(seat, 'flip', forMs),
  },
  'disk-zero': {
    weight: 3,
    hurtsData: true,
    lasts: [0, 2],
    play: (nemesis, _fault, seat, forMs) => nemesis.damage(seat, 'zero', forMs),
  },
  wipe: {
    weight: 4,
    hurtsData: true,
    needsPeers: true,
    lasts: [0, 4],
    play: (nemesis, _fault, seat, forMs) => nemesis.wipe(seat, forMs),
  },
  transfer: {
    weight: 8,
    needsPeers: true,
    play: (nemesis, _fault, seat) => nemesis.transfer(seat),
  },
  'member-add': {
    weight: 12,
    changesMembers: true,
    anyone: true,
    amount: [0, 2],
    play: (nemesis, fault) => nemesis.membership.add(fault.amount !== 0),
  },
  'member-promote': {
    weight: 16,
    changesMembers: true,
    anyone: true,
    play: (nemesis) => nemesis.membership.promote(),
  },
  'member-update': {
    weight: 6,
    changesMembers: true,
    play: (nemesis, _fault, seat) => nemesis.membership.update(seat),
  },
  'member-remove': {
    weight: 8,
    changesMembers: true,
    play: (nemesis, _fault, seat) => nemesis.membership.remove(seat),
  },
  'member-remove-leader': {
    weight: 4,
    changesMembers: true,
    anyone: true,
    play: (nemesis) => {
      const leader = nemesis.leader();
      if (leader !== undefined) nemesis.membership.remove(leader);
    },
  },
  /** Two changes in one step, by joint consensus: a learner for this voter. */
  'member-swap': {
    weight: 10,
    changesMembers: true,
    play: (nemesis, _fault, seat) => nemesis.membership.swap(seat),
  },
  'member-replace': {
    weight: 8,
    changesMembers: true,
    play: (nemesis, _fault, seat) => nemesis.membership.replace(seat),
  },
  /**
   * A leader takes many writes that reach nobody; when it is back, with the longest log of all, the one
   * that took its place dies (Raft figure 8).
   */
  'old-leader-returns': {
    weight: 8,
    needsPeers: true,
    anyone: true,
    lasts: [1, 4],
    amount: [5, 60],
    play: (nemesis, fault, _seat, forMs) => {
      const old = nemesis.leader();
      if (old === undefined) return;
      nemesis.isolate(old, forMs);
      nemesis.burst(fault.amount ?? 5, old);
      nemesis.world.after(forMs, () => {
        const successor = nemesis.leader();
        if (successor !== undefined && successor !== old) nemesis.crash(successor, forMs);
      });
    },
  },
  /**
   * The disk of a leader stands still while it takes writes that reach nobody: when it is back in touch, what
   * takes the place of its entries finds their writes still under way.
   */
  'stall-leader': {
    weight: 6,
    needsPeers: true,
    anyone: true,
    lasts: [1, 5],
    amount: [5, 60],
    play: (nemesis, fault, _seat, forMs) => {
      const leader = nemesis.leader();
      if (leader === undefined) return;
      nemesis.stallDisk(leader, forMs);
      nemesis.isolate(leader, 0.7 * forMs);
      nemesis.burst(fault.amount ?? 5, leader);
    },
  },
  /**
   * A leader sleeps, another one is elected, its voters lose their disks and hear only the first leader when it
   * wakes: should they say anything that counts, there were two majorities.
   */
  'voters-forget': {
    weight: 6,
    hurtsData: true,
    needsPeers: true,
    anyone: true,
    lasts: [1, 4],
    amount: [5, 60],
    play: (nemesis, fault, _seat, forMs) => nemesis.makeVotersForget(fault.amount ?? 5, forMs),
  },
  burst: {
    weight: 4,
    anyone: true,
    amount: [5, 60],
    play: (nemesis, fault) => nemesis.burst(fault.amount ?? 5),
  },
  /** Often for longer than its locks last. */
  'client-pause': {
    weight: 30,
    ofLocks: true,
    lasts: [0, 6],
    play: (nemesis, { node = 0 }, _seat, forMs) =>
      nemesis.workload?.lockClients?.pause(node, forMs),
  },
  'client-kill': {
    weight: 15,
    ofLocks: true,
    play: (nemesis, { node = 0 }) => nemesis.workload?.lockClients?.kill(node),
  },
  'client-cut': {
    weight: 25,
    ofLocks: true,
    lasts: [0, 6],
    play: (nemesis, { node = 0 }, _seat, forMs) => nemesis.workload?.lockClients?.cut(node, forMs),
  },
  'client-reset': {
    weight: 15,
    ofLocks: true,
    play: (nemesis, { node = 0 }) => nemesis.workload?.lockClients?.cut(node, 0),
  },
};

/** Draws the faults of a storm for a cluster of `nodes`: which kinds are on, how often, and each one's time. */
export function drawFaults(
  random: Random,
  nodes: number,
  stormMs: number,
  electionMs: number,
): PlannedFault[] {
  const changesMembers = random.below(3) === 0;
  const kinds = Object.entries(FAULT_KINDS).filter(([, kind]) => {
    if (kind.ofLocks === true) return false;
    if (kind.changesMembers === true) return changesMembers;
    if (kind.hurtsData === true && changesMembers) return false;
    const isPossible = kind.needsPeers !== true || nodes > 1 || changesMembers;
    return isPossible && random.below(changesMembers ? 4 : 2) === 0;
  });
  if (kinds.length === 0) return [];
  const total = kinds.reduce((sum, [, { weight }]) => sum + weight, 0);
  const meanMs = between(random, 0.3, 4) * electionMs;
  // Of seats that are not there yet, too: their nodes may have joined by then.
  const seats = changesMembers ? nodes + 3 : nodes;
  const faults: PlannedFault[] = [];
  // The first leader is to have its time: a cluster that never stood has nothing to lose.
  let atMs = electionMs + exponential(random, meanMs);
  while (atMs < stormMs) {
    let at = random.below(total);
    const [name, kind] = kinds.find(([, { weight }]) => (at -= weight) < 0)!;
    faults.push(drawFault(random, name, kind, seats, Math.round(atMs), electionMs));
    atMs += exponential(random, meanMs);
  }
  return faults;
}

/** The story of one fault of a kind. */
export function drawFault(
  random: Random,
  name: string,
  kind: FaultKind,
  seats: number,
  atMs: number,
  electionMs: number,
): PlannedFault {
  const node = random.below(seats);
  const peer = (node + 1 + random.below(Math.max(1, seats - 1))) % seats;
  const { lasts, amount } = kind;
  return {
    atMs,
    kind: name,
    ...(kind.anyone === true ? {} : { node }),
    ...(kind.peer === true ? { peer } : {}),
    ...(lasts === undefined
      ? {}
      : { forMs: Math.round(between(random, lasts[0], lasts[1]) * electionMs) }),
    ...(amount === undefined
      ? {}
      : { amount: amount[0] + random.below(amount[1] - amount[0] + 1) }),
  };
}
