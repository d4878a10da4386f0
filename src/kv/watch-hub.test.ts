import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as proto from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import type { WatchStream } from './service.ts';
import { KvStore } from './store.ts';

interface Setup {
  readonly store: KvStore;
  readonly clock: VirtualClock;
  put(key: string, value?: string): void;
  apply(request: Partial<pb.InternalRaftRequest>): void;
}

function setup(options: { progressNotifyMs?: number; maxRequestBytes?: number } = {}): Setup {
  const clock = new VirtualClock();
  const store = new KvStore({ clock, ...options });
  const apply = (request: Partial<pb.InternalRaftRequest>): void => {
    const { error } = store.applyRequest(
      proto.InternalRaftRequest.create(request),
      store.appliedIndex + 1,
    );
    if (error !== undefined) throw error;
    store.flushWatches();
  };
  const put = (key: string, value = 'v'): void => {
    apply({ put: proto.PutRequest.create({ key, value }) });
  };
  return { store, clock, put, apply };
}

/** A stream and all that it was sent. */
class Client {
  readonly got: pb.WatchResponse[] = [];
  readonly stream: WatchStream;
  full = false;
  ended = 0;
  error: Error | undefined = undefined;
  onResponse: (response: pb.WatchResponse) => void = () => this.full;

  constructor(store: KvStore) {
    const header = (): pb.ResponseHeader => {
      return { clusterId: 5n, memberId: 6n, revision: 77, raftTerm: 8 };
    };
    this.stream = store.openWatchStream(this, header);
  }

  response(response: pb.WatchResponse): boolean {
    this.got.push(response);
    this.onResponse(response);
    return !this.full;
  }
  end(error: Error | undefined): void {
    this.ended++;
    this.error = error;
  }

  create(partial: Partial<pb.WatchCreateRequest>): void {
    const createRequest = proto.WatchCreateRequest.create(partial);
    this.stream.request(proto.WatchRequest.create({ createRequest }));
  }
  cancel(watchId: number): void {
    this.stream.request(proto.WatchRequest.create({ cancelRequest: { watchId } }));
  }
  progress(): void {
    this.stream.request(proto.WatchRequest.create({ progressRequest: {} }));
  }
  /** What came since the last call. */
  take(): pb.WatchResponse[] {
    return this.got.splice(0);
  }
  /** Keys of the events that came since the last call, with their revisions. */
  events(): string[] {
    const all = this.take().flatMap((response) => response.events);
    return all.map(({ kv }) => `${kv.key}@${kv.modRevision}`);
  }
}

describe('creating a watch', () => {
  it('is answered before any event, with the current revision', () => {
    const { store, put } = setup();
    put('a');
    put('a');
    const client = new Client(store);
    client.create({ key: 'a', startRevision: 2 });
    const [created, replay] = client.take();
    assert.deepEqual(
      [created?.created, created?.watchId, created?.header.revision, created?.header.clusterId],
      [true, 0, 3, 5n],
    );
    assert.deepEqual([replay?.events.length, replay?.header.revision], [2, 3]);
  });

  it('counts ids from 0 and passes over the ones that are taken', () => {
    const client = new Client(setup().store);
    for (const watchId of [1, 0, 0, 2, 1]) client.create({ key: 'a', watchId });
    assert.deepEqual(
      client.take().map((each) => [each.watchId, each.canceled, each.cancelReason]),
      [
        [1, false, ''],
        [0, false, ''],
        [2, false, ''],
        [-1, true, 'mvcc: duplicate watch ID provided on the WatchStream'],
        [-1, true, 'mvcc: duplicate watch ID provided on the WatchStream'],
      ],
    );
  });

  it('is refused for an empty range and a negative revision, in words that clients match', () => {
    const client = new Client(setup().store);
    client.create({ key: 'b', rangeEnd: 'b' });
    client.create({ key: 'b', startRevision: -1 });
    assert.deepEqual(
      client.take().map((each) => [each.watchId, each.created, each.canceled, each.cancelReason]),
      [
        [-1, true, true, 'mvcc: watcher range is empty'],
        [-1, true, true, 'etcdserver: mvcc: required revision has been compacted'],
      ],
    );
  });

  it('below the floor is answered, then canceled with the floor; at the floor it is served', () => {
    const { store, put, apply } = setup();
    for (let i = 0; i < 4; i++) put('a');
    apply({ compaction: { revision: 4, physical: false } });
    const client = new Client(store);
    client.create({ key: 'a', startRevision: 3 });
    const [created, canceled] = client.take();
    assert.equal(created?.canceled, false);
    assert.deepEqual(
      [canceled?.canceled, canceled?.compactRevision, canceled?.header.revision],
      [true, 4, 0],
    );
    client.create({ key: 'a', startRevision: 4 });
    assert.deepEqual(client.events(), ['a@4', 'a@5']);
  });

  it('may start in the future', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.create({ key: 'a', startRevision: 4 });
    for (let i = 0; i < 3; i++) put('a');
    assert.deepEqual(client.events(), ['a@4']);
  });

  it('of the empty key means the lowest key', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.create({ key: '', rangeEnd: '\0' });
    put('a');
    assert.deepEqual(client.events(), ['a@2']);
  });
});

