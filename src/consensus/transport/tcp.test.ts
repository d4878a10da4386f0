/** How the TCP transport behaves with peers and strangers that do not behave. */
import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { type Clock, systemClock } from '../../core/clock.ts';
import { isQuorateError } from '../../core/errors.ts';
import { MessageType } from '../messages.ts';
import type { NodeId } from '../types.ts';
import { askMembers } from './ask-members.ts';
import { Channel, decodeHello, encodeHello, encodeWelcome, type Hello } from './codec.ts';
import { FrameKind, FrameReader, MAGIC, OutFrame, writeFrame } from './frame.ts';
import type { TcpTransportOptions, TransportSettings } from './settings.ts';
import { type TcpTransport, tcpTransport } from './tcp.ts';
import { A, B, CLUSTER, Recorder, raftMessage, turn } from './testing.ts';

interface Node {
  readonly transport: TcpTransport;
  readonly at: Recorder;
  readonly warnings: string[];
}

const opened: (() => Promise<unknown>)[] = [];

async function open(
  id: NodeId,
  settings: Partial<TransportSettings> = {},
  options: Partial<TcpTransportOptions> = {},
): Promise<Node> {
  const warnings: string[] = [];
  const transport = tcpTransport({
    id,
    clusterId: CLUSTER,
    listenUrls: ['http://127.0.0.1:0'],
    settings,
    log: (level, text) => level === 'warn' && warnings.push(text),
    ...options,
  });
  opened.push(() => transport.close());
  const at = new Recorder();
  await transport.start(at);
  return { transport, at, warnings };
}

/** A node that tells its peers where it is. */
async function openAdvertised(id: NodeId): Promise<Node> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise((resolve) => server.close(resolve));
  return open(id, {}, { listenUrls: [url], advertisedUrls: [url] });
}

async function openPair(
  settings: Partial<TransportSettings> = {},
  clockOf: () => Clock = () => systemClock,
): Promise<[Node, Node]> {
  const [a, b] = [
    await open(A, settings, { clock: clockOf() }),
    await open(B, settings, { clock: clockOf() }),
  ];
  a.transport.setPeers(new Map([[B, b.transport.listenUrls]]));
  b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
  await connected(a);
  await connected(b);
  return [a, b];
}

async function connected(node: Node): Promise<void> {
  while (!node.transport.peers().every((peer) => peer.connected)) await turn();
}

const HELLO: Hello = {
  oldestVersion: 1,
  newestVersion: 1,
  clusterId: CLUSTER,
  from: A,
  to: B,
  incarnation: '1111111111111111',
  urls: [],
  consensus: 'raft',
  channel: Channel.control,
};

function frameBytes(kind: FrameKind, body: Buffer): Buffer {
  const frame = new OutFrame(kind, undefined, undefined, body);
  const out = Buffer.alloc(frame.bytes);
  writeFrame(out, 0, frame);
  return out;
}

function helloBytes(fields: Partial<Hello> = {}): Buffer {
  return Buffer.concat([MAGIC, frameBytes(FrameKind.hello, encodeHello({ ...HELLO, ...fields }))]);
}

/** Writes raw bytes to a node; resolves with what came back when the node has closed. */
function speak(node: Node, bytes: Buffer): Promise<Buffer> {
  const { port } = new URL(node.transport.listenUrls[0]!);
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Buffer.concat(received)));
  });
}

/** A peer that says hello as it should, and then does as `then` says. */
async function fakePeer(then: (socket: Socket, channel: Channel) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const reader = new FrameReader((content) => {
      reader.stop();
      const welcome = { version: 1, clusterId: CLUSTER, nodeId: B, refused: '' };
      socket.write(Buffer.concat([MAGIC, frameBytes(FrameKind.welcome, encodeWelcome(welcome))]));
      then(socket, decodeHello(content, 1).channel);
    });
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return `http://127.0.0.1:${address.port}`;
}

const MIB = Buffer.alloc(1024 * 1024);
const bigAppend = (index: number) =>
  raftMessage({
    type: MessageType.append,
    index,
    entries: [{ type: 0, term: 1, index: index + 1, data: MIB }],
  });

