import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import protobuf from 'protobufjs';
import { isQuorateError } from '../core/errors.ts';
import { type Random, seededRandom } from '../core/random.ts';
import * as etcd from './etcd.ts';
import { type AnyMessageType, type Field, type MessageType, messageType } from './message.ts';

const schema = protobuf.parse(
  readFileSync(new URL('testdata/etcd.proto', import.meta.url), 'utf8'),
  { keepCase: true },
).root;

const types = Object.values(etcd).filter(
  (one): one is AnyMessageType & typeof one => typeof one === 'object' && 'decode' in one,
) as unknown as AnyMessageType[];

type Loose = Record<string, unknown>;

function reference(type: AnyMessageType): protobuf.Type {
  return schema.lookupType(`etcd.${type.name.slice(type.name.lastIndexOf('.') + 1)}`);
}

const NUMBERS = [0, 1, 2, 127, 128, 300, 16_383, 16_384, 2_097_152, 2 ** 31 - 1, 2 ** 31, 2 ** 32];
const LARGE = [-1, -(2 ** 31), -(2 ** 52), 2 ** 35, 2 ** 42, 2 ** 49, Number.MAX_SAFE_INTEGER];
const IDS = [0n, 1n, 127n, 128n, 2n ** 32n, 2n ** 35n, 2n ** 42n, 2n ** 49n, 2n ** 56n, 2n ** 63n];

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)]!;
}

function randomBytes(random: Random): string {
  const length = pick(random, [0, 1, 5, 16, 17, 200]);
  return Array.from({ length }, () => String.fromCharCode(random.below(256))).join('');
}

function randomValue(random: Random, field: Field, depth: number): unknown {
  switch (field.kind) {
    case 'bool':
      return random.below(2) === 1;
    case 'enum':
      return random.below(field.values!.length);
    case 'int32':
    case 'uint32':
      return pick(random, [0, 1, 128, 2 ** 31 - 1]);
    case 'int64':
      return pick(random, [...NUMBERS, ...LARGE]);
    case 'watchId':
      return pick(random, [...NUMBERS, -1]);
    case 'uint64':
      return pick(random, [...NUMBERS, ...LARGE.filter((one) => one > 0)]);
    case 'id':
      return pick(random, [...IDS, 2n ** 64n - 1n]);
    case 'lease':
      return BigInt.asIntN(64, pick(random, [...IDS, -1n, -5n]));
    case 'bytes':
      return randomBytes(random);
    case 'string':
      return pick(random, ['', 'a', 'größer', '版本', 'x'.repeat(300)]);
    case 'message':
      return randomMessage(random, field.message!(), depth + 1);
  }
}

function randomMessage(random: Random, type: AnyMessageType, depth = 0): Loose {
  const message = type.create() as Loose;
  if (type.name === 'membershippb.ClusterMemberAttrSetRequest') {
    return Object.assign(message, { memberId: 5n, name: 'n', clientUrls: ['http://a'] });
  }
  const members = type.fields.filter((field) => field.oneof);
  const member = members.length === 0 ? undefined : pick(random, members);
  for (const field of type.fields) {
    if (field.oneof && field !== member) continue;
    if (random.below(4) === 0 && type.name !== 'etcdserverpb.Compare') continue;
    if (field.kind === 'message' && depth > 4) continue;
    message[field.name] = field.repeated
      ? Array.from({ length: random.below(4) }, () => randomValue(random, field, depth))
      : randomValue(random, field, depth);
  }
  if (type.name === 'etcdserverpb.Compare') message['target'] = member!.number - 4;
  return message;
}

/** The message as protobufjs takes it: `.proto` names, no zero fields. */
function toReference(type: AnyMessageType, message: Loose): Loose {
  const plain: Loose = {};
  if (type.name === 'membershippb.ClusterMemberAttrSetRequest') {
    const { memberId, name, clientUrls } = message;
    return {
      member_ID: String(memberId),
      member_attributes: { name, client_urls: clientUrls },
    };
  }
  for (const field of type.fields) {
    const value = message[field.name];
    if (field.repeated) {
      const values = (value as unknown[]).map((one) => valueToReference(field, one));
      if (values.length > 0) plain[field.protoName] = values;
    } else if (isSent(type, message, field)) {
      plain[field.protoName] = valueToReference(field, value);
    }
  }
  return plain;
}

function isSent(type: AnyMessageType, message: Loose, field: Field): boolean {
  const value = message[field.name];
  if (type.name === 'etcdserverpb.Compare' && field.oneof) {
    return field.number === (message['target'] as number) + 4;
  }
  return ![undefined, 0, '', false, 0n].includes(value as undefined);
}

function valueToReference(field: Field, value: unknown): unknown {
  if (field.kind === 'message') return toReference(field.message!(), value as Loose);
  if (field.kind === 'bytes') return Buffer.from(value as string, 'latin1').toString('base64');
  if (typeof value === 'bigint') return String(value);
  if (['int64', 'uint64', 'watchId'].includes(field.kind)) return String(value);
  return value;
}

