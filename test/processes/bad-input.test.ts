/**
 * Three real nodes and clients and peers that misbehave: each gets a clear error, nobody else is
 * disturbed, nothing is lost.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { etcdKv } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { encodeHello } from '../../src/consensus/transport/codec.ts';
import { FrameKind, MAGIC, OutFrame, writeFrame } from '../../src/consensus/transport/frame.ts';
import { PutRequest, RangeRequest, WatchRequest, WatchResponse } from '../../src/proto/etcd.ts';
import {
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  PREFACE,
  Setting,
  settingsFrame,
  windowUpdateFrame,
  writeFrameHeader,
} from '../../src/server/http2/frames.ts';
import { fieldBlock } from '../../src/server/http2/hpack-encoder.ts';
import { envelope, TestCall } from '../../src/server/test-client.ts';
import { type Cluster, type Member, startCluster, until } from '../support/cluster.ts';

const MIB = 1024 * 1024;

let cluster: Cluster;
let kv: Kv;

before(async () => {
  cluster = await startCluster({ flags: ['--log-format=console'] });
  kv = etcdKv({ endpoints: cluster.endpoints });
});
after(async () => {
  await kv.close();
  await cluster.close();
});

/** Writes one key after another, all of which must be acknowledged, until stopped. */
class SteadyWrites {
  slowestMs = 0;
  count = 0;
  readonly #prefix: string;
  readonly #lane: Promise<void>;
  #stopped = false;

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.#lane = this.#run();
    this.#lane.catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const startedAt = performance.now();
      await kv.put(`${this.#prefix}${this.count}`, 'x');
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt);
      this.count += 1;
    }
  }

  /** Ends the writes; each of them must have been acknowledged, and be there. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#lane;
    const { count } = await kv.range({ prefix: this.#prefix }, { countOnly: true });
    assert.equal(count, this.count);
  }
}

/** A socket on a port of a node; what the node answers until it closes or `closed` is asked. */
class Raw {
  readonly socket: Socket;
  readonly closed: Promise<Buffer>;

  constructor(port: number, from = '127.0.0.1') {
    this.socket = connect({ port, host: '127.0.0.1', localAddress: from });
    const parts: Buffer[] = [];
    this.socket.on('data', (chunk: Buffer) => parts.push(chunk));
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) =>
      this.socket.once('close', () => resolve(Buffer.concat(parts))),
    );
  }
}

const clientPort = (member: Member): number => Number(member.endpoint.split(':')[1]);

function residentBytes({ pid }: Member): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * 1024;
}

/** Files that a process may have open, as far as the system lets it be raised. */
function mostOpenFiles(): number {
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }));
  return Number.isNaN(limit) ? Number.POSITIVE_INFINITY : limit;
}

const leaderAndTerm = async (): Promise<string> => {
  const leader = await cluster.awaitLeader();
  const { raftTerm } = (await (
    await fetch(`http://${leader.endpoint}/v3/maintenance/status`, { method: 'POST', body: '{}' })
  ).json()) as { raftTerm: string };
  return `${leader.name} in term ${raftTerm}`;
};

