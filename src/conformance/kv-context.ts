/** What every case of the key-value suite is given, and the helpers the cases share. */
import assert from 'node:assert/strict';
import type { Clock } from '../core/clock.ts';
import { type ErrorCode, isQuorateError } from '../core/errors.ts';
import type { KeyRange, Kv, Watch, WatchBatch, WatchEvent, WatchOptions } from '../kv/kv.ts';
import type { KvService, WatchSink, WatchStream } from '../kv/service.ts';
import * as etcd from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import type { Case } from './case.ts';
import { CaseContext, errorOf } from './case-context.ts';

/**
 * `service`: the raw API can be reached, for rules that the public contract cannot express.
 * `compaction`: history may be dropped (of the whole store, so these cases come last).
 * `expiry`: the store's clock is the real one, or moves by itself; these cases take seconds.
 * `pastInWrites`: all members refuse alike a transaction that writes and reads a revision which is
 * compacted or yet to come. The members of an etcd 3.6 cluster do not: they DIVERGE for good
 * (etcd-io/etcd#18667), so never run these cases on one that you want to keep.
 */
export type KvCapability = 'service' | 'compaction' | 'expiry' | 'pastInWrites';

/** A case of the key-value suite. */
export type KvCase = Case<KvContext, KvCapability>;

/**
 * One case's view of the store. Its keys begin with `prefix`, which no other case has.
 */
export class KvContext extends CaseContext {
  readonly kv: Kv;
  readonly prefix: string;
  readonly #service: KvService | undefined;
  readonly #cleanups: (() => unknown)[];

  constructor(kv: Kv, service: KvService | undefined, clock: Clock, prefix: string) {
    super(clock);
    this.kv = kv;
    this.prefix = prefix;
    this.#service = service;
    this.#cleanups = [];
  }

  /** The raw API, for cases that need `service`. */
  get service(): KvService {
    assert.ok(this.#service, 'a case that uses the raw API needs the capability "service"');
    return this.#service;
  }

  readonly key = (name: string): string => {
    return this.prefix + name;
  };

  /** A range of all keys of the case, or of those that begin with `name`. */
  readonly all = (name = ''): { prefix: string } => {
    return { prefix: this.prefix + name };
  };

  /** Puts the keys one after another, each with its own name as value; their revisions. */
  readonly fill = async (...names: string[]): Promise<number[]> => {
    const revisions: number[] = [];
    for (const name of names) {
      revisions.push((await this.kv.put(this.key(name), name)).revision);
    }
    return revisions;
  };

  /** The case's keys in `range`, without the prefix. */
  readonly names = (kvs: readonly { readonly key: Buffer }[]): string[] => {
    return kvs.map(({ key }) => key.toString().slice(this.prefix.length));
  };

  /** The store's revision now. */
  readonly revision = async (): Promise<number> => {
    return (await this.kv.range(this.all(), { countOnly: true })).revision;
  };

  /** Checks that `act` takes no revision; tried again where somebody else wrote meanwhile. */
  readonly keepsRevision = async (act: () => Promise<unknown>): Promise<void> => {
    for (let attempt = 0; attempt < 20; attempt++) {
      const before = await this.revision();
      await act();
      if ((await this.revision()) === before) return;
    }
    assert.fail('the revision moved, though nothing was changed');
  };

  /** Checks that what `act` writes takes exactly one revision; tried again like `keepsRevision`. */
  readonly takesOneRevision = async (
    act: () => Promise<{ readonly revision: number }>,
  ): Promise<void> => {
    for (let attempt = 0; attempt < 20; attempt++) {
      const before = await this.revision();
      if ((await act()).revision === before + 1) return;
    }
    assert.fail('the write never took exactly one revision');
  };

  /** Checks that `work` rejects with `code`, and that it says nothing was done. */
  readonly refuses = async (work: Promise<unknown>, code: ErrorCode): Promise<void> => {
    const error = await errorOf(work, code);
    assert.ok(isQuorateError(error), `a Quorate error of code ${code}, not ${String(error)}`);
    assert.equal(error.code, code, error.message);
    assert.equal(error.outcome, 'not-applied', 'a refused request was not applied');
  };

  /**
   * Opens a watch from now on, closed with the case. It names its first revision: the member that
   * serves it may be behind, and would then also deliver what this case wrote before.
   */
  readonly watch = async (range: KeyRange, options: WatchOptions = {}): Promise<WatchReader> => {
    const fromRevision = options.fromRevision ?? (await this.revision()) + 1;
    return this.watchNow(range, { ...options, fromRevision });
  };

  /** The same, from where the member is that serves it, unless `options` say otherwise. */
  readonly watchNow = async (range: KeyRange, options: WatchOptions): Promise<WatchReader> => {
    const watch = this.kv.watch(range, options);
    this.defer(() => watch.close());
    const created = await this.within(watch.created, 'the watch to be created');
    return new WatchReader(this, watch, created);
  };

  /** Opens a raw watch stream that is closed with the case. */
  readonly rawWatch = (): RawWatch => {
    const raw = new RawWatch(this);
    this.defer(() => raw.stream.close());
    return raw;
  };

  /** Runs at the end of the case, however it ends. */
  readonly defer = (cleanup: () => unknown): void => {
    this.#cleanups.push(cleanup);
  };

  async end(): Promise<void> {
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
    await this.kv.delete(this.all());
  }
}

/** Reads a watch batch by batch. */
export class WatchReader {
  readonly watch: Watch;
  readonly createdRevision: number;
  readonly #context: KvContext;
  readonly #batches: AsyncIterator<WatchBatch>;

