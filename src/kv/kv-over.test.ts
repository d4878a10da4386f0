import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import * as etcd from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import { exists, missing, unchanged } from './build.ts';
import type { Compare, Kv, KvService, Op, WatchSink, WatchStream } from './index.ts';
import { kvOver, memoryKv, memoryService } from './index.ts';

/** A service whose watch streams the test plays; other calls never answer unless overridden. */
class ScriptedService implements Partial<KvService> {
  sink!: WatchSink;
  readonly requests: pb.WatchRequest[] = [];
  resumes = 0;
  closes = 0;
  closed = 0;

  watch(sink: WatchSink): WatchStream {
    this.sink = sink;
    return {
      request: (request) => {
        this.requests.push(request);
      },
      resume: () => {
        this.resumes++;
      },
      close: () => {
        this.closes++;
        sink.end(undefined);
      },
    };
  }

  range(): Promise<never> {
    return new Promise(() => undefined);
  }

  async close(): Promise<void> {
    this.closed++;
  }

  reply(partial: Partial<pb.WatchResponse>, revision = 1): boolean {
    const header = etcd.ResponseHeader.create({ revision });
    return this.sink.response(etcd.WatchResponse.create({ header, ...partial }));
  }

  event(modRevision: number, value = ''): boolean {
    const kv = etcd.KeyValue.create({ key: 'k', modRevision, value });
    return this.reply({ events: [etcd.Event.create({ kv })] }, 1_000);
  }
}

function scripted(): { service: ScriptedService; kv: Kv } {
  const service = new ScriptedService();
  return { service, kv: kvOver(service as unknown as KvService) };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isQuorateError(error), `a Quorate error, not ${String(error)}`);
  return error.code;
}

describe('arguments', () => {
  const wrong: [what: string, call: (kv: Kv) => unknown][] = [
    ['a key that is a number', (kv) => kv.put(5 as never, '')],
    ['a value that is an object', (kv) => kv.put('a', {} as never)],
    ['a value that is missing', (kv) => kv.put('a', undefined as never)],
    ['a range that is null', (kv) => kv.range(null as never)],
    ['a prefix that is missing', (kv) => kv.range({ prefix: undefined } as never)],
    ['a get of a range', (kv) => kv.get({ prefix: 'a' } as never)],
    ['a negative revision', (kv) => kv.get('a', { revision: -1 })],
    ['a revision that is no whole number', (kv) => kv.range('a', { revision: 1.5 })],
    ['a revision that is a string', (kv) => kv.range('a', { revision: '1' as never })],
    ['a negative limit', (kv) => kv.range('a', { limit: -1 })],
    ['an unknown sort target', (kv) => kv.range('a', { sortBy: 'size' as never })],
    ['an unknown order', (kv) => kv.range('a', { order: 'up' as never })],
    ['a lease that is a number', (kv) => kv.put('a', '', { lease: 5 as never })],
    ['a lease beyond 64 bits', (kv) => kv.put('a', '', { lease: 2n ** 63n })],
    ['a lease id that is missing', (kv) => kv.keepAlive(undefined as never)],
    ['a duration that is none', (kv) => kv.grantLease('soon')],
    ['a negative duration', (kv) => kv.grantLease(-5)],
    ['a transaction that is missing', (kv) => kv.txn(undefined as never)],
    ['an unknown step', (kv) => kv.txn({ then: [{ op: 'move' } as never] })],
    ['an unknown operator', (kv) => kv.txn({ if: [{ ...missing('a'), is: '<=' as never }] })],
    ['an unknown target', (kv) => kv.txn({ if: [{ ...missing('a'), target: 'x' as never }] })],
    ['a version that is a string', (kv) => kv.txn({ if: [{ ...missing('a'), to: '0' }] })],
    ['a compaction at no revision', (kv) => kv.compact(Number.NaN)],
    ['an unknown filter', async (kv) => kv.watch('a', { without: 'all' as never })],
    ['a watch on a range without keys', async (kv) => kv.watch({ from: 'b', to: 'a' })],
  ];
  for (const [what, call] of wrong) {
    test(`${what} is refused before the store sees it`, async (t) => {
      const kv = memoryKv();
      t.after(() => kv.close());
      assert.equal(await codeOf(call(kv) as Promise<unknown>), 'ERR_INVALID_ARGUMENT');
      assert.equal((await kv.range({ prefix: '' })).revision, 1);
    });
  }

  test('ranges, text and bytes mean what they say', async (t) => {
    const kv = memoryKv();
    t.after(() => kv.close());
    for (const key of ['a', 'b', 'ä', '\0']) await kv.put(key, key);
    const keys = async (range: Parameters<Kv['range']>[0]) =>
      (await kv.range(range)).kvs.map((one) => one.key.toString());
    assert.deepEqual(await keys({ prefix: '' }), ['\0', 'a', 'b', 'ä']);
    assert.deepEqual(await keys({ from: '' }), ['\0', 'a', 'b', 'ä']);
    assert.deepEqual(await keys({ from: '', to: 'b' }), ['\0', 'a']);
    assert.deepEqual(await keys({ from: 'b', to: 'a' }), []);
    assert.deepEqual(await keys({ from: '\0', to: '\0' }), []);
    assert.deepEqual(await keys({ from: 'a', to: '' }), []);
    assert.deepEqual(await keys(Buffer.from('ä')), ['ä']);
    assert.deepEqual(await keys(new Uint8Array([0xc3, 0xa4])), ['ä']);
  });

  test('what a caller gets is his own: changing it changes nothing', async (t) => {
    const kv = memoryKv();
    t.after(() => kv.close());
    await kv.put('a', 'value');
    (await kv.get('a'))?.value.fill(0);
    assert.equal((await kv.get('a'))?.value.toString(), 'value');
  });

  test('the conditions missing, exists and unchanged', async (t) => {
    const kv = memoryKv();
    t.after(() => kv.close());
    const holds = async (condition: Compare) => (await kv.txn({ if: [condition] })).succeeded;
    assert.deepEqual([await holds(missing('a')), await holds(exists('a'))], [true, false]);
    assert.equal(await holds(missing({ prefix: 'a' })), true);
    await kv.put('a', '');
    const found = (await kv.get('a'))!;
    assert.deepEqual([await holds(missing('a')), await holds(exists('a'))], [false, true]);
    assert.equal(await holds(exists({ prefix: '' })), true);
    assert.equal(await holds(unchanged(found)), true);
    await kv.put('a', '');
    assert.equal(await holds(unchanged(found)), false);
  });

  test('a step that the store answers with nothing is told, as what was carried out', async (t) => {
    const service = memoryService();
    service.txn = async () => etcd.TxnResponse.create({ responses: [etcd.ResponseOp.create()] });
    const kv = kvOver(service);
    t.after(() => kv.close());
    const steps: Op[] = [{ op: 'put', key: 'a', value: '' }];
    await assert.rejects(kv.txn({ then: steps }), { code: 'ERR_PROTOCOL', outcome: 'unknown' });
  });
});

