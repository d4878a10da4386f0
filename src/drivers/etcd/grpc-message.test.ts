import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import test from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import * as codec from '../../proto/etcd.ts';
import {
  foreignAnswer,
  frameMessage,
  MessageReader,
  percentDecoded,
  statusOf,
} from './grpc-message.ts';

/** Pushes `data` in chunks that end at `cuts`; returns the messages as text. */
function read(data: Buffer, cuts: readonly number[]): string[] {
  const messages: string[] = [];
  const reader = new MessageReader(1 << 20, (buffer, start, end) =>
    messages.push(buffer.latin1Slice(start, end)),
  );
  let from = 0;
  for (const cut of [...cuts, data.length]) {
    reader.push(data.subarray(from, cut));
    from = cut;
  }
  return messages;
}

const framed = (text: string): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(text.length, 1);
  return Buffer.concat([prefix, Buffer.from(text, 'latin1')]);
};

test('messages come out whole however the data was split', () => {
  const texts = ['', 'a', 'bc', 'x'.repeat(300), '', 'last'];
  const data = Buffer.concat(texts.map(framed));
  for (let cut = 0; cut <= data.length; cut++) assert.deepEqual(read(data, [cut]), texts);
  const everywhere = Array.from({ length: data.length - 1 }, (_, i) => i + 1);
  assert.deepEqual(read(data, everywhere), texts);
  const random = seededRandom(7);
  for (let round = 0; round < 200; round++) {
    const cuts = Array.from({ length: random.below(9) }, () => random.below(data.length + 1));
    assert.deepEqual(
      read(
        data,
        cuts.sort((a, b) => a - b),
      ),
      texts,
    );
  }
});

test('a length over the bound is refused before anything is kept for it', () => {
  const reader = new MessageReader(100, () => assert.fail('there is no message'));
  const refused = (error: unknown): boolean => isQuorateError(error, 'ERR_PROTOCOL');
  assert.throws(() => reader.push(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])), refused);
  assert.throws(() => reader.push(framed('x'.repeat(101))), refused);
});

test('a framed message is a flag, its length and its bytes', () => {
  const frame = frameMessage(codec.LeaseKeepAliveRequest, { id: 5n });
  assert.deepEqual([...frame], [0, 0, 0, 0, 2, 8, 5]);
});

test('a status is read with its text decoded', () => {
  const status = { 'grpc-status': '3', 'grpc-message': 'a%20b%C3%A9 %zz 100%' };
  assert.deepEqual(statusOf(status), { code: 3, text: 'a bé %zz 100%' });
  assert.deepEqual(statusOf({ 'grpc-status': 'x' }), { code: 2, text: '' });
  assert.equal(statusOf({}), undefined);
  assert.equal(percentDecoded('plain'), 'plain');
});

test('what is no gRPC is told apart by status and content type', () => {
  const foreign = (status: number, type?: string): string | undefined => {
    const headers: Record<string, string | number | undefined> = { ':status': status };
    if (type !== undefined) headers['content-type'] = type;
    return foreignAnswer(headers as IncomingHttpHeaders & IncomingHttpStatusHeader);
  };
  assert.equal(foreign(200, 'application/grpc+proto'), undefined);
  assert.equal(foreign(404, 'application/grpc'), 'HTTP status 404');
  assert.equal(foreign(200), 'content of type unknown');
});
