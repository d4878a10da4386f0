/** A claim in Consul whose turn has come: its key, the session that it lives on, and a look-out for theft. */
import { sleep } from '../../core/abort.ts';
import type { Cancel, Clock } from '../../core/clock.ts';
import type { LockLoss } from '../../core/errors.ts';
import type { Claim, ClaimRequest } from '../../locks/engine.ts';
import { Hold } from '../../locks/hold.ts';
import type { ConsulApi, Entry } from './api.ts';
import type { Session } from './sessions.ts';
import type { Waits } from './waits.ts';

/** A short critical section is over before a connection for that would pay. */
const GUARD_AFTER_MS = 20;
const GUARD_AGAIN_MS = 500;

/** What a claim works with. */
export interface ClaimParts {
  readonly api: ConsulApi;
  readonly clock: Clock;
  readonly waits: Waits;
  /** How often to look for theft where there is no connection to spare for that. */
  readonly guardMs: number;
}

/** How it ends. */
export interface ClaimEnds {
  /** It is lost. */
  lost(): void;
  giveBack(): Promise<void>;
}

/** How a grant is called: its session, and its token. */
export function holderName(session: string, token: number): string {
  return `${session}/${token}`;
}

/** See the head of this file. */
export class ConsulClaim extends Hold implements Claim<'monotonic'> {
  readonly name: string;
  readonly holder: string;
  readonly key: string;
  readonly session: Session;
  /** The index of Raft's log at which its key was made: grows with every grant, of all names. */
  readonly token: number;
  /** A request to take it may still come, after it was given back. */
  readonly mayCome: boolean;
  /** How many of its values are on their way. */
  writes: number;
  readonly #parts: ClaimParts;
  readonly #ends: ClaimEnds;
  readonly #cancelGuard: Cancel;
  #guardStop: AbortController | undefined;

  constructor(
    parts: ClaimParts,
    request: ClaimRequest,
    held: {
      readonly key: string;
      readonly session: Session;
      readonly token: number;
      readonly mayCome: boolean;
    },
    ends: ClaimEnds,
  ) {
    super(request, held.session, ends.giveBack);
    this.name = request.name;
    this.key = held.key;
    this.session = held.session;
    this.token = held.token;
    this.mayCome = held.mayCome;
    this.writes = 0;
    this.holder = holderName(held.session.id, held.token);
    this.#parts = parts;
    this.#ends = ends;
    this.#guardStop = undefined;
    this.#cancelGuard = parts.clock.after(GUARD_AFTER_MS, () => void this.#guard());
  }

  get fencingToken(): bigint {
    return BigInt(this.token);
  }

  override lose(why: string, loss: LockLoss): void {
    if (!this.isHeld()) return;
    super.lose(why, loss);
    this.#ends.lost();
  }

  protected override ended(): void {
    this.#cancelGuard();
    this.#guardStop?.abort();
  }

  /** Notices when somebody deletes the key, or ends the session. */
  async #guard(): Promise<void> {
    this.#guardStop = new AbortController();
    const { signal } = this.#guardStop;
    const { api, clock, waits, guardMs } = this.#parts;
    let index = this.token;
    while (this.isHeld()) {
      try {
        const seen = await waits.next(this.key, index, signal, guardMs);
        index = seen.index;
        if (this.#isOurs(seen.entry)) continue;
        // A leader that is none any more may not know of it yet.
        const { entry } = await api.read(this.key, signal);
        if (!this.#isOurs(entry)) return await this.#stolen(signal);
      } catch {
        // Out of reach: the session bounds it.
        await sleep(clock, GUARD_AGAIN_MS, signal).catch(() => undefined);
      }
    }
  }

  #isOurs(entry: Entry | undefined): boolean {
    return entry?.session === this.session.id && entry.createIndex === this.token;
  }

  async #stolen(signal: AbortSignal): Promise<void> {
    // With the session all that lives on it is lost, and that says better why.
    await this.session.check(signal);
    this.lose('its key was deleted in Consul, or given to another (by an operator)', 'stolen');
  }
}
