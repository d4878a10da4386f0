/**
 * Random histories against the plain model of `test-naive-store.ts`: answers, history, watches (ordered,
 * unique, complete, whole revisions), and snapshots taken while writes go on. A failing seed is in the test's name.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Clock } from '../core/clock.ts';
import { isQuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import * as proto from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import type { WatchStream } from './service.ts';
import { type ApplyResult, KvStore } from './store.ts';
import { NaiveStore, Refused } from './test-naive-store.ts';
import { RequestGenerator } from './testing.ts';
import { validateDeleteRange, validatePut, validateRange, validateTxn } from './validate.ts';
import { covers } from './watch-index.ts';

/** Time that stands still; what is due `after` something runs when `turn` is called. */
class ManualClock implements Clock {
  #due: (() => void)[] = [];
  now = (): number => 0;
  wallNow = (): number => 0;
  after(_delayMs: number, run: () => void): () => void {
    this.#due.push(run);
    return () => {
      this.#due = this.#due.filter((each) => each !== run);
    };
  }
  every = (): (() => void) => () => undefined;
  turn(): void {
    for (const run of this.#due.splice(0)) run();
  }
  get idle(): boolean {
    return this.#due.length === 0;
  }
}

/** A receiver that is slow now and then, and what it was sent. */
class Receiver {
  readonly create: pb.WatchCreateRequest;
  readonly bornAt: number;
  readonly events: pb.EventMessage[] = [];
  canceledAt: number | undefined = undefined;
  stream!: WatchStream;
  accepts: () => boolean;

  constructor(create: pb.WatchCreateRequest, bornAt: number, accepts: () => boolean) {
    this.create = create;
    this.bornAt = bornAt;
    this.accepts = accepts;
  }

  response(response: pb.WatchResponse): boolean {
    if (response.created) return true;
    if (response.canceled) this.canceledAt = response.compactRevision;
    this.events.push(...response.events);
    return this.accepts();
  }
  end(): void {
    this.accepts = () => false;
  }
}

const HEADER = { clusterId: 1n, memberId: 1n, revision: 0, raftTerm: 1 };

class Run {
  readonly clock = new ManualClock();
  readonly gen: RequestGenerator;
  readonly model = new NaiveStore();
  readonly receivers: Receiver[] = [];
  store = new KvStore({ clock: this.clock });
  #index = 0;

  constructor(seed: number) {
    this.gen = new RequestGenerator(seededRandom(seed));
  }

  get around(): { revision: number; compactRevision: number; leases: bigint[] } {
    const { revision, compactRevision, leases } = this.model;
    return { revision, compactRevision, leases: [...leases] };
  }

  step(): void {
    const { gen, model } = this;
    const kind = gen.below(100);
    if (kind < 35) this.put(gen.put(this.around));
    else if (kind < 45) this.delete(gen.deleteRange());
    else if (kind < 65) this.txn(gen.txn(this.around));
    else if (kind < 80) this.range(gen.range(this.around));
    else if (kind < 84) {
      const id = BigInt(gen.below(8) + 1);
      if (!model.leases.has(id)) this.apply({ leaseGrant: { id, ttl: 60 } });
      model.leases.add(id);
    } else if (kind < 86) {
      const id = BigInt(gen.below(9) + 1);
      this.same(
        () => model.revoke(id),
        () => this.apply({ leaseRevoke: { id } }),
      );
    } else if (kind < 88) {
      const revision = gen.revision(this.around);
      this.same(
        () => model.compact(revision),
        () => this.apply({ compaction: { revision, physical: false } }),
      );
    } else if (kind < 92) this.watch();
    if (gen.oneIn(2)) this.store.flushWatches();
    if (gen.oneIn(3)) this.clock.turn();
    if (gen.oneIn(3)) this.store.compactStep();
    if (gen.oneIn(6)) for (const { stream } of this.receivers) stream.resume();
  }

