/** The contract of elections over an engine whose claims carry values. */
import { sleep, throwIfAborted, type WaitOptions } from '../core/abort.ts';
import { type BytesLike, toBytes } from '../core/bytes.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { Elections, Leader, Leadership } from './elections.ts';
import type { Claim, ElectionEngine } from './engine.ts';

/** Between attempts where the engine is out of reach. */
const TRY_AGAIN_MS = 500;

export function electionsOver(engine: ElectionEngine): Elections {
  return new ElectionsOver(engine);
}

class ElectionsOver implements Elections {
  readonly #engine: ElectionEngine;

  constructor(engine: ElectionEngine) {
    this.#engine = engine;
  }

  async *campaign(
    name: string,
    value: BytesLike,
    options: WaitOptions = {},
  ): AsyncGenerator<Leadership, void, undefined> {
    this.#engine.requireName(name);
    // Taken as it is now: the caller may change its bytes while it waits.
    const said = Buffer.from(toBytes(value), 'latin1');
    while (true) {
      await using claim = await this.#win(name, said, options);
      yield new EngineLeadership(this.#engine, claim);
    }
  }

  async leader(name: string, options: WaitOptions = {}): Promise<Leader | undefined> {
    this.#engine.requireName(name);
    throwIfAborted(options.signal);
    return (await this.#engine.leader(name, options)).leader;
  }

  async *observe(
    name: string,
    options: WaitOptions = {},
  ): AsyncGenerator<Leader | undefined, void, undefined> {
    this.#engine.requireName(name);
    let seen: Leader | undefined | 'nothing' = 'nothing';
    while (true) {
      throwIfAborted(options.signal);
      const { leader, changed } = await this.#engine.leader(name, options);
      if (seen === 'nothing' || !sameLeader(seen, leader)) yield leader;
      seen = leader;
      await changed(options.signal);
    }
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Waits until it leads, through whatever passes by itself. */
  async #win(name: string, value: Buffer, { signal }: WaitOptions): Promise<Claim> {
    while (true) {
      throwIfAborted(signal);
      try {
        return await this.#engine.claim({
          name,
          permits: 1,
          value,
          what: 'leadership',
          lostCode: 'ERR_NOT_ELECTED',
          signal,
          waitMs: undefined,
        });
      } catch (error) {
        throwIfAborted(signal);
        if (!isQuorateError(error) || !error.retryable) throw error;
        await sleep(this.#engine.clock, TRY_AGAIN_MS, signal);
      }
    }
  }
}

function sameLeader(one: Leader | undefined, other: Leader | undefined): boolean {
  return one?.holder === other?.holder && one?.revision === other?.revision;
}

class EngineLeadership implements Leadership {
  readonly name: string;
  readonly fencingToken: bigint;
  readonly holder: string;
  readonly #engine: ElectionEngine;
  readonly #claim: Claim;

  constructor(engine: ElectionEngine, claim: Claim) {
    this.name = claim.name;
    this.fencingToken = claim.fencingToken!;
    this.holder = claim.holder;
    this.#engine = engine;
    this.#claim = claim;
  }

  get lost(): AbortSignal {
    return this.#claim.lost;
  }
  assertHeld(): void {
    this.#claim.assertHeld();
  }
  remainingMs(): number {
    return this.#claim.remainingMs();
  }

  async proclaim(value: BytesLike, options: WaitOptions = {}): Promise<void> {
    this.assertHeld();
    throwIfAborted(options.signal);
    if (await this.#engine.setValue(this.#claim, value, options)) return;
    throw new QuorateError('ERR_NOT_ELECTED', `'${this.name}' is led by another by now`);
  }

  resign(): Promise<void> {
    return this.#claim.release();
  }
  release(): Promise<void> {
    return this.#claim.release();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.#claim[Symbol.asyncDispose]();
  }
}
