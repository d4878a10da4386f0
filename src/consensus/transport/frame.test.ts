import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { FrameKind, FrameReader, HEADER_BYTES, MAGIC, OutFrame, writeFrame } from './frame.ts';

/** A connection's bytes: the magic, then one frame a content. */
function stream(contents: readonly Buffer[]): Buffer {
  const frames = contents.map((body) => new OutFrame(FrameKind.call, undefined, undefined, body));
  const out = Buffer.alloc(MAGIC.length + frames.reduce((sum, frame) => sum + frame.bytes, 0));
  let at = MAGIC.copy(out);
  for (const frame of frames) at = writeFrame(out, at, frame);
  assert.equal(at, out.length);
  return out;
}

function readAll(chunks: readonly Buffer[], maxFrameBytes = 1 << 20): Buffer[] {
  const contents: Buffer[] = [];
  const reader = new FrameReader((content) => contents.push(Buffer.from(content.subarray(1))));
  reader.maxFrameBytes = maxFrameBytes;
  for (const chunk of chunks) reader.push(chunk);
  return contents;
}

describe('frames', () => {
  const contents = [0, 1, 100, 70_000, 3, 5000].map((size, i) => Buffer.alloc(size, i + 1));

  it('come out as they went in, however the bytes are cut', () => {
    const bytes = stream(contents);
    const random = seededRandom(1);
    for (let round = 0; round < 100; round++) {
      const largest = [1, 7, 9, 1000, 100_000][round % 5]!;
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; ) {
        const end = Math.min(bytes.length, at + 1 + random.below(largest));
        chunks.push(bytes.subarray(at, end));
        at = end;
        if (largest < 10 && at > 500) chunks.push(bytes.subarray(at)) && (at = bytes.length);
      }
      assert.deepEqual(readAll(chunks), contents);
    }
  });

  it('that were completed over several reads own their memory', () => {
    const bytes = stream([Buffer.alloc(1000, 7)]);
    const [first, second] = [Buffer.from(bytes.subarray(0, 500)), Buffer.from(bytes.subarray(500))];
    let kept: Buffer | undefined;
    const reader = new FrameReader((content, owned) => {
      assert.equal(owned, true);
      kept = content;
    });
    reader.push(first);
    reader.push(second);
    first.fill(0);
    second.fill(0);
    assert.ok(kept!.subarray(1).every((byte) => byte === 7));
  });

  it('with any single bit turned over are never delivered', () => {
    const bytes = stream([Buffer.from('some content')]);
    for (let bit = MAGIC.length * 8; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      let delivered: Buffer[] = [];
      try {
        delivered = readAll([damaged]);
      } catch (error) {
        assert.ok(isQuorateError(error, 'ERR_PROTOCOL'));
      }
      assert.deepEqual(delivered, [], `bit ${bit}`);
    }
  });

  it('whose length was damaged are found at once, not when so many bytes have come', () => {
    const bytes = stream([Buffer.from('some content')]);
    for (let bit = MAGIC.length * 8; bit < (MAGIC.length + 8) * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => readAll([damaged.subarray(0, MAGIC.length + HEADER_BYTES)]), {
        code: 'ERR_PROTOCOL',
        message: /length of a frame was damaged/,
      });
    }
  });

  it('that claim 4 GB are refused before a byte of them is collected', () => {
    const bytes = stream([Buffer.from('x')]);
    bytes.writeUInt32LE(0xffff_ffff, MAGIC.length);
    bytes.writeUInt32LE(0, MAGIC.length + 4);
    assert.throws(() => readAll([bytes.subarray(0, MAGIC.length + HEADER_BYTES)]), {
      code: 'ERR_PROTOCOL',
      message: /claims 4294967295 bytes/,
    });
  });

  it('of no length at all are refused', () => {
    assert.throws(() => readAll([Buffer.concat([MAGIC, Buffer.alloc(HEADER_BYTES)])]), {
      code: 'ERR_PROTOCOL',
    });
  });

  it('before the hello may not be large', () => {
    const reader = new FrameReader(() => assert.fail('delivered'));
    assert.throws(() => reader.push(stream([Buffer.alloc(2000)])), { code: 'ERR_PROTOCOL' });
  });

  it('are not looked for in what speaks another protocol, whose name the error says', () => {
    const cases: [string | Buffer, RegExp][] = [
      ['GET / HTTP/1.1\r\n\r\n', /speaks HTTP/],
      ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /speaks HTTP/],
      [Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]), /speaks TLS/],
      ['QRTX', /unknown protocol/],
    ];
    for (const [start, message] of cases) {
      assert.throws(() => readAll([Buffer.from(start as string)]), {
        code: 'ERR_PROTOCOL',
        message,
      });
    }
  });

  it('of random bytes are refused and never crash the reader', () => {
    const random = seededRandom(3);
    for (let round = 0; round < 2000; round++) {
      const noise = Buffer.from(Array.from({ length: 64 }, () => random.below(256)));
      const bytes = round % 2 === 0 ? Buffer.concat([MAGIC, noise]) : noise;
      try {
        assert.deepEqual(readAll([bytes], 40), []);
      } catch (error) {
        assert.ok(isQuorateError(error, 'ERR_PROTOCOL'), String(error));
      }
    }
  });

  it('after the reader was stopped are not delivered', () => {
    let seen = 0;
    const reader = new FrameReader(() => {
      seen += 1;
      reader.stop();
    });
    reader.push(stream([Buffer.from('a'), Buffer.from('b')]));
    assert.equal(seen, 1);
  });
});