function refuses(decode: () => unknown): void {
  assert.throws(decode, (error) => isQuorateError(error, 'ERR_PROTOCOL'));
}

describe('codecs of the etcd API', () => {
  test('every message of the reference schema has a codec with the same fields', () => {
    for (const type of types) {
      const expected = reference(type).fieldsArray.map((one) => [one.id, one.name, one.repeated]);
      const fields = type.fields.map((one) => [one.number, one.protoName, one.repeated]);
      // Two responses carry a header that etcd never sets.
      if (type.name === 'etcdserverpb.MoveLeaderResponse') continue;
      assert.deepEqual(
        fields,
        expected.sort((a, b) => Number(a[0]) - Number(b[0])),
        type.name,
      );
    }
    assert.ok(types.length > 45);
  });

  for (const type of types) {
    test(`${type.name} is written and read as an independent codec does it`, () => {
      const random = seededRandom(type.fields.length + 7);
      const other = reference(type);
      for (let round = 0; round < 60; round++) {
        const message = randomMessage(random, type);
        const plain = toReference(type, message);
        const theirs = Buffer.from(other.encode(other.fromObject(plain)).finish());
        const ours = type.encode(message);
        assert.equal(ours.toString('hex'), theirs.toString('hex'));
        assert.deepEqual(type.decode(theirs), message);
        const read = other.toObject(other.decode(ours), { longs: String, bytes: String });
        assert.deepEqual(read, plain);
      }
    });
  }

  test('hand-written code writes and reads what the loops over the fields do', () => {
    const random = seededRandom(11);
    for (const type of types) {
      if (type.name === 'etcdserverpb.Compare') continue;
      const loops = messageType(type.name, type.fields, () => type.create());
      for (let round = 0; round < 20; round++) {
        const message = randomMessage(random, type);
        const bytes = type.encode(message);
        assert.equal(loops.encode(message).toString('hex'), bytes.toString('hex'), type.name);
        assert.deepEqual(loops.decode(bytes), message);
      }
    }
  });

  test('a message is written at an offset and read from between two positions', () => {
    const message = etcd.PutRequest.create({ key: 'k', value: 'v', lease: -7n });
    const buffer = Buffer.alloc(64, 0xff);
    const end = etcd.PutRequest.encodeTo(buffer, 5, message);
    assert.equal(end, 5 + etcd.PutRequest.size(message));
    assert.deepEqual(etcd.PutRequest.decode(buffer, 5, end), message);
    assert.equal(buffer[end], 0xff);
  });

  test('a member of a oneof that is set but empty is sent', () => {
    const request = etcd.WatchRequest.create({ progressRequest: {} });
    assert.equal(etcd.WatchRequest.encode(request).toString('hex'), '1a00');
    assert.deepEqual(etcd.WatchRequest.decode(Buffer.from('1a00', 'hex')), request);
    const compare = etcd.Compare.create({ key: 'k', target: 1 });
    assert.equal(etcd.Compare.encode(compare).toString('hex'), '10011a016b2800');
  });

  test('of several members of a oneof the last one on the wire counts', () => {
    const put = etcd.RequestOp.encode(
      etcd.RequestOp.create({ requestPut: etcd.PutRequest.create({ key: 'a' }) }),
    );
    const range = etcd.RequestOp.encode(
      etcd.RequestOp.create({ requestRange: etcd.RangeRequest.create({ key: 'b' }) }),
    );
    const op = etcd.RequestOp.decode(Buffer.concat([put, range]));
    assert.equal(op.requestPut, undefined);
    assert.equal(op.requestRange?.key, 'b');
  });

  test('a message that comes in two parts is merged', () => {
    const first = etcd.PutResponse.encode({
      header: etcd.ResponseHeader.create({ revision: 5 }),
      prevKv: undefined,
    });
    const second = etcd.PutResponse.encode({
      header: etcd.ResponseHeader.create({ memberId: 9n }),
      prevKv: undefined,
    });
    const { header } = etcd.PutResponse.decode(Buffer.concat([first, second]));
    assert.deepEqual(header, { clusterId: 0n, memberId: 9n, revision: 5, raftTerm: 0 });
  });

  test('filters are read packed and one by one', () => {
    const packed = etcd.WatchCreateRequest.decode(Buffer.from('2a020001', 'hex'));
    const single = etcd.WatchCreateRequest.decode(Buffer.from('28002801', 'hex'));
    assert.deepEqual(packed.filters, [0, 1]);
    assert.deepEqual(single.filters, [0, 1]);
  });

  test('unknown fields of every wire type are skipped', () => {
    const unknown = Buffer.from(
      'f80301' + 'fa03026162' + 'f9030102030405060708' + 'fd0301020304',
      'hex',
    );
    const known = etcd.PutRequest.encode(etcd.PutRequest.create({ key: 'k' }));
    for (const type of types) type.decode(unknown);
    assert.equal(etcd.PutRequest.decode(Buffer.concat([unknown, known, unknown])).key, 'k');
  });

  test('an event that was encoded once is sent with those bytes', () => {
    const event = etcd.Event.create({ kv: etcd.KeyValue.create({ key: 'k', modRevision: 4 }) });
    const plain = etcd.WatchResponse.encode(
      etcd.WatchResponse.create({ watchId: 3, events: [event] }),
    );
    const bytes = etcd.encodeEventOnce(event);
    assert.equal(etcd.encodeEventOnce(event), bytes);
    assert.equal(event.encoded, bytes);
    // Proof that the bytes are used: the event itself no longer says the same.
    event.kv.value = 'changed';
    const shared = etcd.WatchResponse.encode(
      etcd.WatchResponse.create({ watchId: 3, events: [event] }),
    );
    assert.deepEqual(shared, plain);
  });
});