describe('a transaction of conditions alone', () => {
  test('reads something, so that etcd does not answer it from old state, and says nothing of it', async (t) => {
    const service = memoryService();
    const right = service.txn.bind(service);
    let asked: pb.TxnRequest | undefined;
    service.txn = (request, options) => {
      asked = request;
      return right(request, options);
    };
    const kv = kvOver(service);
    t.after(() => kv.close());
    const { succeeded, results } = await kv.txn({ if: [missing('a')] });
    assert.deepEqual([succeeded, results], [true, []]);
    assert.equal(asked?.success[0]?.requestRange?.key, 'a');
    assert.equal(asked?.failure[0]?.requestRange?.serializable, false);
    assert.deepEqual((await kv.txn({ if: [exists('a')] })).results, []);
    await assert.rejects(kv.txn({ if: [missing('')] }), { code: 'ERR_EMPTY_KEY' });
  });
});

describe('abort and close', () => {
  test('a call whose store never answers ends with the abort', async () => {
    const { kv } = scripted();
    const abort = new AbortController();
    const call = kv.range('a', { signal: abort.signal });
    const reason = new Error('enough');
    abort.abort(reason);
    await assert.rejects(call, (error) => error === reason);
  });

  test('after close every call is refused, and the service is closed once', async () => {
    const { service, kv } = scripted();
    await Promise.all([kv.close(), kv.close()]);
    await kv[Symbol.asyncDispose]();
    assert.equal(service.closed, 1);
    assert.equal(await codeOf(kv.get('a')), 'ERR_CLOSED');
    assert.equal(await codeOf(kv.leases()), 'ERR_CLOSED');
    assert.throws(() => kv.watch('a'), { code: 'ERR_CLOSED' });
  });

  test('close leaves a service open that is not its own', async () => {
    const service = new ScriptedService();
    const kv = kvOver(service as unknown as KvService, { closeService: false });
    const watch = kv.watch('a');
    const next = watch[Symbol.asyncIterator]().next();
    await kv.close();
    assert.equal((await next).done, true);
    assert.deepEqual([service.closed, service.closes], [0, 1]);
  });

  test('a watch that is closed before it was created says so, and is no unhandled rejection', async () => {
    const { service, kv } = scripted();
    const watch = kv.watch('a');
    await kv.close();
    assert.equal(service.closes, 1);
    assert.equal(await codeOf(watch.created), 'ERR_CLOSED');
  });

  test('a watch with a signal that is aborted already is refused', () => {
    const { service, kv } = scripted();
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    assert.throws(
      () => kv.watch('a', { signal }),
      (error) => error === reason,
    );
    assert.equal(service.requests.length, 0);
  });

  test('an abort rejects the loop and created, drops what was buffered and closes the stream', async () => {
    const { service, kv } = scripted();
    const abort = new AbortController();
    const watch = kv.watch('a', { signal: abort.signal });
    service.event(5);
    const reason = new Error('enough');
    abort.abort(reason);
    const isReason = (error: unknown) => error === reason;
    await assert.rejects(watch[Symbol.asyncIterator]().next(), isReason);
    await assert.rejects(watch.created, isReason);
    assert.equal(service.closes, 1);
  });
});