describe('delivery', () => {
  it('is one response a revision when live, and never splits a revision', () => {
    const { store, put, apply } = setup();
    const client = new Client(store);
    client.create({ key: '\0', rangeEnd: '\0' });
    client.take();
    put('a');
    put('b');
    apply({ deleteRange: proto.DeleteRangeRequest.create({ key: 'a', rangeEnd: 'z' }) });
    const responses = client.take();
    assert.deepEqual(
      responses.map((each) => [each.header.revision, each.events.length]),
      [
        [2, 1],
        [3, 1],
        [4, 2],
      ],
    );
    const { kv, type } = responses[2]!.events[1]!;
    assert.deepEqual([type, kv.key, kv.modRevision, kv.value, kv.version], [1, 'b', 4, '', 0]);
  });

  it('shares one event object among watches, so that it is encoded once', () => {
    const { store, put } = setup();
    const clients = [new Client(store), new Client(store), new Client(store)];
    clients[0]?.create({ key: 'a' });
    clients[1]?.create({ key: 'a', rangeEnd: 'b' });
    clients[2]?.create({ key: 'a', prevKv: true });
    put('a', '1');
    put('a', '2');
    const [first, second, third] = clients.map((client) => client.take().at(-1)!.events[0]!);
    assert.equal(first, second);
    assert.notEqual(first, third);
    assert.equal(third?.prevKv?.value, '1');
  });

  it('replays at most 1000 revisions a response', () => {
    const { store, put } = setup();
    for (let i = 0; i < 2500; i++) put('a');
    const client = new Client(store);
    client.create({ key: 'a', rangeEnd: 'b', startRevision: 1 });
    assert.deepEqual(
      client.take().map((each) => each.events.length),
      [0, 1000, 1000, 500],
    );
  });

  it('goes through a long history in turns', async () => {
    const { store, clock, put } = setup();
    for (let i = 0; i < 25_000; i++) put('other');
    put('a');
    const client = new Client(store);
    client.create({ key: 'a', rangeEnd: 'b', startRevision: 1 });
    assert.deepEqual(client.events(), []);
    await clock.advance(10);
    assert.deepEqual(client.events(), ['a@25002']);
    assert.equal(clock.pending, 0);
  });

  it('leaves out what the filters name, and sends nothing if that is all', () => {
    const { store, put, apply } = setup();
    const client = new Client(store);
    client.create({ key: 'a', filters: [0] });
    client.take();
    put('a');
    assert.deepEqual(client.take(), []);
    apply({ deleteRange: proto.DeleteRangeRequest.create({ key: 'a' }) });
    assert.deepEqual(client.events(), ['a@3']);
  });

  it('cuts a large revision into fragments where they were asked for', () => {
    const { store, apply } = setup({ maxRequestBytes: 1000 });
    const limit = 1000 + 512 * 1024;
    const plain = new Client(store);
    plain.create({ key: 'k', rangeEnd: 'l' });
    const client = new Client(store);
    client.create({ key: 'k', rangeEnd: 'l', fragment: true });
    plain.take();
    client.take();
    const success = Array.from({ length: 10 }, (_, i) => {
      const requestPut = proto.PutRequest.create({ key: `k${i}`, value: 'x'.repeat(200_000) });
      return proto.RequestOp.create({ requestPut });
    });
    apply({ txn: proto.TxnRequest.create({ success }) });
    const parts = client.take();
    assert.deepEqual(
      parts.map((part) => [part.events.length, part.fragment]),
      [
        [2, true],
        [2, true],
        [2, true],
        [2, true],
        [2, false],
      ],
    );
    for (const part of parts) assert.ok(proto.WatchResponse.size(part) < limit);
    assert.deepEqual(
      plain.take().map((each) => [each.events.length, each.fragment]),
      [[10, false]],
    );
  });
});

