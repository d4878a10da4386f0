/** The kinds of faults, what each does to a fleet, and how it ends again. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import type { Random } from 'quorate/testing';
import type { Impairment, Links } from '../faulty-network.ts';
import { CLIENTS, type Fleet, type Seat } from './fleet.ts';

/** One fault of a schedule, with all that the seed says about it. */
export interface Fault {
  readonly kind: FaultKind;
  /** After the start of its round. */
  readonly afterMs: number;
  readonly forMs: number;
  /** The seat that it is about; -1: whoever leads then. */
  readonly seat: number;
  /** Of the others those on one side of a partition, bit by bit. */
  readonly side: number;
  /** Chooses between the ways of one kind. */
  readonly way: number;
}

/** More than an election and more than a lease: the one who sleeps is replaced, and does not know. */
const PAUSE_MS = 1500;

/** Together more than the first segment of a log. */
const BULK_WRITES = 60;
const BULK_BYTES = 100_000;

/** Ends the fault. */
type Undo = () => Promise<void> | void;
/** `undefined`: there was nothing to do it to. */
type Begin = (fleet: Fleet, seat: Seat, fault: Fault) => Promise<Undo | undefined>;

/** Whatever can be done to the links of a node. */
const WAYS: readonly Impairment[] = [{ cut: true }, { hold: true }, { swallow: true }];

const wayOf = ({ way }: Fault): Impairment => WAYS[way % WAYS.length]!;

/** Whether both ends are nodes and `name` is one of them. */
const around =
  (name: string): Links =>
  (from, to) =>
    from !== CLIENTS && to !== CLIENTS && (from === name || to === name);

/** A dead or stopped process belongs to the fault that made it so. */
async function holding(seat: Seat, begin: () => Promise<Undo>): Promise<Undo | undefined> {
  if (seat.isHeld || seat.isLeaving || !seat.member.running) return undefined;
  seat.isHeld = true;
  const undo = await begin();
  return async () => {
    await undo();
    seat.isHeld = false;
  };
}

function kill(seat: Seat): Promise<Undo | undefined> {
  return holding(seat, async () => {
    await seat.member.kill('SIGKILL');
    return () => seat.member.start();
  });
}

/** So much that the log needs another segment, for which there is no room. */
function writeMuch(endpoints: readonly string[]): () => Promise<void> {
  const kv = etcdKv({ endpoints, timeoutMs: 1000 });
  let left = BULK_WRITES;
  const value = Buffer.alloc(BULK_BYTES, 'x');
  const lanes = Array.from({ length: 4 }, async () => {
    // Whether they succeed is of no interest, and no key of the history is touched.
    while (left-- > 0) await kv.put('bulk', value).catch(() => undefined);
  });
  return async () => {
    left = 0;
    await Promise.all(lanes);
    await kv.close();
  };
}

