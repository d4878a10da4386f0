import assert from 'node:assert/strict';
import test from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import type { Watch } from '../../kv/kv.ts';
import type { WatchSink } from '../../kv/service.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { type EtcdOptions, etcdKv, etcdService } from './index.ts';
import { WATCH_PATH } from './methods.ts';
import {
  type FakeCall,
  type FakeEtcd,
  type FakeHandler,
  fakeEtcd,
  fastClock,
  HEADER,
  putEvent,
  relayTo,
  watchResponse,
} from './testing.ts';

/** Reads `count` events from a watch, and the revisions of the batches without any. */
async function readEvents(watch: Watch, count: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const batch of watch) {
    for (const { kv } of batch.events) seen.push(`${kv.key.toString()}@${kv.modRevision}`);
    if (seen.length >= count) break;
  }
  return seen;
}

const revisions = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** A store with one event in each of revisions 2 to `last`, that replays as etcd does. */
class History {
  last: number;
  readonly starts: number[] = [];
  readonly created: FakeCall[] = [];
  /** What to do on connection number n (from 0), after the created reply. */
  readonly script: (n: number, call: FakeCall, start: number) => void;

  constructor(last: number, script: (n: number, call: FakeCall, start: number) => void) {
    this.last = last;
    this.script = script;
  }

  readonly handler: FakeHandler = (call, message) => {
    const { createRequest } = codec.WatchRequest.decode(message);
    if (createRequest === undefined) return;
    const header = { ...HEADER, revision: this.last };
    this.starts.push(createRequest.startRevision);
    this.created.push(call);
    call.send(codec.WatchResponse, watchResponse({ header, created: true }));
    this.script(this.starts.length - 1, call, createRequest.startRevision);
  };

  replay(call: FakeCall, from: number, to: number): void {
    const events = revisions(from, to).map((revision) => putEvent(revision));
    call.send(codec.WatchResponse, watchResponse({ events }));
  }
}

function options(
  fake: FakeEtcd | { endpoint: string },
  extra: Partial<EtcdOptions> = {},
): EtcdOptions {
  return { endpoints: fake.endpoint, ...extra };
}