describe('a compaction before what it passes was delivered', () => {
  /** Five changes and a compaction at the newest, as one batch of the log that nobody delivered yet. */
  function applied(): { store: KvStore; client: Client } {
    const { store } = setup();
    const client = new Client(store);
    client.create({ key: 'a', rangeEnd: 'c' });
    client.take();
    const apply = (request: Partial<pb.InternalRaftRequest>): void => {
      store.applyRequest(proto.InternalRaftRequest.create(request), store.appliedIndex + 1);
    };
    for (const key of ['a', 'a', 'b', 'a', 'b']) apply({ put: proto.PutRequest.create({ key }) });
    apply({ compaction: { revision: 6, physical: false } });
    return { store, client };
  }
  const all = ['a@2', 'a@3', 'b@4', 'a@5', 'b@6'];

  it('takes no event from a watch when the store is hashed in between', () => {
    const { store, client } = applied();
    store.hashKv(0);
    store.flushWatches();
    assert.deepEqual(client.events(), all);
  });

  it('removes nothing before it is delivered', () => {
    const { store, client } = applied();
    while (store.compactStep());
    assert.deepEqual(client.events(), all);
    store.flushWatches();
    assert.deepEqual(client.events(), []);
    assert.equal(store.compactPending(), false);
  });

  it('waits where a receiver asks for it', () => {
    const { store, client } = applied();
    client.onResponse = () => assert.equal(store.compactStep(), false);
    store.flushWatches();
    assert.deepEqual([client.events(), client.ended], [all, 0]);
    assert.equal(store.compactPending(), true);
  });
});

describe('a slow receiver', () => {
  it('is sent nothing more, holds up nobody, and is refilled when it resumes', async () => {
    const { store, clock, put } = setup();
    const slow = new Client(store);
    const quick = new Client(store);
    for (const client of [slow, quick]) client.create({ key: 'a', rangeEnd: 'b' });
    slow.take();
    quick.take();
    slow.full = true;
    for (let i = 0; i < 5; i++) put('a');
    assert.deepEqual(slow.events(), ['a@2']);
    assert.equal(quick.events().length, 5);
    slow.full = false;
    slow.stream.resume();
    put('a');
    assert.deepEqual(slow.events(), ['a@3', 'a@4', 'a@5', 'a@6', 'a@7']);
    await clock.advance(10);
    assert.deepEqual(slow.events(), []);
  });

  it('still gets replies to create and cancel', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.create({ key: 'a' });
    client.full = true;
    put('a');
    client.take();
    client.create({ key: 'b' });
    client.cancel(0);
    assert.deepEqual(
      client.take().map((each) => [each.watchId, each.created, each.canceled]),
      [
        [1, true, false],
        [0, false, true],
      ],
    );
  });

  it('whose history is compacted meanwhile is told so, and cancels the watch itself', () => {
    const { store, put, apply } = setup();
    const client = new Client(store);
    client.create({ key: 'a' });
    client.full = true;
    for (let i = 0; i < 5; i++) put('a');
    apply({ compaction: { revision: 6, physical: false } });
    client.take();
    client.full = false;
    client.stream.resume();
    const [canceled] = client.take();
    assert.deepEqual([canceled?.canceled, canceled?.compactRevision], [true, 6]);
    client.cancel(0);
    assert.equal(client.take()[0]?.canceled, true);
    client.cancel(0);
    assert.deepEqual(client.take(), []);
  });

  it('that throws ends its own stream only', () => {
    const { store, put } = setup();
    const bad = new Client(store);
    const good = new Client(store);
    for (const client of [bad, good]) client.create({ key: 'a' });
    good.take();
    bad.onResponse = () => {
      throw new Error('broken');
    };
    put('a');
    put('a');
    assert.equal(bad.error?.message, 'broken');
    assert.deepEqual(good.events(), ['a@2', 'a@3']);
  });

  it('may close the stream, or write, from within a response', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.create({ key: 'a', rangeEnd: 'c' });
    client.take();
    client.onResponse = ({ events }) => {
      if (events[0]?.kv.modRevision === 2) put('b');
      if (events[0]?.kv.modRevision === 3) client.stream.close();
    };
    put('a');
    put('a');
    assert.deepEqual(client.events(), ['a@2', 'b@3']);
    assert.equal(client.ended, 1);
    client.stream.close();
    assert.equal(client.ended, 1);
  });
});