afterEach(async () => {
  await Promise.all(opened.splice(0).map((close) => close()));
});

describe('a TCP transport', () => {
  const damaged = frameBytes(FrameKind.call, Buffer.from('0123456789'));
  damaged[15]! ^= 1;
  const huge = frameBytes(FrameKind.call, Buffer.from('0123456789'));
  huge.writeUInt32LE(0xffff_ffff, 0);
  huge.writeUInt32LE(0, 4);
  const cases: [string, Buffer, RegExp][] = [
    ['speaks HTTP', Buffer.from('GET /version HTTP/1.1\r\nHost: x\r\n\r\n'), /speaks HTTP/],
    ['speaks TLS', Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), /speaks TLS/],
    ['speaks nonsense', Buffer.from('nonsense nonsense'), /unknown protocol/],
    [
      'says no hello',
      Buffer.concat([
        MAGIC,
        frameBytes(FrameKind.alive, Buffer.alloc(0)),
        frameBytes(FrameKind.call, Buffer.alloc(9)),
      ]),
      /no hello/,
    ],
    [
      'is of another cluster',
      helloBytes({ clusterId: 'dddddddddddddddd' }),
      /belongs to cluster d{16}/,
    ],
    ['looks for another node', helloBytes({ to: 'eeeeeeeeeeeeeeee' }), /looks for node e{16}/],
    ['is no member', helloBytes({ from: 'eeeeeeeeeeeeeeee' }), /e{16} is no member/],
    ['claims our own id', helloBytes({ from: B }), /same node id/],
    [
      'speaks a later version only',
      helloBytes({ oldestVersion: 7, newestVersion: 9 }),
      /versions 7 to 9/,
    ],
    ['sends a wrong checksum', Buffer.concat([helloBytes(), damaged]), /wrong checksum/],
    ['sends a length of 4 GB', Buffer.concat([helloBytes(), huge]), /claims 4294967295 bytes/],
    [
      'sends a frame of unknown kind',
      Buffer.concat([helloBytes(), frameBytes(99 as FrameKind, Buffer.alloc(1))]),
      /kind 99/,
    ],
    [
      'sends a malformed message',
      Buffer.concat([helloBytes(), frameBytes(FrameKind.message, Buffer.alloc(80))]),
      /malformed/,
    ],
  ];
  for (const [what, bytes, line] of cases) {
    it(`closes a connection that ${what}, with one clear line, and serves the others`, async () => {
      const [a, b] = await openPair();
      await speak(b, bytes);
      assert.equal(b.warnings.length, 1, b.warnings.join('\n'));
      assert.match(b.warnings[0]!, line);
      // A stranger that calls itself A may have taken A's place for a moment: A connects again.
      while (!b.at.messages.some((message) => message.context === 42)) {
        a.transport.send(raftMessage({ context: 42 }));
        await turn();
      }
    });
  }

  it('survives random bytes after a valid hello', async () => {
    const [a, b] = await openPair();
    for (let seed = 1; seed <= 20; seed++) {
      const noise = Buffer.from(
        Array.from({ length: 50 }, (_, i) => (seed * 7919 + i * i * 31) & 0xff),
      );
      noise.writeUInt32LE(20, 0);
      await speak(b, Buffer.concat([helloBytes({ channel: (1 + (seed % 3)) as Channel }), noise]));
    }
    while (b.at.messages.length === 0) {
      a.transport.send(raftMessage({}));
      await turn();
    }
  });

  it('says the same thing only once, however often a stranger comes', async () => {
    const b = await open(B);
    for (let i = 0; i < 30; i++) await speak(b, Buffer.from('nonsense'));
    assert.equal(b.warnings.length, 1);
  });

  it('closes a connection that says nothing, after the time for the hello', async () => {
    const b = await open(B, { handshakeTimeoutMs: 50 });
    const received = await speak(b, Buffer.alloc(0));
    assert.equal(received.length, 0);
  });

  it('keeps a bounded number of connections that say nothing', async () => {
    const b = await open(B, { maxStrangers: 10, handshakeTimeoutMs: 60_000 });
    const closed = Array.from({ length: 30 }, () => speak(b, Buffer.alloc(0)));
    await Promise.all(closed.slice(0, 10));
    await b.transport.close();
    await Promise.all(closed);
  });

  it('refuses a peer that runs another core, and says so', async () => {
    const b = await open(B);
    const answer = await speak(b, helloBytes({ to: B, from: A, consensus: 'paxos' }));
    assert.match(answer.toString('latin1'), /it runs paxos, this node raft; start all nodes/);
  });

  it('refuses a peer with other lease reads, and says so', async () => {
    const b = await open(B);
    const leases = 'leases of 900 ms, clocks within 0.05';
    const answer = await speak(b, helloBytes({ to: B, from: A, leases }));
    assert.match(answer.toString('latin1'), /it has leases of 900 ms.*this node none; give all/);
  });

  it('refuses a port that is taken', async () => {
    const b = await open(B);
    await assert.rejects(open(A, {}, { listenUrls: b.transport.listenUrls }), {
      code: 'ERR_ADDRESS_IN_USE',
    });
  });

  it('refuses ids and URLs that are none', () => {
    const options = { id: A, clusterId: CLUSTER, listenUrls: ['http://127.0.0.1:0'] };
    for (const wrong of [
      { ...options, id: 'node1' },
      { ...options, clusterId: '' },
      { ...options, listenUrls: ['127.0.0.1:2380'] },
      { ...options, listenUrls: ['ftp://127.0.0.1:2380'] },
      { ...options, listenUrls: ['http://127.0.0.1:2380/path'] },
    ]) {
      assert.throws(() => tcpTransport(wrong), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });

  it('connects again when a peer comes back, also one that lost its memory', async () => {
    const [a, b] = await openPair();
    const [url] = b.transport.listenUrls;
    await b.transport.close();
    const again = await open(B, {}, { listenUrls: [url!] });
    again.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    await connected(again);
    await connected(a);
    again.transport.send(raftMessage({ from: B, to: A, context: 5 }));
    await a.at.until(() => a.at.messages.length === 1);
    assert.equal(a.at.messages[0]!.context, 5);
  });

  it('tries the next URL of a peer when one does not answer', async () => {
    const [a, b] = [await open(A), await open(B)];
    const gone = await open('9999999999999999');
    await gone.transport.close();
    a.transport.setPeers(new Map([[B, [...gone.transport.listenUrls, ...b.transport.listenUrls]]]));
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    await connected(a);
  });

  it('hears a peer that it does not know yet, and answers it where it says it is', async () => {
    const [a, b] = await Promise.all([open(A), openAdvertised(B)]);
    a.transport.setPeers(new Map(), new Set());
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    await connected(b);
    b.transport.send(raftMessage({ from: B, to: A }));
    await a.at.until(() => a.at.messages.length === 1);
    await connected(a);
    a.transport.send(raftMessage({ index: 7 }));
    await b.at.until(() => b.at.messages.some((message) => message.index === 7));
  });

  it('hears a peer that moved before its log says so', async () => {
    const [a, b] = await Promise.all([open(A), openAdvertised(B)]);
    a.transport.setPeers(new Map([[B, ['http://127.0.0.1:1']]]), new Set());
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    await connected(b);
    await connected(a);
    assert.equal(a.transport.peers()[0]!.connected, true);
  });

  it('keeps peers of an older configuration until they are removed, and tells them then', async () => {
    const [a, b] = await Promise.all([open(A), openAdvertised(B)]);
    a.transport.setPeers(new Map([[B, b.transport.listenUrls]]), new Set());
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]), new Set());
    await connected(a);
    await connected(b);
    a.transport.setPeers(new Map(), new Set());
    assert.equal(a.transport.peers()[0]!.connected, true);
    const told = new Promise<void>((resolve) => {
      b.at.onRemoved = resolve;
    });
    a.transport.setPeers(new Map(), new Set([B]));
    assert.deepEqual(a.transport.peers(), []);
    await told;
  });

  it('tells who the members are to one that has no id yet', async () => {
    let description: Uint8Array | undefined;
    const a = await open(A, {}, { describeCluster: () => description! });
    const [url] = a.transport.listenUrls;
    await assert.rejects(askMembers(url!, {}), { code: 'ERR_UNAVAILABLE' });
    description = Buffer.from('x'.repeat(5000));
    assert.equal((await askMembers(url!, {})).length, 5000);
    await a.transport.close();
    await assert.rejects(askMembers(url!, {}), { code: 'ERR_UNAVAILABLE' });
  });

  it('gives up on a member that does not tell its members', async () => {
    const server = createServer((socket) => void socket.on('error', () => undefined).resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const settings = { handshakeTimeoutMs: 20 };
    await assert.rejects(askMembers(`http://127.0.0.1:${port}`, { settings }), {
      code: 'ERR_TIMEOUT',
    });
    await new Promise((resolve) => server.close(resolve));
  });

  it('drops the connections of a peer that was removed', async () => {
    const [a, b] = await openPair();
    b.transport.setPeers(new Map());
    while (a.transport.peers()[0]!.connected) await turn();
    assert.deepEqual(b.transport.peers(), []);
  });

  it('gives up a peer that falls silent and reports it', async () => {
    const a = await open(A, { deadAfterMs: 100 });
    const url = await fakePeer(() => undefined);
    a.transport.setPeers(new Map([[B, [url]]]));
    await connected(a);
    await a.at.until(() => a.at.unreachable.length > 0);
    assert.deepEqual(a.at.unreachable[0], B);
  });

  it('keeps an idle connection alive', async () => {
    const deadAfterMs = 200;
    const looks = new Map<Clock, number>();
    const counting = (): Clock => {
      const clock: Clock = {
        ...systemClock,
        every: (intervalMs, run) =>
          systemClock.every(intervalMs, () => {
            looks.set(clock, (looks.get(clock) ?? 0) + intervalMs);
            run();
          }),
      };
      looks.set(clock, 0);
      return clock;
    };
    const [a, b] = await openPair({ deadAfterMs }, counting);
    // Each has looked for longer than the time after which it would give a silent peer up.
    while ([...looks.values()].some((lookedMs) => lookedMs < 3 * deadAfterMs)) await turn();
    assert.deepEqual([...a.at.unreachable, ...b.at.unreachable], []);
  });

  it('does not count the time in which its own process was stopped', async () => {
    let nowMs = 0;
    let sweep = (): void => undefined;
    const clock: Clock = {
      ...systemClock,
      now: () => nowMs,
      every: (_intervalMs, run) => {
        sweep = run;
        return () => undefined;
      },
    };
    const a = await open(A, { deadAfterMs: 1000 }, { clock });
    const url = await fakePeer(() => undefined);
    a.transport.setPeers(new Map([[B, [url]]]));
    await connected(a);
    nowMs += 3_600_000;
    sweep();
    for (let i = 0; i < 9; i++) {
      nowMs += 100;
      sweep();
    }
    assert.equal(a.transport.peers()[0]!.connected, true);
    nowMs += 100;
    sweep();
    assert.equal(a.transport.peers()[0]!.connected, false);
  });

  it('bounds what waits for a peer that reads nothing, and still delivers its heartbeats', async () => {
    const limits = { maxQueuedBytes: 8 * 1024 * 1024, deadAfterMs: 60_000 };
    const a = await open(A, limits);
    let heartbeats = 0;
    const url = await fakePeer((socket, channel) => {
      if (channel === Channel.bulk) socket.pause();
      else socket.on('data', () => (heartbeats += 1));
    });
    a.transport.setPeers(new Map([[B, [url]]]));
    await connected(a);
    for (let i = 0; i < 100; i++) {
      a.transport.send(bigAppend(i));
      await turn();
    }
    assert.ok(a.at.unreachable.length > 20, `${a.at.unreachable.length} dropped`);
    a.transport.send(raftMessage({}));
    while (heartbeats === 0) await turn();
  });

  it('says of a call that was never written that it was not applied', async () => {
    const a = await open(A, { deadAfterMs: 60_000 });
    let bulk: Socket | undefined;
    const url = await fakePeer((socket, channel) => {
      if (channel === Channel.bulk) bulk = socket.pause();
    });
    a.transport.setPeers(new Map([[B, [url]]]));
    await connected(a);
    for (let i = 0; i < 20; i++) a.transport.send(bigAppend(i));
    for (let i = 0; i < 10; i++) await turn();
    const stuck = a.transport.call(B, 'm', Buffer.alloc(20_000), 60_000);
    const late = a.transport.call(B, 'm', Buffer.alloc(20_000), 30);
    await assert.rejects(late, (error) => {
      return isQuorateError(error, 'ERR_TIMEOUT') && error.outcome === 'not-applied';
    });
    bulk!.destroy();
    await assert.rejects(stuck, (error) => {
      return isQuorateError(error, 'ERR_UNAVAILABLE') && error.outcome === 'not-applied';
    });
  });

  it('says of a call whose reply was lost that it may have happened', async () => {
    const a = await open(A);
    const url = await fakePeer((socket, channel) => {
      if (channel === Channel.control) socket.on('data', () => socket.destroy());
    });
    a.transport.setPeers(new Map([[B, [url]]]));
    await connected(a);
    await assert.rejects(a.transport.call(B, 'm', Buffer.alloc(1), 60_000), (error) => {
      return isQuorateError(error, 'ERR_UNAVAILABLE') && error.outcome === 'unknown';
    });
  });

  it('delivers heartbeats and appends while a snapshot is stuck', async () => {
    const [a, b] = await openPair();
    let pulled = 0;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    b.at.snapshot = async (_message, _metadata, chunks) => {
      await released;
      for await (const chunk of chunks) void chunk;
    };
    const source = async function* (): AsyncGenerator<Uint8Array> {
      for (; pulled < 50; pulled++) yield MIB;
    };
    const message = raftMessage({ type: MessageType.snapshot });
    const metadata = { index: 1, term: 1, configuration: { voters: [A, B], learners: [] } };
    const sent = a.transport.sendSnapshot(message, metadata, source());
    for (let i = 0; i < 20; i++) a.transport.send(bigAppend(i));
    a.transport.send(raftMessage({}));
    await b.at.until(() => b.at.messages.length === 21);
    // The window bounds what the sender is ahead of the receiver.
    assert.ok(pulled <= 6, `${pulled} chunks pulled`);
    release();
    await sent;
    assert.equal(pulled, 50);
  });

  it('gives up a snapshot that makes no progress, on both sides', async () => {
    const [a, b] = await openPair({ snapshotStallMs: 100 });
    let broken!: (error: unknown) => void;
    const ended = new Promise<unknown>((resolve) => (broken = resolve));
    let freed!: () => void;
    const stuck = new Promise<void>((resolve) => (freed = resolve));
    b.at.snapshot = async (_message, _metadata, chunks) => {
      await stuck;
      try {
        for await (const chunk of chunks) void chunk;
      } catch (error) {
        broken(error);
        throw error;
      }
    };
    const source = async function* (): AsyncGenerator<Uint8Array> {
      while (true) yield MIB;
    };
    const message = raftMessage({ type: MessageType.snapshot });
    const metadata = { index: 1, term: 1, configuration: { voters: [A, B], learners: [] } };
    await assert.rejects(a.transport.sendSnapshot(message, metadata, source()), (error) => {
      return isQuorateError(error) && /ERR_(TIMEOUT|UNAVAILABLE)/.test(error.code);
    });
    freed();
    assert.ok(isQuorateError(await ended, 'ERR_UNAVAILABLE'));
  });

  it('refuses calls beyond the number that may be under way', async () => {
    const [a, b] = await openPair({ maxCallsUnderWay: 2 });
    b.at.answer = () => new Promise(() => undefined);
    const waiting = [1, 2].map(() => a.transport.call(B, 'm', Buffer.alloc(0), 60_000));
    const settled = Promise.allSettled(waiting);
    await assert.rejects(a.transport.call(B, 'm', Buffer.alloc(0), 60_000), { code: 'ERR_BUSY' });
    await a.transport.close();
    await settled;
  });
});
