/** Clients of latches and barriers, and what the history says of both. */

import { isQuorateError } from '../../../../core/errors.ts';
import type { Random } from '../../../../core/random.ts';
import { type Barrier, kvBarrier } from '../../../../locks/barrier.ts';
import { kvLatch, type Latch } from '../../../../locks/latch.ts';
import type { Held } from '../../../../locks/locks.ts';
import type { Oracle, OracleEvent } from '../../checks/oracle.ts';
import { exponential } from '../../draw.ts';
import type { World } from '../../types.ts';
import type { Home } from './homes.ts';
import { BARRIER, LATCH } from './lock-book.ts';
import { LockClient, type LockScene, type Stay } from './lock-client.ts';

const WAIT_MEAN_MS = 2000;
const INSIDE_MEAN_MS = 200;

interface LatchHistory {
  /** Keys of count-downs that are there. */
  counted: number;
  /** Most that were there at a time. */
  most: number;
  /** All that were ever put. */
  total: number;
  /** Calls that clients began. */
  begun: number;
}

/** What the history says of latches. */
export class LatchBook {
  readonly count: number;
  readonly #world: World;
  readonly #latches: Map<string, LatchHistory>;
  /** Number of the latch that clients count down now. */
  generation: number;

  constructor(world: World, oracle: Oracle, count: number) {
    this.count = count;
    this.#world = world;
    this.#latches = new Map();
    this.generation = 0;
    oracle.listen({ event: (event) => this.#onEvent(event) });
  }

  begun(name: string): void {
    this.#latch(name).begun += 1;
  }

  /** A client was told that it is open. */
  opened(name: string): void {
    this.#world.reach('locks-latch-open');
    const { most } = this.#latch(name);
    if (most >= this.count) return;
    this.#world.violate(
      'latch-early',
      `${name} was open after ${most} of ${this.count} count-downs`,
    );
  }

  #onEvent({ type, key, version }: OracleEvent): void {
    if (!key.startsWith(LATCH) || !key.includes('/')) return;
    const name = key.slice(0, key.indexOf('/'));
    const latch = this.#latch(name);
    if (type === 'delete') {
      latch.counted -= 1;
      return;
    }
    if (version > 1) return;
    latch.counted += 1;
    latch.total += 1;
    latch.most = Math.max(latch.most, latch.counted);
    if (latch.total <= latch.begun) return;
    this.#world.violate(
      'latch-counted-twice',
      `${name}: ${latch.total} count-downs of ${latch.begun} calls`,
    );
  }

  #latch(name: string): LatchHistory {
    let latch = this.#latches.get(name);
    if (latch === undefined) {
      latch = { counted: 0, most: 0, total: 0, begun: 0 };
      this.#latches.set(name, latch);
    }
    return latch;
  }
}

/** One of those who count down, and wait for the others. */
export class LatchParty extends LockClient {
  readonly #latches: LatchBook;
  #latch: Latch | undefined;

  constructor(scene: LockScene, home: Home, random: Random, number: number, latches: LatchBook) {
    super(scene, home, random, number);
    this.#latches = latches;
    this.#latch = undefined;
  }

  protected override open(): void {
    this.#latch = undefined;
  }

  protected override async shut(): Promise<void> {
    await this.#latch?.close();
  }

  protected override async round(stay: Stay): Promise<void> {
    const { generation } = this.#latches;
    const name = `${LATCH}${generation}`;
    const latch = this.#openLatch(stay, name);
    try {
      const how = this.random.below(4);
      if (how > 0) await this.#countDown(latch, name);
      const wait = Math.ceil(exponential(this.random, WAIT_MEAN_MS)) + 1;
      await latch.wait({ wait });
      if (stay.isOver) return;
      this.#latches.opened(name);
      this.#latches.generation = Math.max(this.#latches.generation, generation + 1);
    } catch (error) {
      if (!isQuorateError(error, 'ERR_TIMEOUT')) throw error;
    } finally {
      await latch.close();
    }
  }

  protected override async finalRound(stay: Stay): Promise<void> {
    const name = `${LATCH}final`;
    await this.#latch?.close();
    // Held open until all is over: others may still have to see it.
    this.#latch = this.#openLatch(stay, name);
    await this.#countDown(this.#latch, name);
    await this.#latch.wait();
    if (!stay.isOver) this.#latches.opened(name);
  }

  #openLatch({ host, ttlMs }: Stay, name: string): Latch {
    const { count } = this.#latches;
    const { random } = this;
    return kvLatch(host.kv, name, { count, ttl: ttlMs, clock: host.clock, random });
  }

  async #countDown(latch: Latch, name: string): Promise<void> {
    this.#latches.begun(name);
    if ((await latch.countDown()) === 0) this.#latches.opened(name);
  }
}

interface Member {
  readonly owner: string;
  /** Revision at which it went inside; 0: it waits. */
  round: number;
}

/** Who is inside, as its client sees it. */
interface Inside {
  readonly place: Held;
  readonly round: number;
}

/** What the history says of a barrier. */
export class BarrierBook {
  readonly name: string;
  readonly parties: number;
  /** Parties that have had a whole round of late. */
  readonly finished: Set<number>;
  readonly #world: World;
  readonly #marginMs: number;
  readonly #members: Map<string, Member>;
  /** By round: how many went in. */
  readonly #rounds: Map<number, number>;
  /** By owner. */
  readonly #inside: Map<string, Inside>;