describe('progress', () => {
  it('is told when all watches have everything, and otherwise not', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.progress();
    assert.deepEqual(client.take(), []);
    client.create({ key: 'a' });
    put('b');
    client.take();
    client.progress();
    assert.deepEqual(
      client.take().map((each) => [each.watchId, each.header.revision, each.events.length]),
      [[-1, 2, 0]],
    );
    client.create({ key: 'a', startRevision: 10 });
    client.take();
    client.progress();
    assert.deepEqual(client.take(), []);
  });

  it('comes behind all events up to its revision, also when asked for among them', () => {
    const { store, apply } = setup();
    const client = new Client(store);
    client.create({ key: 'a' });
    client.create({ key: 'b' });
    client.take();
    client.onResponse = ({ watchId }) => {
      if (watchId === 0) client.progress();
    };
    const op = (key: string): pb.RequestOp => {
      return proto.RequestOp.create({ requestPut: proto.PutRequest.create({ key }) });
    };
    apply({ txn: proto.TxnRequest.create({ success: [op('a'), op('b')] }) });
    assert.deepEqual(
      client.take().map((each) => each.watchId),
      [0, 1, -1],
    );
  });

  it('is not held up by a watch that was compacted away', () => {
    const { store, put, apply } = setup();
    for (let i = 0; i < 3; i++) put('a');
    apply({ compaction: { revision: 3, physical: false } });
    const client = new Client(store);
    client.create({ key: 'a', startRevision: 2 });
    client.create({ key: 'a' });
    client.take();
    client.progress();
    assert.equal(client.take()[0]?.watchId, -1);
  });

  it('is sent to idle watches that asked for notices, and to no others', () => {
    const { store, put } = setup();
    const client = new Client(store);
    client.create({ key: 'idle', progressNotify: true });
    client.create({ key: 'busy', progressNotify: true });
    client.create({ key: 'idle' });
    put('busy');
    client.take();
    store.notifyProgress();
    assert.deepEqual(
      client.take().map((each) => [each.watchId, each.header.revision, each.events.length]),
      [[0, 2, 0]],
    );
    store.notifyProgress();
    assert.deepEqual(
      client.take().map((each) => each.watchId),
      [0, 1],
    );
  });
});

describe('the installation of a snapshot', () => {
  it('lets watches go on where they were', async () => {
    const leader = setup();
    const follower = setup();
    for (const each of [leader, follower]) each.put('a');
    const client = new Client(follower.store);
    client.create({ key: 'a', rangeEnd: 'c' });
    client.take();
    for (const key of ['a', 'x', 'b']) leader.put(key);
    await follower.store.restore(chunksOf(leader.store));
    assert.deepEqual(client.events(), ['a@3', 'b@5']);
  });

  it('ends those whose next revision is gone, and only those', async () => {
    const leader = setup();
    const follower = setup();
    const lost = new Client(follower.store);
    lost.create({ key: 'a' });
    lost.full = true;
    const quiet = new Client(follower.store);
    quiet.create({ key: 'quiet' });
    for (let i = 0; i < 5; i++) for (const each of [leader, follower]) each.put('a');
    leader.apply({ compaction: { revision: 6, physical: true } });
    for (const client of [lost, quiet]) client.take();
    await follower.store.restore(chunksOf(leader.store));
    lost.full = false;
    lost.stream.resume();
    assert.equal(lost.take()[0]?.compactRevision, 6);
    assert.deepEqual(quiet.take(), []);
    follower.apply({ put: proto.PutRequest.create({ key: 'quiet' }) });
    assert.deepEqual(quiet.events(), ['quiet@7']);
  });
});

async function* chunksOf(store: KvStore): AsyncGenerator<Uint8Array> {
  yield* store.snapshot();
}