interface MemberList {
  readonly header: { readonly cluster_id: string };
  readonly members: readonly {
    readonly ID: string;
    readonly name?: string;
    readonly peerURLs: readonly string[];
  }[];
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('peers that speak something else', () => {
  const frame = (kind: FrameKind, content: Buffer): Buffer => {
    const out = new OutFrame(kind, undefined, content, undefined);
    const bytes = Buffer.alloc(out.bytes);
    writeFrame(bytes, 0, out);
    return bytes;
  };
  const withLength = (length: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(length, 0);
    bytes.writeUInt32LE(crc32(bytes.subarray(8), length), 4);
    return bytes;
  };
  const damaged = (bytes: Buffer): Buffer => {
    bytes[bytes.length - 1]! ^= 1;
    return bytes;
  };

  test('are named in the log and cut off; writes go on and the leader stays', {
    timeout: 60_000,
    skip: process.platform !== 'linux' && 'it takes many addresses on loopback',
  }, async () => {
    const stable = await leaderAndTerm();
    const victim = cluster.members[0]!;
    const [, other] = cluster.members;
    const ids = await until('all members have told their names', async () => {
      const url = `http://${victim.endpoint}/v3/cluster/member/list`;
      const list = (await (await fetch(url, { method: 'POST', body: '{}' })).json()) as MemberList;
      return list.members.every(({ name }) => name !== undefined) && list;
    });
    const hex = (id: string): string => BigInt(id).toString(16).padStart(16, '0');
    const idOf = (name: string): string => hex(ids.members.find((one) => one.name === name)!.ID);
    const peerPort = Number(
      new URL(ids.members.find((one) => one.name === victim.name)!.peerURLs[0]!).port,
    );
    const hello = (change: Partial<Parameters<typeof encodeHello>[0]>): Buffer =>
      frame(
        FrameKind.hello,
        encodeHello({
          oldestVersion: 1,
          newestVersion: 1,
          clusterId: hex(ids.header.cluster_id),
          from: idOf(other!.name),
          to: idOf(victim.name),
          incarnation: 'abcdefabcdefabcd',
          urls: [],
          channel: 1,
          ...change,
        }) as Buffer,
      );
    const attacks: readonly [sends: readonly Buffer[], logged: RegExp][] = [
      [[Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')], /speaks HTTP/],
      [[PREFACE, settingsFrame([])], /speaks HTTP/],
      [[Buffer.from('16030100a5010000a10303', 'hex'), Buffer.alloc(160, 7)], /speaks TLS/],
      [[Buffer.alloc(100_000, 0xa5)], /speaks an unknown protocol/],
      [[MAGIC, withLength(0xffff_ffff)], /length of a frame was damaged/],
      [[MAGIC, withLength(0)], /length of a frame was damaged/],
      [[MAGIC, damaged(hello({}))], /wrong checksum/],
      [[MAGIC, frame(FrameKind.message, Buffer.alloc(3))], /first frame is no hello/],
      [
        [MAGIC, hello({ from: '4444444444444444', clusterId: '1111111111111111' })],
        /belongs to cluster 1111111111111111/,
      ],
      [
        [MAGIC, hello({ from: '5555555555555555', to: '2222222222222222' })],
        /looks for node 2222222222222222/,
      ],
      [[MAGIC, hello({ from: '3333333333333333' })], /node 3333333333333333 is no member/],
      [[MAGIC, hello({ oldestVersion: 8, newestVersion: 9 })], /protocol versions 8 to 9/],
      // Who knows all names, and then sends what no node sends.
      [[MAGIC, hello({}), withLength(0xffff_ffff)], /length of a frame was damaged/],
      [[MAGIC, hello({}), damaged(frame(FrameKind.alive, Buffer.alloc(9)))], /wrong checksum/],
      [[MAGIC, hello({}), frame(99 as FrameKind, Buffer.alloc(9))], /unknown kind 99/],
      [[MAGIC, hello({}), frame(FrameKind.message, Buffer.alloc(9, 0xff))], /malformed/],
      [[MAGIC, hello({}), frame(FrameKind.call, Buffer.alloc(2, 0xff))], /malformed/],
      [
        [MAGIC, hello({ channel: 3 }), frame(FrameKind.snapshotChunk, Buffer.alloc(99, 0xff))],
        /snapshot|malformed|chunk/,
      ],
    ];
    const writes = new SteadyWrites('p/');
    await until('writes are under way', () => writes.count > 10);
    for (const [i, [sends]] of attacks.entries()) {
      // Each from an address of its own: a host that repeats itself is not logged each time.
      const raw = new Raw(peerPort, `127.0.0.${2 + i}`);
      for (const bytes of sends) raw.socket.write(bytes);
      await raw.closed;
    }
    // Silent ones are cut off too, at the latest when too many are open.
    const silent = Array.from({ length: 300 }, () => new Raw(peerPort));
    await Promise.all(silent.map((raw) => raw.closed));
    await until('the cut peers are connected again', () => writes.count > 50);
    await writes.stop();
    for (const [, logged] of attacks) assert.match(victim.output, logged);
    assert.ok(writes.slowestMs < 1500, `a write took ${Math.round(writes.slowestMs)} ms`);
    assert.equal(await leaderAndTerm(), stable);
  });
});

describe('requests', () => {
  const post = async (path: string, body: object): Promise<{ code: number; message: string }> => {
    const url = `http://${cluster.endpoints[1]}/v3/${path}`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    return (await response.json()) as { code: number; message: string };
  };

  test('over 1.5 MiB are refused as etcd does, over 2 MiB before they are read', {
    timeout: 60_000,
  }, async () => {
    const session = connectHttp2(`http://${cluster.endpoints[0]}`);
    const put = async (bytes: number): Promise<[number, string]> => {
      const call = new TestCall(session, '/etcdserverpb.KV/Put');
      call.ended.catch(() => undefined);
      call.stream.end(
        envelope(PutRequest.encode(PutRequest.create({ key: 'big', value: 'v'.repeat(bytes) }))),
      );
      const { status, message } = await call.ended;
      return [status, message];
    };
    try {
      assert.deepEqual(await put(1.5 * MIB), [3, 'etcdserver: request is too large']);
      assert.deepEqual(await put(2 * MIB - 100), [3, 'etcdserver: request is too large']);
      const [status, message] = await put(3 * MIB);
      assert.equal(status, 8);
      assert.match(message, /^grpc: received message larger than max \(31457\d\d vs\. 2097152\)$/);
      assert.deepEqual(await put(1.5 * MIB - 200), [0, '']);
    } finally {
      session.destroy();
    }
    const value = (bytes: number): object => ({
      key: base64('j'),
      value: base64('v'.repeat(bytes)),
    });
    const between = await post('kv/put', value(1.7 * MIB));
    assert.deepEqual([between.code, between.message], [3, 'etcdserver: request is too large']);
    const over = await post('kv/put', value(2.5 * MIB));
    assert.notEqual(over.code, undefined, JSON.stringify(over));
    assert.equal(await kv.get('j'), undefined);
    assert.equal((await kv.get('big'))!.version, 1);
  });

  test('that make no sense get etcd’s code and text, and change nothing', {
    timeout: 60_000,
  }, async () => {
    await kv.put('sense', '1');
    for (let i = 0; i < 5; i++) await kv.put('sense', String(i));
    const { revision } = await kv.range('sense');
    await kv.compact(revision - 1);
    const key = base64('dup');
    const putOp = { requestPut: { key, value: key } };
    assert.equal((await post('lease/grant', { TTL: 60, ID: 77 })).code, undefined);
    const table: readonly [path: string, body: object, code: number, message: string][] = [
      ['kv/put', { value: key }, 3, 'etcdserver: key is not provided'],
      ['kv/range', {}, 3, 'etcdserver: key is not provided'],
      ['kv/deleterange', {}, 3, 'etcdserver: key is not provided'],
      ['kv/txn', { success: [putOp, putOp] }, 3, 'etcdserver: duplicate key given in txn request'],
      [
        'kv/txn',
        {
          success: Array.from({ length: 129 }, (_, i) => ({
            requestRange: { key: base64(`${i}`) },
          })),
        },
        3,
        'etcdserver: too many operations in txn request',
      ],
      ['lease/grant', { TTL: 60, ID: 77 }, 9, 'etcdserver: lease already exists'],
      ['lease/grant', { TTL: 9_000_000_001 }, 11, 'etcdserver: too large lease TTL'],
      ['lease/revoke', { ID: 78 }, 5, 'etcdserver: requested lease not found'],
      ['kv/put', { key, value: key, lease: 78 }, 5, 'etcdserver: requested lease not found'],
      [
        'kv/range',
        { key, revision: revision + 1000 },
        11,
        'etcdserver: mvcc: required revision is a future revision',
      ],
      [
        'kv/range',
        { key, revision: revision - 2 },
        11,
        'etcdserver: mvcc: required revision has been compacted',
      ],
      [
        'kv/compaction',
        { revision: revision - 2 },
        11,
        'etcdserver: mvcc: required revision has been compacted',
      ],
      [
        'kv/compaction',
        { revision: revision + 1000 },
        11,
        'etcdserver: mvcc: required revision is a future revision',
      ],
      ['kv/put', { key, value: key, ignore_value: true }, 3, 'etcdserver: value is provided'],
      ['kv/range', { key, sort_order: 7, sort_target: 9 }, 3, 'etcdserver: invalid sort option'],
    ];
    for (const [path, body, code, message] of table) {
      const answer = await post(path, body);
      assert.deepEqual([answer.code, answer.message], [code, message], path);
    }
    const after = await kv.range('dup');
    assert.deepEqual([after.revision, after.count], [revision, 0]);
  });
});

/** A stream opened by hand on a raw socket: `body` behind the headers. */
function handMadeStream(id: number, path: string, body: Buffer, endStream = false): Buffer {
  const { codes } = fieldBlock([
    { name: ':method', value: 'POST' },
    { name: ':scheme', value: 'http' },
    { name: ':path', value: path },
    { name: ':authority', value: 'x' },
    { name: 'content-type', value: 'application/grpc' },
    { name: 'te', value: 'trailers' },
  ]);
  const block = Buffer.concat(codes.map((code) => code.plain));
  return Buffer.concat([
    h2Frame(FrameType.headers, Flag.endHeaders, id, block),
    h2Frame(FrameType.data, endStream ? Flag.endStream : 0, id, body),
  ]);
}

function h2Frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  writeFrameHeader(header, 0, payload.length, type, flags, streamId);
  return Buffer.concat([header, payload]);
}

describe('connections', () => {
  test('with nonsense for frames or messages end with an error of their own', {
    timeout: 60_000,
  }, async () => {
    const target = cluster.members[2]!;
    const range = (flag: number, length?: number): Buffer => {
      const bytes = envelope(RangeRequest.encode(RangeRequest.create({ key: 'k' })), flag);
      if (length !== undefined) bytes.writeUInt32BE(length, 1);
      return bytes;
    };
    const start = Buffer.concat([PREFACE, settingsFrame([])]);
    const path = '/etcdserverpb.KV/Range';
    const random = Buffer.from(
      Array.from({ length: 5000 }, (_, i) => (i * 7919 + (i >> 3)) & 0xff),
    );
    const before = residentBytes(target);
    const writes = new SteadyWrites('g/');
    const closing: readonly Buffer[] = [
      Buffer.concat([PREFACE, random]),
      Buffer.concat([start, random]),
      Buffer.concat([start, h2Frame(FrameType.data, 0, 0, Buffer.alloc(9))]),
      Buffer.concat([start, h2Frame(FrameType.headers, Flag.endHeaders, 2, Buffer.alloc(9))]),
      Buffer.concat([
        start,
        h2Frame(FrameType.headers, Flag.endHeaders, 1, Buffer.alloc(99, 0xff)),
      ]),
      Buffer.concat([start, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])]),
      Buffer.concat([start, windowUpdateFrame(0, 0x7fff_ffff), windowUpdateFrame(0, 0x7fff_ffff)]),
      Buffer.concat([start, h2Frame(FrameType.pushPromise, 0, 1, Buffer.alloc(9))]),
      Buffer.from('\0\0\0\0 no protocol at all\r\n\r\n'),
      Buffer.from(`GET / HTTP/1.1\r\nx: ${'y'.repeat(200_000)}\r\n\r\n`),
    ];
    for (const bytes of closing) {
      const raw = new Raw(clientPort(target));
      raw.socket.write(bytes);
      await raw.closed;
    }
    const session = connectHttp2(`http://${target.endpoint}`);
    try {
      const answers: [Buffer, string][] = [
        [range(1), path],
        [range(0, 0xffff_ffff), path],
        [envelope(Buffer.alloc(50, 0xff)), path],
        [Buffer.alloc(3), path],
        [range(0), '/etcdserverpb.KV/Nothing'],
        [Buffer.alloc(0), path],
      ];
      for (const [body, where] of answers) {
        const call = new TestCall(session, where);
        call.stream.end(body);
        const { status } = await call.ended;
        assert.ok(status > 0, `${where} with ${body.subarray(0, 8).toString('hex')}: ${status}`);
      }
      const fine = new TestCall(session, path);
      fine.stream.end(range(0));
      assert.equal((await fine.ended).status, 0, 'the same connection serves on');
    } finally {
      session.destroy();
    }
    await writes.stop();
    assert.ok(writes.slowestMs < 1000, `a write took ${Math.round(writes.slowestMs)} ms`);
    assert.ok(residentBytes(target) - before < 100 * MIB);
  });

  test('10,000 idle ones cost little memory and nobody’s time', { timeout: 60_000 }, async (t) => {
    const hard = mostOpenFiles();
    const count = Math.min(10_000, hard - 1000);
    if (count < 10_000) t.diagnostic(`only ${count}: the system allows ${hard} open files`);
    const target = await cluster.awaitLeader();
    const near = etcdKv({ endpoints: [target.endpoint] });
    const before = residentBytes(target);
    const sockets: Socket[] = [];
    try {
      const start = Buffer.concat([PREFACE, settingsFrame([])]);
      for (let opened = 0; opened < count; opened += 250) {
        const batch = Array.from({ length: Math.min(250, count - opened) }, (_, i) => {
          const socket = connect(clientPort(target), '127.0.0.1');
          sockets.push(socket);
          socket.on('error', () => undefined);
          socket.resume();
          // Two in three are idle gRPC clients, the others have not said anything.
          if (i % 3 !== 0) socket.write(start);
          return new Promise<void>((resolve, reject) => {
            socket.once('connect', resolve);
            socket.once('close', () => reject(new Error('an idle connection was closed')));
          });
        });
        await Promise.all(batch);
      }
      const each = (residentBytes(target) - before) / count;
      const times: number[] = [];
      for (let i = 0; i < 200; i++) {
        const startedAt = performance.now();
        await (i % 2 === 0 ? near.put('idle', String(i)) : near.get('idle'));
        times.push(performance.now() - startedAt);
      }
      times.sort((a, b) => a - b);
      t.diagnostic(
        `${count} connections, ${(each / 1024).toFixed(1)} KiB each; p50 ${times[100]!.toFixed(1)} ms, p99 ${times[198]!.toFixed(1)} ms`,
      );
      assert.ok(each < 24 * 1024, `${Math.round(each)} bytes for an idle connection`);
      assert.ok(times[198]! < 300, `p99 ${times[198]} ms`);
      assert.ok(sockets.every((socket) => !socket.destroyed));
    } finally {
      for (const socket of sockets) socket.destroy();
      await near.close();
    }
  });

  test('whose client never reads its watches neither fill the node nor lose an event', {
    timeout: 60_000,
  }, async (t) => {
    const WATCHES = 20;
    const VALUE = Buffer.alloc(20_000, 'v');
    const ROUNDS = 600;
    const [target, other] = cluster.members as [Member, Member, Member];
    const socket = connect(clientPort(target), '127.0.0.1');
    const { revision } = await kv.range('busy/');
    try {
      const create = Buffer.concat(
        Array.from({ length: WATCHES }, () =>
          envelope(
            WatchRequest.encode(
              WatchRequest.create({
                createRequest: {
                  key: 'busy/',
                  rangeEnd: 'busy0',
                  startRevision: revision + 1,
                  progressNotify: false,
                  filters: [],
                  prevKv: true,
                  watchId: 0,
                  fragment: false,
                },
              }),
            ),
          ),
        ),
      );
      socket.write(
        Buffer.concat([
          PREFACE,
          settingsFrame([[Setting.initialWindowSize, 0x7fff_ffff]]),
          windowUpdateFrame(0, 0x7fff_0000),
          handMadeStream(1, '/etcdserverpb.Watch/Watch', create),
        ]),
      );
      socket.pause();
      const [mine, theirs] = [residentBytes(target), residentBytes(other)];
      const fast = kv.watch({ prefix: 'busy/' });
      await fast.created;
      let seen = 0;
      const following = (async () => {
        for await (const batch of fast) {
          seen += batch.events.length;
          if (seen >= ROUNDS) return;
        }
      })();
      let next = 0;
      let slowestMs = 0;
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (next < ROUNDS) {
            const startedAt = performance.now();
            await kv.put(`busy/${next++}`, VALUE);
            slowestMs = Math.max(slowestMs, performance.now() - startedAt);
          }
        }),
      );
      await following;
      const more = residentBytes(target) - mine - (residentBytes(other) - theirs);
      t.diagnostic(
        `${(more / MIB).toFixed(0)} MiB more than a node without; slowest put ${slowestMs.toFixed(0)} ms`,
      );
      assert.ok(more < 200 * MIB, `${Math.round(more / MIB)} MiB for a client that does not read`);
      assert.ok(slowestMs < 2000, `a put took ${Math.round(slowestMs)} ms`);

      const counter = new EventCounter(WATCHES);
      socket.on('data', (chunk: Buffer) => counter.push(chunk));
      socket.resume();
      await until('it has got everything', () => counter.least >= ROUNDS, 20_000);
      assert.deepEqual(new Set(counter.counts), new Set([ROUNDS]));
      assert.ok(counter.inOrder, 'each watch is in order and without repetition');
    } finally {
      socket.destroy();
    }
  });
});

