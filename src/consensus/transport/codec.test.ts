import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import type { PeerMessage } from '../messages.ts';
import { MessageType } from '../messages.ts';
import type { Entry } from '../types.ts';
import {
  Channel,
  decodeCall,
  decodeCallId,
  decodeError,
  decodeHello,
  decodeSnapshotBegin,
  decodeWelcome,
  encodeCallHead,
  encodeError,
  encodeHello,
  encodeSnapshotBegin,
  encodeWelcome,
  messageBytes,
  readMessage,
  writeMessage,
} from './codec.ts';

const A = '00000000000000aa';
const B = 'ffffffffffffffff';

const random = seededRandom(11);
const anyNumber = (): number => random.below(2 ** 21) * 2 ** 32 + random.below(2 ** 32);

function anyMessage(): PeerMessage {
  const entries: Entry[] = Array.from({ length: random.below(4) }, () => ({
    type: random.below(2) === 0 ? 0 : 1,
    term: anyNumber(),
    index: anyNumber(),
    data: Buffer.alloc(random.below(40), random.below(256)),
  }));
  return {
    type: (1 + random.below(12)) as MessageType,
    from: A,
    to: B,
    term: anyNumber(),
    index: anyNumber(),
    logTerm: anyNumber(),
    entries,
    commit: anyNumber(),
    reject: random.below(2) === 1,
    hintIndex: anyNumber(),
    hintTerm: anyNumber(),
    context: anyNumber(),
    force: random.below(2) === 1,
  };
}

function encode(message: PeerMessage): Buffer {
  const out = Buffer.alloc(messageBytes(message));
  assert.equal(writeMessage(out, 0, message), out.length);
  return out;
}

const METADATA = { index: 5, term: 2, configuration: { voters: [A, B], learners: [] } };
const JOINT = { outgoing: [A], learnersNext: [A], autoLeave: true };
const JOINT_METADATA = { ...METADATA, configuration: { voters: [B], learners: [], joint: JOINT } };

describe('the codec', () => {
  it('decodes any message to what it was', () => {
    for (let round = 0; round < 500; round++) {
      const message = anyMessage();
      assert.deepEqual(readMessage(encode(message), 0, A, B), message);
    }
  });

  it('keeps the largest whole number exact and refuses one above', () => {
    const bytes = encode({ ...anyMessage(), entries: [], term: Number.MAX_SAFE_INTEGER });
    assert.equal(readMessage(bytes, 0, A, B).term, Number.MAX_SAFE_INTEGER);
    bytes.writeUInt32LE(0x20_0000, 6);
    assert.throws(() => readMessage(bytes, 0, A, B), { code: 'ERR_PROTOCOL' });
  });

  it('refuses an unknown type, flag or entry type, and bytes after the end', () => {
    const message = {
      ...anyMessage(),
      entries: [{ type: 0, term: 1, index: 1, data: Buffer.of(1) }],
    };
    for (const [at, value] of [
      [0, 0],
      [0, 200],
      [1, 4],
      [62, 200],
    ] as const) {
      const bytes = encode(message as PeerMessage);
      bytes[at] = value;
      assert.throws(() => readMessage(bytes, 0, A, B), { code: 'ERR_PROTOCOL' }, `byte ${at}`);
    }
    const longer = Buffer.concat([encode(message as PeerMessage), Buffer.of(0)]);
    assert.throws(() => readMessage(longer, 0, A, B), { code: 'ERR_PROTOCOL' });
  });

  it('carries hello, welcome, call and the begin of a snapshot unchanged', () => {
    const hello = {
      oldestVersion: 1,
      newestVersion: 3,
      clusterId: B,
      from: A,
      to: '0123456789abcdef',
      incarnation: B,
      urls: ['http://10.0.0.1:2380', 'http://[::1]:2380'],
      channel: Channel.bulk,
      consensus: 'paxos' as const,
      leases: 'leases of 9 ms, clocks within 0.1',
    };
    assert.deepEqual(decodeHello(encodeHello(hello), 0), hello);
    const welcome = { version: 1, clusterId: B, nodeId: A, refused: 'no, sorry: é' };
    assert.deepEqual(decodeWelcome(encodeWelcome(welcome), 0), welcome);
    const call = Buffer.concat([encodeCallHead(0xffff_fffe, 'méthod'), Buffer.from('payload')]);
    const decoded = decodeCall(call, 0);
    assert.deepEqual([decoded.callId, decoded.method], [0xffff_fffe, 'méthod']);
    assert.equal(decoded.payload.toString(), 'payload');
    const message = { ...anyMessage(), type: MessageType.snapshot };
    assert.deepEqual(
      decodeSnapshotBegin(encodeSnapshotBegin(message, JOINT_METADATA), 0, A, B).metadata,
      JOINT_METADATA,
    );
    assert.deepEqual(decodeSnapshotBegin(encodeSnapshotBegin(message, METADATA), 0, A, B), {
      message,
      metadata: METADATA,
    });
  });

  it('makes any other thing thrown an internal error with an unknown outcome', () => {
    const error = decodeError(encodeError(new TypeError('oops')), 0);
    assert.equal(error.code, 'ERR_INTERNAL');
    assert.equal(error.outcome, 'unknown');
    assert.match(error.message, /oops/);
  });

  it('cuts the text of an error that is too long', () => {
    const error = decodeError(encodeError(new QuorateError('ERR_BUSY', 'x'.repeat(10_000))), 0);
    assert.equal(error.message.length, 4096);
  });

  it('answers bytes that are cut off or changed with a protocol error and nothing else', () => {
    const message = anyMessage();
    const samples: [Buffer, (bytes: Buffer) => unknown][] = [
      [encode(message), (bytes) => readMessage(bytes, 0, A, B)],
      [
        encodeHello({
          oldestVersion: 1,
          newestVersion: 1,
          clusterId: A,
          from: A,
          to: B,
          incarnation: A,
          urls: [],
          consensus: 'raft',
          leases: 'leases of 1 ms',
          channel: Channel.control,
        }),
        (bytes) => decodeHello(bytes, 0),
      ],
      [
        encodeWelcome({ version: 1, clusterId: A, nodeId: B, refused: 'because' }),
        (bytes) => decodeWelcome(bytes, 0),
      ],
      [encodeCallHead(1, 'method'), (bytes) => decodeCall(bytes, 0)],
      [Buffer.alloc(4), (bytes) => decodeCallId(bytes, 0)],
      [
        encodeError(new QuorateError('ERR_COMPACTED', 'gone', { compactRevision: 4 })),
        (bytes) => decodeError(bytes, 0),
      ],
      [
        encodeSnapshotBegin(message, JOINT_METADATA),
        (bytes) => decodeSnapshotBegin(bytes, 0, A, B),
      ],
    ];
    for (const [bytes, decode] of samples) {
      const attempts: Buffer[] = [];
      for (let length = 0; length < bytes.length; length++)
        attempts.push(bytes.subarray(0, length));
      for (let round = 0; round < 1000; round++) {
        const changed = Buffer.from(bytes);
        changed[random.below(changed.length)] = random.below(256);
        changed[random.below(changed.length)] = random.below(256);
        attempts.push(changed);
      }
      for (const attempt of attempts) {
        try {
          decode(attempt);
        } catch (error) {
          assert.ok(isQuorateError(error, 'ERR_PROTOCOL'), String(error));
        }
      }
    }
  });
});