describe('a watch', () => {
  test('stops its store at 64 batches and lets it go on when half are read', async () => {
    const { service, kv } = scripted();
    const reader = kv.watch('k')[Symbol.asyncIterator]();
    service.reply({ created: true });
    for (let i = 1; i < 64; i++) assert.equal(service.event(i), true);
    assert.equal(service.event(64), false);
    for (let i = 1; i < 32; i++) await reader.next();
    assert.equal(service.resumes, 0);
    assert.equal((await reader.next()).value.revision, 32);
    assert.equal(service.resumes, 1);
    assert.equal(service.event(65), true);
    await kv.close();
  });

  test('stops its store at one megabyte', async () => {
    const { service, kv } = scripted();
    const reader = kv.watch('k')[Symbol.asyncIterator]();
    const value = 'x'.repeat(300 * 1024);
    const answers = [1, 2, 3, 4].map((revision) => service.event(revision, value));
    assert.deepEqual(answers, [true, true, true, false]);
    await reader.next();
    await reader.next();
    assert.equal(service.resumes, 0);
    await reader.next();
    assert.equal(service.resumes, 1);
    await kv.close();
  });

  test('hands a batch straight to a reader that waits', async () => {
    const { service, kv } = scripted();
    const reader = kv.watch('k')[Symbol.asyncIterator]();
    const [first, second] = [reader.next(), reader.next()];
    service.event(7);
    service.event(8);
    assert.deepEqual([(await first).value.revision, (await second).value.revision], [7, 8]);
    await kv.close();
  });

  test('says of a batch how far its events go, and of progress how far the store is', async () => {
    const { service, kv } = scripted();
    const reader = kv.watch('k')[Symbol.asyncIterator]();
    service.event(7);
    service.reply({ watchId: -1 }, 900);
    assert.equal((await reader.next()).value.revision, 7);
    const progress = (await reader.next()).value;
    assert.deepEqual([progress.revision, progress.events], [900, []]);
    await kv.close();
  });

  test('delivers what came before it ended with an error, and the error then each time', async () => {
    const { service, kv } = scripted();
    const watch = kv.watch('k');
    const reader = watch[Symbol.asyncIterator]();
    service.reply({ created: true }, 5);
    service.event(7);
    service.reply({ canceled: true, compactRevision: 40 });
    assert.equal(await watch.created, 5);
    assert.equal((await reader.next()).value.revision, 7);
    for (let i = 0; i < 2; i++) {
      await assert.rejects(reader.next(), { code: 'ERR_COMPACTED', compactRevision: 40 });
    }
    assert.equal(service.closes, 1);
    await kv.close();
  });

  test('translates the reason of a cancel', async () => {
    const reasons = {
      'rpc error: code = PermissionDenied desc = etcdserver: permission denied':
        'ERR_PERMISSION_DENIED',
      'etcdserver: mvcc: required revision has been compacted': 'ERR_COMPACTED',
      'mvcc: watcher range is empty': 'ERR_WATCH_CANCELED',
      '': 'ERR_WATCH_CANCELED',
    };
    for (const [cancelReason, code] of Object.entries(reasons)) {
      const { service, kv } = scripted();
      const watch = kv.watch('k');
      service.reply({ watchId: -1, created: true, canceled: true, cancelReason });
      assert.equal(await codeOf(watch[Symbol.asyncIterator]().next()), code);
      assert.equal(await codeOf(watch.created), code);
    }
  });

  test('ends with the error its stream ended with', async () => {
    const { service, kv } = scripted();
    const next = kv.watch('k')[Symbol.asyncIterator]().next();
    const error = new QuorateError('ERR_NO_LEADER', 'no leader');
    service.sink.end(error);
    await assert.rejects(next, (reason) => reason === error);
  });

  test('that leaves its loop closes its stream', async () => {
    const { service, kv } = scripted();
    const watch = kv.watch('k');
    service.event(1);
    for await (const batch of watch) {
      assert.equal(batch.revision, 1);
      break;
    }
    assert.equal(service.closes, 1);
    watch.requestProgress();
    assert.equal(service.requests.length, 1);
  });

  test('leaves no listener on its signal', async () => {
    const { kv } = scripted();
    let listeners = 0;
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await kv.watch('k', { signal }).close();
    assert.equal(listeners, 0);
  });
});
