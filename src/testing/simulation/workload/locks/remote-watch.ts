/** A watch over a link: goes on at another node where its connection broke, with nothing lost or repeated. */
import { isQuorateError, QuorateError } from '../../../../core/errors.ts';
import type { KeyRange, Kv, Watch, WatchBatch, WatchOptions } from '../../../../kv/kv.ts';
import type { Link } from './link.ts';

const AGAIN_MS = 50;

export class RemoteWatch implements Watch {
  readonly created: Promise<number>;
  readonly #link: Link;
  readonly #range: KeyRange;
  readonly #options: WatchOptions;
  readonly #batches: WatchBatch[];
  readonly #leave: () => void;
  #setCreated!: (revision: number) => void;
  #setFailed!: (error: unknown) => void;
  /** First revision that was not delivered yet; 0: from when it was created. */
  #next: number;
  /** Counts attempts: what comes of an earlier one is dropped. */
  #attempt: number;
  /** Ends the watch of the present attempt, at its node. */
  #stop: () => void;
  /** No reply may overtake one before it. */
  #latestMs: number;
  #wake: (() => void) | undefined;
  #end: { readonly error: unknown } | undefined;

  constructor(link: Link, range: KeyRange, options: WatchOptions) {
    this.#link = link;
    this.#range = range;
    this.#options = options;
    this.#batches = [];
    this.created = new Promise((resolve, reject) => {
      this.#setCreated = resolve;
      this.#setFailed = reject;
    });
    this.created.catch(() => undefined);
    this.#next = options.fromRevision ?? 0;
    this.#attempt = 0;
    this.#stop = () => undefined;
    this.#latestMs = 0;
    this.#wake = undefined;
    this.#end = undefined;
    const leaveLink = link.onReset(() => {
      this.#stop();
      link.process.run(() => this.#again());
    });
    const { signal } = options;
    const onAbort = (): void => this.#finish(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#leave = () => {
      leaveLink();
      signal?.removeEventListener('abort', onAbort);
    };
    if (signal?.aborted) onAbort();
    else this.#connect();
  }

  requestProgress(): void {
    // Nobody here asks.
  }

  async close(): Promise<void> {
    this.#finish(undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<WatchBatch> {
    try {
      while (true) {
        const batch = this.#batches.shift();
        if (batch !== undefined) yield batch;
        else if (this.#end === undefined) await this.#woken();
        else if (this.#end.error !== undefined) throw this.#end.error;
        else return;
      }
    } finally {
      this.#finish(undefined);
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #finish(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#setFailed(error ?? new QuorateError('ERR_CLOSED', 'the watch was closed'));
    this.#attempt += 1;
    this.#stop();
    this.#leave();
    this.#wake?.();
  }

  #again(): void {
    if (this.#end !== undefined) return;
    const attempt = ++this.#attempt;
    this.#stop();
    this.#link.process.after(AGAIN_MS, () => {
      if (attempt === this.#attempt) this.#connect();
    });
  }

  #connect(): void {
    const attempt = ++this.#attempt;
    const host = this.#link.host();
    if (host === undefined) {
      this.#again();
      return;
    }
    const { signal: _, fromRevision: __, ...options } = this.#options;
    this.#link.send(this.#link.delayMs(), () => {
      host.run(() => {
        if (attempt !== this.#attempt) return;
        const watch = this.#open(host.kv, options);
        if (watch === undefined) {
          this.#deliver(attempt, () => this.#again());
          return;
        }
        // Its node hears of the end as soon as it can: late, where it is paused.
        this.#stop = () => host.run(() => void watch.close());
        watch.created.then(
          (revision) => this.#deliver(attempt, () => this.#accepted(revision)),
          () => undefined,
        );
        void this.#follow(watch, attempt);
      });
    });
  }

  /** `undefined` where the node is being closed. */
  #open(kv: Kv, options: WatchOptions): Watch | undefined {
    try {
      return kv.watch(this.#range, { ...options, fromRevision: this.#next });
    } catch (error) {
      if (isQuorateError(error, 'ERR_CLOSED')) return undefined;
      throw error;
    }
  }

  #accepted(revision: number): void {
    if (this.#next === 0) this.#next = revision + 1;
    this.#setCreated(revision);
  }

  async #follow(watch: Watch, attempt: number): Promise<void> {
    let error: unknown = new QuorateError('ERR_UNAVAILABLE', 'the watch ended');
    try {
      for await (const batch of watch) this.#deliver(attempt, () => this.#take(batch));
    } catch (thrown) {
      error = thrown;
    }
    this.#deliver(attempt, () => {
      if (isQuorateError(error, 'ERR_COMPACTED')) this.#finish(error);
      else this.#again();
    });
  }

  #take(batch: WatchBatch): void {
    this.#next = Math.max(this.#next, batch.revision + 1);
    this.#batches.push(batch);
    this.#wake?.();
    this.#wake = undefined;
  }

  #deliver(attempt: number, what: () => void): void {
    if (attempt !== this.#attempt) return;
    const { world, process } = this.#link;
    this.#latestMs = Math.max(this.#latestMs, world.nowMs + this.#link.delayMs());
    this.#link.send(this.#latestMs - world.nowMs, () => {
      process.run(() => {
        if (attempt === this.#attempt) what();
      });
    });
  }
}
