/**
 * Linearizable reads by read index (Raft thesis §6.4): all reads that arrive in one turn of the loop
 * share one read point; they may be served once the state machine has applied it.
 */
import { QuorateError } from '../../core/errors.ts';

/** All the reads of one turn. */
interface ReadBatch {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
  /** The read index, or -1 while it is not known. */
  index: number;
}

export class Reads {
  #gathering: ReadBatch | undefined;
  /** Asked of the core, by context number. */
  readonly #asked = new Map<number, ReadBatch>();
  /** Answered, waiting for the state machine to get there. */
  #behind: ReadBatch[] = [];
  /** Dropped by a change of leader: asked again with a new number. */
  #retry: ReadBatch[] = [];
  #lastContext = 0;

  get idle(): boolean {
    return (
      this.#gathering === undefined &&
      this.#asked.size === 0 &&
      this.#behind.length === 0 &&
      this.#retry.length === 0
    );
  }

  /** Joins the reads of this turn. */
  add(deadline: number): Promise<void> {
    if (this.#gathering === undefined) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#gathering = { promise, resolve, reject, deadline, index: -1 };
    }
    return this.#gathering.promise;
  }

  /** Hands what was gathered, and what is to be asked again, to `ask`, each under a fresh number. */
  submit(ask: (context: number) => void): void {
    const batches = this.#retry;
    this.#retry = [];
    if (this.#gathering !== undefined) {
      batches.push(this.#gathering);
      this.#gathering = undefined;
    }
    for (const batch of batches) {
      // A number is never used twice: a late answer to an earlier attempt must not count.
      this.#lastContext += 1;
      this.#asked.set(this.#lastContext, batch);
      ask(this.#lastContext);
    }
  }

  answered(context: number, index: number, applied: number): void {
    const batch = this.#asked.get(context);
    if (batch === undefined) return;
    this.#asked.delete(context);
    batch.index = index;
    if (index <= applied) batch.resolve();
    else this.#behind.push(batch);
  }

  dropped(context: number): void {
    const batch = this.#asked.get(context);
    if (batch === undefined) return;
    this.#asked.delete(context);
    this.#retry.push(batch);
  }

  applied(index: number): void {
    if (this.#behind.length === 0) return;
    this.#behind = this.#behind.filter((batch) => {
      if (batch.index > index) return true;
      batch.resolve();
      return false;
    });
  }

  expire(now: number, noLeader: boolean): void {
    const late = (batch: ReadBatch): boolean => {
      if (batch.deadline > now) return false;
      batch.reject(
        noLeader
          ? new QuorateError(
              'ERR_NO_LEADER',
              'no leader confirmed the read within the request timeout',
              {
                retryable: true,
              },
            )
          : new QuorateError('ERR_TIMEOUT', 'the read was not confirmed by a quorum in time', {
              retryable: true,
            }),
      );
      return true;
    };
    for (const [context, batch] of this.#asked) if (late(batch)) this.#asked.delete(context);
    this.#behind = this.#behind.filter((batch) => !late(batch));
    this.#retry = this.#retry.filter((batch) => !late(batch));
    if (this.#gathering !== undefined && late(this.#gathering)) this.#gathering = undefined;
  }

  rejectAll(error: Error): void {
    const all = [...this.#asked.values(), ...this.#behind, ...this.#retry];
    if (this.#gathering !== undefined) all.push(this.#gathering);
    for (const batch of all) batch.reject(error);
    this.#asked.clear();
    this.#behind = [];
    this.#retry = [];
    this.#gathering = undefined;
  }
}