  apply(request: Partial<pb.InternalRaftRequest>): ApplyResult {
    const data = proto.InternalRaftRequest.encode(proto.InternalRaftRequest.create(request));
    const result = this.store.apply(data, ++this.#index);
    if (result.error !== undefined) throw result.error;
    return result;
  }

  /** Both refuse with the same code, or neither does. */
  same<T, U>(expected: () => T, actual: () => U): { expected: T; actual: U } | undefined {
    const [wanted, got] = [outcome(expected), outcome(actual)];
    assert.equal(got.code, wanted.code);
    assert.equal(this.store.revision, this.model.revision);
    return wanted.code === undefined
      ? { expected: wanted.value as T, actual: got.value as U }
      : undefined;
  }

  put(request: pb.PutRequest): void {
    if (outcome(() => validatePut(request)).code !== undefined) return;
    const before = this.model.stateAt(this.model.revision).get(request.key);
    const both = this.same(
      () => this.model.put(request),
      () => this.apply({ put: request }).put!,
    );
    if (both !== undefined) sameKv(both.actual.prevKv, request.prevKv ? before : undefined);
  }

  delete(request: pb.DeleteRangeRequest): void {
    if (outcome(() => validateDeleteRange(request)).code !== undefined) return;
    const both = this.same(
      () => this.model.delete(request),
      () => this.apply({ deleteRange: request }).deleteRange!,
    );
    assert.equal(both?.actual.deleted, both?.expected);
  }

  txn(request: pb.TxnRequest): void {
    if (outcome(() => validateTxn(request)).code !== undefined) return;
    const both = this.same(
      () => this.model.txn(request),
      () => this.apply({ txn: request }).txn!,
    );
    if (both !== undefined) assert.deepEqual(simplified(both.actual), plain(both.expected));
  }

  range(request: pb.RangeRequest): void {
    if (outcome(() => validateRange(request)).code !== undefined) return;
    const both = this.same(
      () => this.model.range(request),
      () => this.store.range(request),
    );
    if (both !== undefined) assert.deepEqual(plain(both.actual), plain(both.expected));
  }

  watch(): void {
    const { gen } = this;
    const createRequest = proto.WatchCreateRequest.create({
      ...gen.bounds(),
      startRevision: gen.revision(this.around),
      prevKv: gen.oneIn(2),
      filters: gen.oneIn(4) ? [gen.below(2)] : [],
    });
    const { key, rangeEnd } = createRequest;
    if (key === '' || (rangeEnd !== '' && rangeEnd !== '\0' && key >= rangeEnd)) return;
    const receiver = new Receiver(createRequest, this.model.revision, () => !gen.oneIn(3));
    receiver.stream = this.store.openWatchStream(receiver, () => HEADER);
    this.receivers.push(receiver);
    receiver.stream.request({
      createRequest,
      cancelRequest: undefined,
      progressRequest: undefined,
    });
  }

  /** Lets all watches catch up and compares what each was sent with the model's changes. */
  checkWatches(): void {
    this.store.flushWatches();
    for (const receiver of this.receivers) {
      receiver.accepts = () => true;
      receiver.stream.resume();
    }
    for (let turns = 0; !this.clock.idle; turns++) {
      assert.ok(turns < 10_000, 'watches catch up');
      this.clock.turn();
    }
    for (const receiver of this.receivers) this.#checkWatch(receiver);
  }

  #checkWatch({ create, bornAt, events, canceledAt }: Receiver): void {
    const start = create.startRevision > 0 ? create.startRevision : bornAt + 1;
    let expected = this.model.changes.filter(
      ({ kv, deleted }) =>
        kv.modRevision >= start &&
        covers(create, kv.key) &&
        !create.filters.includes(deleted ? 1 : 0),
    );
    if (canceledAt !== undefined) {
      // It got a part, in whole revisions, and the rest is compacted away.
      const last = events[events.length - 1]?.kv.modRevision ?? 0;
      expected = expected.filter(({ kv }) => kv.modRevision <= last);
      assert.ok(start < canceledAt);
    }
    assert.deepEqual(
      events.map(({ type, kv }) => [type, plain(kv)]),
      expected.map(({ kv, deleted }) => [deleted ? 1 : 0, plain(kv)]),
    );
    for (const { kv, prevKv } of events) {
      const before = this.model.stateAt(kv.modRevision - 1).get(kv.key);
      if (prevKv !== undefined || create.prevKv === false) {
        sameKv(prevKv, create.prevKv ? before : undefined);
      } else if (before !== undefined && kv.createRevision !== kv.modRevision) {
        assert.ok(kv.modRevision - 1 < this.model.compactRevision, 'only what is gone is left out');
      }
    }
  }