  constructor(world: World, oracle: Oracle, parties: number, marginMs: number) {
    this.name = `${BARRIER}0`;
    this.parties = parties;
    this.finished = new Set();
    this.#world = world;
    this.#marginMs = marginMs;
    this.#members = new Map();
    this.#rounds = new Map();
    this.#inside = new Map();
    oracle.listen({ event: (event) => this.#onEvent(event) });
  }

  /** Keys that the history still has. */
  left(): readonly string[] {
    return [...this.#members.keys()];
  }

  entered(owner: string, place: Held): void {
    this.#world.reach('locks-barrier-entered');
    // An earlier key of it, which it gave up, may still be there.
    const member = [...this.#members.values()].findLast((each) => {
      return each.owner === owner && each.round !== 0;
    });
    const isTrusted = place.remainingMs() > this.#marginMs;
    if (member === undefined) {
      if (isTrusted)
        this.#violate('barrier-early', `${owner} is inside, and the history knows nothing of it`);
      return;
    }
    const size = this.#rounds.get(member.round)!;
    if (size !== this.parties) {
      this.#violate('barrier-early', `${size} of ${this.parties} went in at ${member.round}`);
    }
    this.#inside.set(owner, { place, round: member.round });
  }

  /** Its party leaves, or is gone. */
  leaves(owner: string): number | undefined {
    const inside = this.#inside.get(owner);
    this.#inside.delete(owner);
    return inside?.round;
  }

  /** A party of this round was told that all have left. */
  allLeft(owner: string, round: number): void {
    this.#world.reach('locks-barrier-left');
    const still = [...this.#members].filter(([, member]) => member.round === round);
    if (still.length > 0) {
      const keys = still.map(([key]) => key).join(', ');
      this.#violate(
        'barrier-left-early',
        `${owner} has left the round of ${round}; still there: ${keys}`,
      );
    }
    for (const [other, inside] of this.#inside) {
      const leftMs = inside.place.remainingMs();
      if (inside.round !== round || leftMs <= this.#marginMs) continue;
      this.#violate(
        'barrier-left-early',
        `${owner} has left the round of ${round}, and ${other} may trust its place for ${Math.round(leftMs)} ms`,
      );
    }
  }

  #onEvent({ type, key, value, version, revision }: OracleEvent): void {
    if (!key.startsWith(`${this.name}/`)) return;
    if (type === 'delete') {
      this.#members.delete(key);
      return;
    }
    const member = this.#members.get(key);
    if (member === undefined || version === 1) {
      this.#members.set(key, { owner: value, round: 0 });
      return;
    }
    if (member.round !== 0)
      this.#violate('barrier-overlap', `${key} went in twice, at ${member.round} and ${revision}`);
    member.round = revision;
    this.#rounds.set(revision, (this.#rounds.get(revision) ?? 0) + 1);
    for (const [other, { round }] of this.#members) {
      if (round === 0 || round === revision) continue;
      this.#violate(
        'barrier-overlap',
        `${key} went in at ${revision}, while ${other} of ${round} was inside`,
      );
    }
  }

  #violate(property: string, message: string): void {
    this.#world.violate(property, `${this.name}: ${message}`);
  }
}

/** One of those who begin and end together. */
export class BarrierParty extends LockClient {
  readonly #barriers: BarrierBook;
  readonly #enough = new Error('the party has waited long enough');
  #barrier: Barrier | undefined;
  #owner: string;
  #opened: number;

  constructor(scene: LockScene, home: Home, random: Random, number: number, barriers: BarrierBook) {
    super(scene, home, random, number);
    this.#barriers = barriers;
    this.#barrier = undefined;
    this.#owner = '';
    this.#opened = 0;
  }

  protected override open({ host, ttlMs }: Stay): void {
    this.#barriers.leaves(this.#owner);
    this.#opened += 1;
    this.#owner = `party ${this.number}.${this.#opened}`;
    const { name, parties } = this.#barriers;
    const options = { parties, ttl: ttlMs, clock: host.clock, owner: this.#owner };
    this.#barrier = kvBarrier(host.kv, name, options);
  }

  protected override async shut(): Promise<void> {
    await this.#barrier?.close();
  }

  protected override async round(stay: Stay): Promise<void> {
    const wait = Math.ceil(exponential(this.random, WAIT_MEAN_MS)) + 1;
    const stop = new AbortController();
    const bySignal = this.random.below(3) === 0;
    if (bySignal) void this.sleep(stay, wait).then(() => stop.abort(this.#enough));
    try {
      await this.#together(stay, bySignal ? { signal: stop.signal } : { wait });
    } catch (error) {
      if (error !== this.#enough && !isQuorateError(error, 'ERR_TIMEOUT')) throw error;
    }
  }

  protected override async finalRound(stay: Stay): Promise<void> {
    const { finished, parties } = this.#barriers;
    if (!finished.has(this.number)) {
      await this.#together(stay, {});
      if (stay.isOver) return;
      finished.add(this.number);
    }
    // Another one may have to try again, and needs all of them for that.
    while (finished.size < parties && !stay.isOver) {
      try {
        await this.#together(stay, { wait: 1000 });
      } catch (error) {
        if (!isQuorateError(error)) throw error;
      }
    }
  }

  async #together(stay: Stay, options: Parameters<Barrier['enter']>[0]): Promise<void> {
    const owner = this.#owner;
    const place = await this.#barrier!.enter(options);
    if (stay.isOver) return;
    this.#barriers.entered(owner, place);
    await this.sleep(stay, exponential(this.random, INSIDE_MEAN_MS));
    const round = this.#barriers.leaves(owner);
    if (stay.isOver) return;
    if (this.random.below(8) === 0) {
      await place.release();
      return;
    }
    await this.#barrier!.leave(options);
    if (!stay.isOver && round !== undefined) this.#barriers.allLeft(owner, round);
  }
}