describe('numbers on the wire', () => {
  test('an int64 beyond 2^53 reads as the largest safe number, of either sign', () => {
    const max = Buffer.from('18ffffffffffffffff7f', 'hex');
    const min = Buffer.from('1880808080808080808001', 'hex');
    assert.equal(etcd.RangeRequest.decode(max).limit, Number.MAX_SAFE_INTEGER);
    assert.equal(etcd.RangeRequest.decode(min).limit, Number.MIN_SAFE_INTEGER);
  });

  test('a watch id beyond 2^53 is refused', () => {
    refuses(() => etcd.WatchCancelRequest.decode(Buffer.from('08ffffffffffffffff7f', 'hex')));
  });

  test('a number that is no safe integer is not written', () => {
    for (const revision of [2 ** 53, Number.NaN, -(2 ** 53)]) {
      const message = etcd.CompactionRequest.create({ revision });
      assert.throws(() => etcd.CompactionRequest.encode(message), { code: 'ERR_INTERNAL' });
    }
  });
});

describe('malformed messages', () => {
  const cases: [what: string, type: AnyMessageType, hex: string][] = [
    ['a length past the end', etcd.PutRequest, '0a05616263'],
    ['a length of 4 GB', etcd.PutRequest, '0affffffff0f61'],
    ['a length beyond 32 bits', etcd.PutRequest, '0a818080801061'],
    ['a number cut off', etcd.PutRequest, '1880'],
    ['a number of eleven bytes', etcd.PutRequest, '18ffffffffffffffffffff01'],
    ['a number of 70 bits', etcd.PutRequest, '18ffffffffffffffffff7f'],
    ['a tag cut off', etcd.PutRequest, '80'],
    ['field number 0', etcd.PutRequest, '0001'],
    ['a group', etcd.PutRequest, '7b7c'],
    ['a known field with a foreign wire type', etcd.PutRequest, '0801'],
    ['the same, read by the loops', etcd.LeaseGrantRequest, '0a0161'],
    ['an embedded message past the end of its outer one', etcd.PutResponse, '0a020803'.slice(0, 6)],
    ['a field past the end of the embedded message', etcd.PutResponse, '120312056162636465'],
    ['eight bytes cut off', etcd.PutRequest, 'f903010203'],
  ];
  for (const [what, type, hex] of cases) {
    test(`${what} is refused with ERR_PROTOCOL`, () => {
      refuses(() => type.decode(Buffer.from(hex, 'hex')));
    });
  }

  test('a transaction nested without end is refused, one that etcd accepts is read', () => {
    const nest = (levels: number): Buffer => {
      let bytes: Buffer = Buffer.alloc(0);
      for (let i = 0; i < levels; i++) {
        const op = etcd.RequestOp.encode(etcd.RequestOp.create());
        assert.equal(op.length, 0);
        bytes = wrap(0x12, wrap(0x22, bytes));
      }
      return bytes;
    };
    assert.equal(etcd.TxnRequest.decode(nest(128)).success.length, 1);
    refuses(() => etcd.TxnRequest.decode(nest(2_000)));
  });

  test('damaged bytes are refused or read, and nothing else is thrown', () => {
    const random = seededRandom(3);
    for (const type of types) {
      for (let round = 0; round < 60; round++) {
        const bytes = type.encode(randomMessage(random, type));
        const cut = Buffer.from(bytes.subarray(0, random.below(bytes.length + 1)));
        for (let i = random.below(4); i > 0 && cut.length > 0; i--) {
          cut[random.below(cut.length)] = random.below(256);
        }
        decodeOrRefuse(type, cut);
      }
    }
  });
});

function wrap(tag: number, bytes: Buffer): Buffer {
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([tag, ...length, rest]), bytes]);
}

function decodeOrRefuse(type: MessageType<object>, bytes: Buffer): void {
  try {
    type.decode(bytes);
  } catch (error) {
    assert.ok(isQuorateError(error, 'ERR_PROTOCOL'), String(error));
  }
}