test('a connection cut right after the created reply loses none of 50 historic events', async () => {
  const history = new History(51, (n, call, start) => {
    if (n === 0) {
      call.cut();
      return;
    }
    history.replay(call, start, 51);
    history.replay(call, 52, 52);
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  const watch = kv.watch('k', { fromRevision: 2 });
  assert.deepEqual(
    await readEvents(watch, 51),
    revisions(2, 52).map((r) => `k@${r}`),
  );
  assert.deepEqual(history.starts, [2, 2]);
});

test('a connection cut in the middle of the history goes on with the next event', async () => {
  const history = new History(51, (n, call, start) => {
    if (n < 3) {
      history.replay(call, start, start + 9);
      // After the bytes have left: the cut must not take them along.
      call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
      return;
    }
    history.replay(call, start, 51);
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  const watch = kv.watch('k', { fromRevision: 2 });
  assert.deepEqual(
    await readEvents(watch, 50),
    revisions(2, 51).map((r) => `k@${r}`),
  );
  assert.equal(history.starts[0], 2);
  assert.equal(history.starts.length, 4);
});

test('a watch that began now resumes from its created reply, not from a later now', async () => {
  const history = new History(10, (n, call, start) => {
    if (n === 0) {
      // Revision 11 happens while nobody is connected.
      history.last = 11;
      call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
    } else {
      history.replay(call, start, 11);
    }
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  const watch = kv.watch('k');
  assert.equal(await watch.created, 10);
  assert.deepEqual(await readEvents(watch, 1), ['k@11']);
  assert.deepEqual(history.starts, [0, 11]);
});

test('a progress notice moves the revision that a watch resumes from', async () => {
  const history = new History(10, (n, call, start) => {
    if (n === 0) {
      const header = { ...HEADER, revision: 40 };
      call.send(codec.WatchResponse, watchResponse({ header }));
      call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
    } else {
      history.replay(call, start, start);
    }
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  assert.deepEqual(await readEvents(kv.watch('k', { progress: true }), 1), ['k@41']);
  assert.deepEqual(history.starts, [0, 41]);
});

test('fragments of a revision that come again after a cut are not delivered again', async () => {
  const fragments = (call: FakeCall, parts: readonly (readonly string[])[], cut: boolean): void => {
    for (const [i, keys] of parts.entries()) {
      const events = keys.map((key) => putEvent(20, key));
      const fragment = cut || i < parts.length - 1;
      call.send(codec.WatchResponse, watchResponse({ events, fragment }));
    }
  };
  const history = new History(20, (n, call) => {
    if (n === 0) {
      fragments(call, [['a', 'b'], ['c']], true);
      call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
    } else {
      fragments(call, [['a'], ['b', 'c', 'd'], ['e']], false);
    }
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  const watch = kv.watch({ prefix: '' }, { fromRevision: 5, fragment: true });
  assert.deepEqual(await readEvents(watch, 5), ['a@20', 'b@20', 'c@20', 'd@20', 'e@20']);
  assert.deepEqual(history.starts, [5, 20]);
});

test('a compaction while disconnected ends the watch with the revision that is left', async () => {
  const history = new History(30, (n, call) => {
    if (n === 0) {
      call.cut();
      return;
    }
    const header = { ...HEADER, revision: 0 };
    call.send(codec.WatchResponse, watchResponse({ header, canceled: true, compactRevision: 25 }));
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv(options(fake));
  await assert.rejects(readEvents(kv.watch('k', { fromRevision: 2 }), 1), (error) => {
    assert.ok(isQuorateError(error, 'ERR_COMPACTED'));
    assert.equal(error.compactRevision, 25);
    return true;
  });
});

/** Collects what a watch stream says; `until` resolves when `done` holds. */
class Recorder implements WatchSink {
  readonly responses: pb.WatchResponse[] = [];
  ended: { error: Error | undefined } | undefined = undefined;
  takes = true;
  #wake: () => void = () => undefined;

  response(response: pb.WatchResponse): boolean {
    this.responses.push(response);
    this.#wake();
    return this.takes;
  }
  end(error: Error | undefined): void {
    this.ended = { error };
    this.#wake();
  }
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const create = (fields: Partial<pb.WatchCreateRequest>): pb.WatchRequest =>
  codec.WatchRequest.create({ createRequest: codec.WatchCreateRequest.create(fields) });

test('ids stay the same for the user when a new connection numbers the watches anew', async () => {
  let connection = -1;
  let session: unknown;
  const wire: string[] = [];
  const handler: FakeHandler = (call, message) => {
    if (session !== call.session) {
      session = call.session;
      connection++;
    }
    const request = codec.WatchRequest.decode(message);
    if (request.createRequest !== undefined) {
      const { key, watchId } = request.createRequest;
      wire.push(`${connection}: create ${key}`);
      // The second connection gives ids of its own liking, also where one was asked for.
      const given = connection === 0 ? watchId || (key === 'a' ? 0 : 1) : key === 'a' ? 71 : 70;
      call.send(codec.WatchResponse, watchResponse({ created: true, watchId: given }));
      if (connection === 0 && key === 'b') {
        call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
      } else if (connection === 1) {
        const events = [putEvent(11, key)];
        call.send(codec.WatchResponse, watchResponse({ watchId: given, events }));
      }
    } else if (request.cancelRequest !== undefined) {
      const { watchId } = request.cancelRequest;
      wire.push(`${connection}: cancel ${watchId}`);
      call.send(codec.WatchResponse, watchResponse({ watchId, canceled: true }));
    }
  };
  await using fake = await fakeEtcd({ [WATCH_PATH]: handler });
  const service = etcdService(options(fake));
  const sink = new Recorder();
  const stream = service.watch(sink);
  stream.request(create({ key: 'a' }));
  stream.request(create({ key: 'b' }));
  await sink.until(() => sink.responses.length >= 4);
  stream.request(codec.WatchRequest.create({ cancelRequest: { watchId: 1 } }));
  await sink.until(() => sink.responses.length >= 5);
  const said = sink.responses.map(({ watchId, created, canceled, events }) => {
    const kind = created ? 'created' : canceled ? 'canceled' : `event of ${events[0]?.kv.key}`;
    return `${watchId}: ${kind}`;
  });
  assert.deepEqual(said, [
    '0: created',
    '1: created',
    '0: event of a',
    '1: event of b',
    '1: canceled',
  ]);
  assert.deepEqual(wire, [
    '0: create a',
    '0: create b',
    '1: create a',
    '1: create b',
    '1: cancel 70',
  ]);
  stream.close();
  assert.deepEqual(sink.ended, { error: undefined });
  await service.close();
});

test('a link that goes dead is noticed by pings, and the watch resumes on a new one', async () => {
  const history = new History(10, (n, call, start) => {
    if (n === 1) history.replay(call, start, 12);
  });
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using relay = await relayTo(fake.endpoint);
  await using kv = etcdKv({ endpoints: relay.endpoint, clock: fastClock(50) });
  const watch = kv.watch('k');
  await watch.created;
  relay.freeze();
  assert.deepEqual(await readEvents(watch, 2), ['k@11', 'k@12']);
  assert.deepEqual(history.starts, [0, 11]);
});

test('a slow receiver stops the server, and gets everything once it reads on', async () => {
  const total = 40;
  const value = 'x'.repeat(200_000);
  let sent = 0;
  const handler: FakeHandler = (call) => {
    if (sent > 0) return;
    call.send(codec.WatchResponse, watchResponse({ created: true }));
    const pump = (): void => {
      while (sent < total && !call.stream.destroyed) {
        const event = putEvent(11 + sent++);
        event.kv.value = value;
        call.send(codec.WatchResponse, watchResponse({ events: [event] }));
        if (call.stream.writableNeedDrain) break;
      }
    };
    call.stream.on('drain', pump);
    pump();
  };
  await using fake = await fakeEtcd({ [WATCH_PATH]: handler });
  const service = etcdService(options(fake));
  const sink = new Recorder();
  sink.takes = false;
  const stream = service.watch(sink);
  stream.request(create({ key: 'k' }));
  await sink.until(() => sink.responses.length >= 1);
  // A call on the same connection proves that the server had the time to send more.
  for (let i = 0; i < 20; i++) await service.leaseLeases({}).catch(() => undefined);
  assert.ok(sent < total, `the server could send all ${sent}`);
  assert.equal(sink.responses.length, 1);
  sink.takes = true;
  stream.resume();
  await sink.until(() => sink.responses.length >= 1 + total);
  const seen = sink.responses.slice(1).map(({ events }) => events[0]?.kv.modRevision);
  assert.deepEqual(seen, revisions(11, 10 + total));
  stream.close();
  await service.close();
});

test('a watch that the store does not allow ends with the reason', async () => {
  const handler: FakeHandler = (call) => {
    const cancelReason = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
    const response = watchResponse({ watchId: -1, created: true, canceled: true, cancelReason });
    call.send(codec.WatchResponse, response);
  };
  await using fake = await fakeEtcd({ [WATCH_PATH]: handler });
  await using kv = etcdKv(options(fake));
  const watch = kv.watch('k');
  await assert.rejects(watch.created, (error) => isQuorateError(error, 'ERR_PERMISSION_DENIED'));
});

test('a watch on a member that lost its leader moves to another member', async () => {
  const lost: FakeHandler = (call) => {
    call.finish(14, 'etcdserver: no leader');
  };
  const history = new History(10, (_, call) => history.replay(call, 11, 11));
  await using one = await fakeEtcd({ [WATCH_PATH]: lost });
  await using two = await fakeEtcd({ [WATCH_PATH]: history.handler });
  await using kv = etcdKv({ endpoints: [one.endpoint, two.endpoint] });
  assert.deepEqual(await readEvents(kv.watch('k'), 1), ['k@11']);
  assert.equal(history.created[0]?.headers['hasleader'], 'true');
});

test('closing the client ends its watches with ERR_CLOSED', async () => {
  const history = new History(10, () => undefined);
  await using fake = await fakeEtcd({ [WATCH_PATH]: history.handler });
  const service = etcdService(options(fake));
  const sink = new Recorder();
  service.watch(sink).request(create({ key: 'k' }));
  await sink.until(() => sink.responses.length === 1);
  await service.close();
  assert.ok(isQuorateError(sink.ended?.error, 'ERR_CLOSED'));
  const late = new Recorder();
  service.watch(late).request(create({ key: 'k' }));
  await late.until(() => late.ended !== undefined);
  assert.ok(isQuorateError(late.ended?.error, 'ERR_CLOSED'));
});

test('a watch where nothing listens fails soon instead of staying silent', async () => {
  await using fake = await fakeEtcd({});
  const { endpoint } = fake;
  await fake[Symbol.asyncDispose]();
  await using kv = etcdKv({ endpoints: endpoint });
  const watch = kv.watch('k');
  await assert.rejects(watch.created, (error) => isQuorateError(error, 'ERR_UNAVAILABLE'));
});
