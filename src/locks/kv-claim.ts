/** A claim over a store whose turn has come: its key, the session that it lives on, and a watch for theft. */
import { sleep } from '../core/abort.ts';
import type { Cancel } from '../core/clock.ts';
import type { Claim, ClaimRequest } from './engine.ts';
import { Hold } from './hold.ts';
import type { Session, Sessions } from './session.ts';

/** A short critical section is over before a watch for theft of its key would pay. */
const GUARD_AFTER_MS = 20;
const GUARD_AGAIN_MS = 500;

/** `after` is called when the key is gone, while its session goes on. */
export class KvClaim extends Hold implements Claim<'monotonic'> {
  readonly name: string;
  /** Its key. */
  readonly holder: string;
  /** Revision at which the key was created: grows with every claim. */
  readonly revision: number;
  readonly #sessions: Sessions;
  readonly #session: Session;
  readonly #after: (() => void) | undefined;
  readonly #cancelGuard: Cancel;
  #guardStop: AbortController | undefined;

  constructor(
    sessions: Sessions,
    session: Session,
    request: ClaimRequest,
    key: string,
    revision: number,
    after?: () => void,
  ) {
    super(request, session, () => this.#giveBack());
    this.name = request.name;
    this.holder = key;
    this.revision = revision;
    this.#sessions = sessions;
    this.#session = session;
    this.#after = after;
    this.#guardStop = undefined;
    this.#cancelGuard = sessions.clock.after(GUARD_AFTER_MS, () => void this.#guard());
  }

  get fencingToken(): bigint {
    return BigInt(this.revision);
  }

  get lease(): bigint {
    return this.#session.lease;
  }

  protected override ended(): void {
    this.#cancelGuard();
    this.#guardStop?.abort();
  }

  async #giveBack(): Promise<void> {
    try {
      await this.#sessions.takeAway(this.#session, () =>
        this.#sessions.kv.txn({
          if: [{ key: this.holder, target: 'create', is: '=', to: this.revision }],
          then: [{ op: 'delete', key: this.holder }],
        }),
      );
    } finally {
      this.#isGone();
    }
  }

  /** Notices when somebody deletes the key. */
  async #guard(): Promise<void> {
    this.#guardStop = new AbortController();
    const { signal } = this.#guardStop;
    const { kv, clock } = this.#sessions;
    let fromRevision = this.revision + 1;
    while (this.isHeld()) {
      try {
        const watch = kv.watch(this.holder, { fromRevision, without: 'put', signal });
        for await (const batch of watch) if (batch.events.length > 0) return this.#stolen();
      } catch {
        // Ended, compacted or out of reach: the state below decides, the session bounds it.
      }
      try {
        const { kvs, revision } = await kv.range(this.holder, { keysOnly: true, signal });
        if (kvs[0]?.createRevision !== this.revision) return this.#stolen();
        fromRevision = revision + 1;
        await sleep(clock, GUARD_AGAIN_MS, signal);
      } catch {
        await sleep(clock, GUARD_AGAIN_MS, signal).catch(() => undefined);
      }
    }
  }

  #stolen(): void {
    // The end of the lease deletes the key as well, and says better why.
    const why = 'its key was deleted in the store (by an operator, or with its lease)';
    if (!this.isHeld()) return;
    this.lose(why, 'stolen');
    this.#isGone();
  }

  /** Its session goes on, and may put the same key again, unless that may come by itself. */
  #isGone(): void {
    if (this.#after === undefined) this.#session.freeKey(this.holder);
    else this.#after();
  }
}
