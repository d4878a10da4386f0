/** Clients of elections: who campaign, proclaim and resign, and who look on. */

import type { Random } from '../../../../core/random.ts';
import type { Elections, Leader, Leadership } from '../../../../locks/elections.ts';
import { kvElections } from '../../../../locks/over-kv.ts';
import type { Oracle } from '../../checks/oracle.ts';
import { exponential } from '../../draw.ts';
import type { Home } from './homes.ts';
import { LEADER, PROCLAIMED } from './lock-book.ts';
import { LockClient, type LockScene, listen, type Stay } from './lock-client.ts';

const TERM_MEAN_MS = 400;
const LOOK_MS = 100;
const OBSERVE_MEAN_MS = 2000;

/** Has elections open, and looks at what the history says of them. */
abstract class ElectionClient extends LockClient {
  protected readonly oracle: Oracle;
  protected readonly enough = new Error('the client has waited long enough');
  protected elections: Elections | undefined;

  constructor(scene: LockScene, home: Home, random: Random, number: number, oracle: Oracle) {
    super(scene, home, random, number);
    this.oracle = oracle;
    this.elections = undefined;
  }

  protected override open({ host, ttlMs }: Stay): void {
    this.elections = kvElections(host.kv, { ttl: ttlMs, clock: host.clock });
  }

  protected override async shut(): Promise<void> {
    await this.elections?.close();
  }
}

/** Stands for leader, again and again. */
export class Candidate extends ElectionClient {
  #said: number;

  constructor(scene: LockScene, home: Home, random: Random, number: number, oracle: Oracle) {
    super(scene, home, random, number, oracle);
    this.#said = 0;
  }

  protected override async round(stay: Stay): Promise<void> {
    const stop = new AbortController();
    const givesUp = this.random.below(3) === 0;
    if (givesUp) {
      void this.sleep(stay, exponential(this.random, TERM_MEAN_MS)).then(() =>
        stop.abort(this.enough),
      );
    }
    try {
      await this.#campaign(stay, stop.signal, 1 + this.random.below(2));
    } catch (error) {
      if (error !== this.enough) throw error;
    }
  }

  protected override finalRound(stay: Stay): Promise<void> {
    return this.#campaign(stay, undefined, 1);
  }

  async #campaign(stay: Stay, signal: AbortSignal | undefined, terms: number): Promise<void> {
    let led = 0;
    const value = `candidate ${this.number}`;
    for await (const term of this.elections!.campaign(LEADER, value, { signal })) {
      const grant = this.granted(stay, LEADER, 1, term);
      if (grant === undefined) return;
      const ear = listen(term);
      const untilMs = this.world.nowMs + exponential(this.random, TERM_MEAN_MS);
      do {
        await this.sleep(stay, exponential(this.random, LOOK_MS));
        if (stay.isOver) return;
        if (!this.isHeld(LEADER, term, ear)) break;
        this.scene.book.worked(grant);
        if (this.random.below(2) === 0) await this.#proclaim(term);
        if (stay.isOver) return;
      } while (this.world.nowMs < untilMs);
      this.gaveUp(stay, grant);
      led += 1;
      if (led >= terms || this.isDraining) return;
    }
  }

  /** What is confirmed is in the history, in the leader's own key. */
  async #proclaim(term: Leadership): Promise<void> {
    this.#said += 1;
    const value = `${PROCLAIMED}${this.number}.${this.#said}`;
    try {
      await term.proclaim(value);
    } catch (error) {
      this.unexpected('proclaiming', error);
      return;
    }
    const said = this.oracle.events.findLast((event) => event.value === value);
    if (said?.key === term.holder && BigInt(said.createRevision) === term.fencingToken) return;
    this.world.violate(
      'election-proclaim',
      `${value} was confirmed to the leader ${term.fencingToken}, and is not what its key held`,
    );
  }
}

/** Sees every leader in the order of the tokens. */
export class Observer extends ElectionClient {
  #newest: Leader | undefined;

  constructor(scene: LockScene, home: Home, random: Random, number: number, oracle: Oracle) {
    super(scene, home, random, number, oracle);
    this.#newest = undefined;
  }

  protected override async round(stay: Stay): Promise<void> {
    const stop = new AbortController();
    const enough = (): void => stop.abort(this.enough);
    void this.sleep(stay, exponential(this.random, OBSERVE_MEAN_MS)).then(enough);
    try {
      for await (const leader of this.elections!.observe(LEADER, { signal: stop.signal })) {
        if (stay.isOver) return;
        if (leader !== undefined) this.#see(leader);
      }
    } catch (error) {
      if (error !== this.enough) throw error;
    }
  }

  /** Leads itself, and sees that, and sees the end of it. */
  protected override async finalRound(stay: Stay): Promise<void> {
    for await (const term of this.elections!.campaign(LEADER, `observer ${this.number}`)) {
      const grant = this.granted(stay, LEADER, 1, term);
      if (grant === undefined) return;
      for await (const leader of this.elections!.observe(LEADER)) {
        if (stay.isOver) return;
        if (leader !== undefined) this.#see(leader);
        if (leader?.holder === term.holder) {
          this.gaveUp(stay, grant);
          await term.resign();
        } else if (leader === undefined || leader.fencingToken > term.fencingToken) break;
      }
      this.gaveUp(stay, grant);
      return;
    }
  }

  #see(leader: Leader): void {
    this.world.reach('locks-leader-seen');
    const { holder, revision, fencingToken, value } = leader;
    const before = this.#newest;
    if (before !== undefined) {
      const isOld =
        fencingToken < before.fencingToken ||
        (fencingToken === before.fencingToken && revision < before.revision);
      if (isOld) {
        this.#violate(
          `${fencingToken} (${revision}) was seen after ${before.fencingToken} (${before.revision})`,
        );
      }
    }
    this.#newest = leader;
    const said = this.oracle.valueAt(holder, revision);
    const isSaid =
      said?.revision === revision &&
      BigInt(said.createRevision) === fencingToken &&
      said.value === value.toString('latin1');
    if (!isSaid)
      this.#violate(
        `${holder} is said to have led with ${value} at ${revision}; the history knows of none`,
      );
    if (!this.scene.book.isFirst(LEADER, fencingToken)) {
      this.#violate(`${fencingToken} is seen to lead, and another one was there before it`);
    }
  }

  #violate(message: string): void {
    this.world.violate('election-order', `observer ${this.number}: ${message}`);
  }
}