const KINDS = {
  kill: (_fleet, seat) => kill(seat),

  async 'kill all'(fleet) {
    const undone = await Promise.all(fleet.seats.map((seat) => kill(seat)));
    return async () => {
      for (const undo of undone) await undo?.();
    };
  },

  pause: (_fleet, seat) =>
    holding(seat, async () => {
      await seat.member.kill('SIGSTOP');
      return () => seat.member.kill('SIGCONT');
    }),

  stop: (_fleet, seat) =>
    holding(seat, async () => {
      await seat.member.kill('SIGTERM');
      assert.equal(
        seat.member.exitCode,
        0,
        `${seat.name} did not stop well\n${seat.member.output}`,
      );
      return () => seat.member.start();
    }),

  async isolate(fleet, seat, fault) {
    return fleet.network.impair(around(seat.name), wayOf(fault));
  },

  async partition(fleet, _seat, fault) {
    const side = (name: string): boolean => {
      const i = fleet.seats.findIndex((seat) => seat.name === name);
      return ((fault.side >> i) & 1) === 1;
    };
    const across: Links = (from, to) =>
      from !== CLIENTS && to !== CLIENTS && side(from) !== side(to);
    return fleet.network.impair(across, wayOf(fault));
  },

  /** What it says is not heard, or it does not hear. */
  async 'one way'(fleet, seat, fault) {
    const isMute = fault.side % 2 === 0;
    const links: Links = (from, to) =>
      from !== CLIENTS && to !== CLIENTS && (isMute ? from : to) === seat.name;
    return fleet.network.impair(links, WAYS[1 + (fault.way % 2)]!);
  },

  async slow(fleet, seat, { way, side }) {
    const latencyMs = 5 + (way % 300);
    const bytesPerSecond = side % 2 === 0 ? 20_000 + way * 100 : Number.POSITIVE_INFINITY;
    return fleet.network.impair(around(seat.name), { latencyMs, bytesPerSecond });
  },

  /** Again and again, on the links of one node or, now and then, of all. */
  async 'reset mid-frame'(fleet, seat, { way }) {
    const links: Links = way % 4 === 0 ? () => true : (from, to) => [from, to].includes(seat.name);
    const timer = setInterval(() => fleet.network.resetMidFrame(links), 100 + (way % 200));
    fleet.network.resetMidFrame(links);
    return () => clearInterval(timer);
  },

  /** Between clients and a node, in both directions or one. */
  async 'client links'(fleet, seat, fault) {
    const ends = (from: string, to: string): boolean => from === CLIENTS && to === seat.name;
    const links: Links =
      fault.side % 3 === 0
        ? ends
        : fault.side % 3 === 1
          ? (from, to) => ends(to, from)
          : (from, to) => ends(from, to) || ends(to, from);
    return fleet.network.impair(links, wayOf(fault));
  },

  async 'slow clients'(fleet, seat, { way }) {
    const links: Links = (from, to) =>
      [from, to].includes(CLIENTS) && [from, to].includes(seat.name);
    return fleet.network.impair(links, { latencyMs: way % 400, bytesPerSecond: 50_000 });
  },

  async 'disk full'(fleet) {
    if (fleet.smallDisk === undefined) return undefined;
    const makeRoom = fleet.fillSmallDisk();
    const stop = writeMuch(fleet.directEndpoints);
    return async () => {
      await stop();
      await makeRoom();
    };
  },

  async 'move leader'(fleet, seat) {
    const service = etcdService({ endpoints: fleet.directEndpoints, timeoutMs: 2000 });
    try {
      const { members } = await service.memberList();
      const target = members.find(({ name }) => name === seat.name);
      if (target === undefined) return undefined;
      await service.moveLeader(target.id);
      return () => undefined;
    } catch {
      // Refused, or nobody leads: other faults are at work.
      return undefined;
    } finally {
      await service.close();
    }
  },
} satisfies Readonly<Record<string, Begin>>;

export type FaultKind = keyof typeof KINDS;
export const FAULT_KINDS = Object.keys(KINDS) as FaultKind[];

/** Plays one fault from its beginning to its end; whether it did anything. */
export async function playFault(fleet: Fleet, fault: Fault): Promise<boolean> {
  await delay(fault.afterMs);
  const leader = fault.seat < 0 ? await fleet.leader() : undefined;
  const seat = leader ?? fleet.seats[Math.abs(fault.seat) % fleet.seats.length]!;
  const begin: Begin = KINDS[fault.kind];
  const undo = await begin(fleet, seat, fault);
  if (undo === undefined) return false;
  await delay(fault.forMs);
  await undo();
  return true;
}

/** Deals the kinds as cards: all come before one comes again. */
export class Deck {
  readonly #random: Random;
  readonly #size: number;
  readonly #kinds: readonly FaultKind[];
  #cards: FaultKind[] = [];

  constructor(random: Random, size: number, kinds: readonly FaultKind[]) {
    assert.ok(kinds.length > 0, `kinds of faults: ${FAULT_KINDS.join(', ')}`);
    this.#kinds = kinds;
    this.#random = random;
    this.#size = size;
  }

  /** The faults of a round: one to three at a time. */
  round(): Fault[] {
    return Array.from({ length: 1 + this.#random.below(3) }, () => this.#draw());
  }

  #draw(): Fault {
    if (this.#cards.length === 0) {
      this.#cards = this.#kinds.toSorted();
      for (let i = this.#cards.length - 1; i > 0; i--) {
        const j = this.#random.below(i + 1);
        [this.#cards[i], this.#cards[j]] = [this.#cards[j]!, this.#cards[i]!];
      }
    }
    const random = this.#random;
    const kind = this.#cards.pop()!;
    return {
      kind,
      afterMs: random.below(800),
      forMs: (kind === 'pause' ? PAUSE_MS : 300) + random.below(2500),
      seat: random.below(2) === 0 ? -1 : random.below(this.#size),
      side: 1 + random.below(2 ** this.#size - 2),
      way: random.below(1000),
    };
  }
}

export function textOf({ kind, afterMs, forMs, seat, side, way }: Fault): string {
  const whom = seat < 0 ? 'the leader' : `n${seat + 1}`;
  return `${kind} (${whom}, side ${side}, way ${way}) after ${afterMs} ms for ${forMs} ms`;
}