  /** Every revision that can still be read holds what the model says. */
  checkHistory(): void {
    const everything = proto.RangeRequest.create({ key: '\0', rangeEnd: '\0' });
    for (let at = Math.max(this.model.compactRevision, 1); at <= this.model.revision; at++) {
      const request = { ...everything, revision: at };
      assert.deepEqual(plain(this.store.range(request)), plain(this.model.range(request)));
    }
  }
}

function outcome<T>(run: () => T): { code: string | undefined; value: T | undefined } {
  try {
    return { code: undefined, value: run() };
  } catch (error) {
    if (isQuorateError(error) || error instanceof Refused) {
      return { code: error.code, value: undefined };
    }
    throw error;
  }
}

/** Without what is the store's own business. */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value, (name, part) => {
    if (name === 'sub' || name === 'header') return undefined;
    return typeof part === 'bigint' ? String(part) : part;
  });
  return text === undefined ? undefined : JSON.parse(text);
}

function sameKv(
  actual: pb.KeyValueMessage | undefined,
  expected: pb.KeyValueMessage | undefined,
): void {
  assert.deepEqual(plain(actual), plain(expected));
}

/** A transaction's response in the model's terms. */
function simplified(response: pb.TxnResponse): unknown {
  const steps = response.responses.map((step) => {
    if (step.responseTxn !== undefined) return simplified(step.responseTxn);
    if (step.responseDeleteRange !== undefined) return step.responseDeleteRange.deleted;
    return step.responseRange === undefined ? null : plain(step.responseRange);
  });
  return { succeeded: response.succeeded, steps };
}

async function* fed(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

describe('a random history', () => {
  for (let seed = 1; seed <= 25; seed++) {
    it(`gives what the plain model gives (seed ${seed})`, () => {
      const run = new Run(seed);
      for (let i = 0; i < 400; i++) run.step();
      run.checkHistory();
      run.checkWatches();
    });
  }

  for (let seed = 101; seed <= 110; seed++) {
    it(`goes on from a snapshot that was pulled while writes went on (seed ${seed})`, async () => {
      const run = new Run(seed);
      for (let i = 0; i < 200 + 10 * (seed - 100); i++) run.step();
      const hash = run.store.hashKv(0);
      const chunks: Uint8Array[] = [];
      for (const chunk of run.store.snapshot()) {
        chunks.push(chunk);
        for (let i = 0; i < 20; i++) run.step();
        run.store.compactStep();
      }
      const other = new KvStore({ clock: run.clock });
      await other.restore(fed(chunks));
      assert.deepEqual(other.hashKv(0), hash);
      assert.equal(other.revision, hash.hashRevision);
    });

    it(`serves history, leases and its watches after a restore (seed ${seed})`, async () => {
      const run = new Run(seed);
      for (let i = 0; i < 300; i++) run.step();
      const chunks = [...run.store.snapshot()];
      await run.store.restore(fed(chunks));
      for (let i = 0; i < 200; i++) run.step();
      run.checkHistory();
      run.checkWatches();
    });
  }
});