/** Reads the frames of one watch stream and counts events for each watch id. */
class EventCounter {
  readonly counts: number[];
  inOrder = true;
  readonly #last: number[];
  /** Bytes of the frame that is arriving, its header included. */
  #frame: Buffer = Buffer.alloc(0);
  #message: Buffer[] = [];
  #messageBytes = 0;

  constructor(watches: number) {
    this.counts = new Array<number>(watches).fill(0);
    this.#last = new Array<number>(watches).fill(0);
  }

  get least(): number {
    return Math.min(...this.counts);
  }

  push(chunk: Buffer): void {
    const bytes = Buffer.concat([this.#frame, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + bytes.readUIntBE(at, 3);
      if (end > bytes.length) break;
      if (bytes[at + 3] === FrameType.data) {
        this.#data(bytes.subarray(at + FRAME_HEADER_BYTES, end));
      }
      at = end;
    }
    this.#frame = bytes.subarray(at);
  }

  #data(bytes: Buffer): void {
    this.#message.push(bytes);
    this.#messageBytes += bytes.length;
    for (;;) {
      if (this.#messageBytes < 5) return;
      if (this.#message[0]!.length < 5) this.#message = [Buffer.concat(this.#message)];
      const end = 5 + this.#message[0]!.readUInt32BE(1);
      if (this.#messageBytes < end) return;
      const whole = Buffer.concat(this.#message);
      this.#take(whole.subarray(5, end));
      this.#message = [whole.subarray(end)];
      this.#messageBytes -= end;
    }
  }

  #take(message: Buffer): void {
    const response = WatchResponse.decode(message);
    const id = Number(response.watchId);
    for (const event of response.events) {
      const revision = Number(event.kv!.modRevision);
      if (revision <= this.#last[id]!) this.inOrder = false;
      this.#last[id] = revision;
      this.counts[id]! += 1;
    }
  }
}
