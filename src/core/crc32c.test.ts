import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from './crc32c.ts';

test('the check vectors of RFC 3720 §B.4 hold', () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i))), 0x113fdb5c);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

test('a checksum continues over any split of the data', () => {
  const data = Buffer.from('the quick brown fox jumps over the lazy dog');
  for (let cut = 0; cut <= data.length; cut++) {
    const head = crc32c(data, 0, cut);
    assert.equal(crc32c(data, cut, data.length, head), crc32c(data));
  }
});

test('nothing has the checksum zero', () => {
  assert.equal(crc32c(Buffer.alloc(0)), 0);
});
