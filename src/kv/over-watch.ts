/**
 * One watch of the public `Kv` over a watch stream of its own.
 *
 * A stream each, because a stream is what the service holds up when its receiver is slow: were it
 * shared, one slow loop would stop the others.
 */
import { QuorateError } from '../core/errors.ts';
import { Fifo } from '../core/fifo.ts';
import { meaningOfStatus } from '../proto/etcd-errors.ts';
import type * as pb from '../proto/messages.ts';
import type { Watch, WatchBatch } from './kv.ts';
import { watchEvent } from './over-results.ts';
import type { KvService, WatchSink, WatchStream } from './service.ts';

/**
 * What a watch keeps for its reader. Beyond either bound the service is asked to stop and refills
 * the watch from history later, so a reader that sleeps costs this much and no more.
 */
const MAX_BATCHES = 64;
const MAX_BYTES = 1024 * 1024;

interface Waiter {
  resolve(result: IteratorResult<WatchBatch>): void;
  reject(reason: unknown): void;
}

/** How a watch is over: `failed` with the error that every further read gets. */
type End = { readonly failed: false } | { readonly failed: true; readonly reason: unknown };

export class KvWatch implements Watch, WatchSink, AsyncIterator<WatchBatch> {
  readonly created: Promise<number>;
  readonly #signal: AbortSignal | undefined;
  readonly #onEnd: (watch: KvWatch) => void;
  readonly #batches: Fifo<pb.WatchResponse>;
  readonly #waiters: Fifo<Waiter>;
  #bytes: number;
  #paused: boolean;
  #stream: WatchStream | undefined;
  #isCreated: boolean;
  #end: End | undefined;
  #settle: { resolve(revision: number): void; reject(reason: unknown): void };

  /** @param onEnd called once, when the watch is over however that came. */
  constructor(
    service: KvService,
    request: pb.WatchCreateRequest,
    signal: AbortSignal | undefined,
    onEnd: (watch: KvWatch) => void,
  ) {
    const created = Promise.withResolvers<number>();
    // Whoever does not look at `created` learns of a failure from the loop.
    created.promise.catch(() => undefined);
    this.created = created.promise;
    this.#settle = created;
    this.#signal = signal;
    this.#onEnd = onEnd;
    this.#batches = new Fifo();
    this.#waiters = new Fifo();
    this.#bytes = 0;
    this.#paused = false;
    this.#isCreated = false;
    this.#end = undefined;
    this.#stream = service.watch(this);
    this.#stream.request({
      createRequest: request,
      cancelRequest: undefined,
      progressRequest: undefined,
    });
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Whether it ended, however that came. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  // What the service calls.

  response(response: pb.WatchResponse): boolean {
    if (this.#end !== undefined) return true;
    if (response.canceled) {
      this.#finish({ failed: true, reason: cancelError(response) });
      return true;
    }
    if (response.created) {
      this.#isCreated = true;
      this.#settle.resolve(response.header.revision);
      return true;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: batchOf(response) });
      return true;
    }
    this.#batches.push(response);
    this.#bytes += sizeOf(response);
    this.#paused ||= this.#batches.length >= MAX_BATCHES || this.#bytes >= MAX_BYTES;
    return !this.#paused;
  }

  end(error: Error | undefined): void {
    const reason = error ?? closedError('the store ended it');
    this.#finish({ failed: true, reason });
  }

  // What the reader calls.

  [Symbol.asyncIterator](): AsyncIterator<WatchBatch> {
    return this;
  }

  next(): Promise<IteratorResult<WatchBatch>> {
    const response = this.#batches.shift();
    if (response !== undefined) {
      this.#bytes -= sizeOf(response);
      this.#resumeWhenDrained();
      return Promise.resolve({ done: false, value: batchOf(response) });
    }
    if (this.#end === undefined) {
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    }
    if (this.#end.failed) return Promise.reject(this.#end.reason);
    return Promise.resolve({ done: true, value: undefined });
  }

  async return(): Promise<IteratorResult<WatchBatch>> {
    await this.close();
    return { done: true, value: undefined };
  }

  requestProgress(): void {
    if (this.#end !== undefined) return;
    this.#stream?.request({
      createRequest: undefined,
      cancelRequest: undefined,
      progressRequest: {},
    });
  }

  /** Drops what was not read yet; a loop that is running ends. */
  async close(): Promise<void> {
    while (this.#batches.shift() !== undefined);
    this.#finish({ failed: false });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Inside.

  readonly #onAbort = (): void => {
    while (this.#batches.shift() !== undefined);
    this.#finish({ failed: true, reason: this.#signal?.reason });
  };

  #resumeWhenDrained(): void {
    if (!this.#paused || this.#batches.length > MAX_BATCHES / 2) return;
    if (this.#bytes > MAX_BYTES / 2) return;
    this.#paused = false;
    this.#stream?.resume();
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (!this.#isCreated) {
      this.#settle.reject(end.failed ? end.reason : closedError('it was closed'));
    }
    for (let waiter = this.#waiters.shift(); waiter; waiter = this.#waiters.shift()) {
      if (end.failed) waiter.reject(end.reason);
      else waiter.resolve({ done: true, value: undefined });
    }
    stream?.close();
    this.#onEnd(this);
  }
}

function batchOf(response: pb.WatchResponse): WatchBatch {
  const { events } = response;
  const last = events[events.length - 1];
  return {
    // A replay's header tells where the store is, not how far this message goes.
    revision: last === undefined ? response.header.revision : last.kv.modRevision,
    events: events.map(watchEvent),
    fragment: response.fragment,
  };
}

/** Roughly what a batch keeps in memory. */
function sizeOf(response: pb.WatchResponse): number {
  let size = 0;
  for (const { kv, prevKv } of response.events) {
    size += kv.key.length + kv.value.length;
    if (prevKv !== undefined) size += prevKv.value.length;
  }
  return size;
}

function closedError(why: string): QuorateError {
  return new QuorateError('ERR_CLOSED', `the watch is over: ${why}`);
}

function cancelError(response: pb.WatchResponse): QuorateError {
  const { compactRevision } = response;
  if (compactRevision > 0) {
    return new QuorateError(
      'ERR_COMPACTED',
      `the watch's next revision was compacted away; the oldest kept is ${compactRevision}: list the range and watch from the list's revision + 1`,
      { compactRevision },
    );
  }
  // Go's form of a status; the text behind it is the API's.
  const text = response.cancelReason.replace(/^rpc error: code = \w+ desc = /, '');
  const { code, retryable } = meaningOfStatus(Number.NaN, text);
  return new QuorateError(
    code === 'ERR_INTERNAL' ? 'ERR_WATCH_CANCELED' : code,
    `the store canceled the watch: ${text === '' ? 'it gave no reason' : text}`,
    { retryable },
  );
}