  constructor(context: KvContext, watch: Watch, createdRevision: number) {
    this.watch = watch;
    this.createdRevision = createdRevision;
    this.#context = context;
    this.#batches = watch[Symbol.asyncIterator]();
  }

  /** The next batch, or `undefined` where the watch is over. */
  async batch(): Promise<WatchBatch | undefined> {
    const next = await this.#context.within(this.#batches.next(), 'a batch of the watch');
    return next.done === true ? undefined : next.value;
  }

  /** Batches until `count` events have come; more is a failure. Progress notices are left out. */
  async batches(count: number): Promise<WatchBatch[]> {
    const batches: WatchBatch[] = [];
    let events = 0;
    while (events < count) {
      const batch = await this.batch();
      assert.ok(batch, `the watch ended after ${events} of ${count} events`);
      if (batch.events.length > 0) batches.push(batch);
      events += batch.events.length;
    }
    assert.equal(events, count, 'number of events');
    return batches;
  }

  async events(count: number): Promise<WatchEvent[]> {
    return (await this.batches(count)).flatMap((batch) => batch.events);
  }

  /** Events as text, such as `put a=1` and `delete b`, without the case's prefix. */
  async changes(count: number): Promise<string[]> {
    return (await this.events(count)).map((event) => {
      const name = event.kv.key.toString().slice(this.#context.prefix.length);
      return event.type === 'put' ? `put ${name}=${event.kv.value}` : `delete ${name}`;
    });
  }
}

/** A raw watch stream: what was asked and every response that came. */
export class RawWatch implements WatchSink {
  readonly stream: WatchStream;
  /** After this many more responses the stream is asked to pause. */
  pauseAfter: number;
  /** Responses so far. */
  received: number;
  readonly #context: KvContext;
  readonly #responses: pb.WatchResponse[];
  #wake: () => void;
  #ended: { readonly error: Error | undefined } | undefined;

  constructor(context: KvContext) {
    this.pauseAfter = Number.POSITIVE_INFINITY;
    this.received = 0;
    this.#context = context;
    this.#responses = [];
    this.#wake = () => undefined;
    this.#ended = undefined;
    this.stream = context.service.watch(this);
  }

  response(response: pb.WatchResponse): boolean {
    this.#responses.push(response);
    this.received++;
    this.pauseAfter--;
    this.#wake();
    return this.pauseAfter > 0;
  }

  end(error: Error | undefined): void {
    this.#ended = { error };
    this.#wake();
  }

  create(partial: Partial<pb.WatchCreateRequest>): void {
    const createRequest = etcd.WatchCreateRequest.create(partial);
    this.stream.request(etcd.WatchRequest.create({ createRequest }));
  }

  cancel(watchId: number): void {
    this.stream.request(etcd.WatchRequest.create({ cancelRequest: { watchId } }));
  }

  progress(): void {
    this.stream.request(etcd.WatchRequest.create({ progressRequest: {} }));
  }

  /** The next response, in the order they came. */
  async next(): Promise<pb.WatchResponse> {
    await this.#until(() => this.#responses.length > 0, 'a response on the watch stream');
    return this.#responses.shift()!;
  }

  /** Waits for the stream's end. */
  async ended(): Promise<{ readonly error: Error | undefined }> {
    await this.#until(() => this.#ended !== undefined, 'the end of the watch stream');
    return this.#ended!;
  }

  async #until(holds: () => boolean, what: string): Promise<void> {
    while (!holds()) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await this.#context.within(woken, what);
    }
  }
}
