import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { advisoryKey, halvesOf, requireNamespace, tagOf } from './key.ts';

describe('the key of an advisory lock', () => {
  it('is the same in every version: processes of different ones exclude each other', () => {
    assert.equal(advisoryKey('quorate', 'orders/42'), 7909855429273761521n);
  });

  it('depends on the namespace and on the name, and not only on both together', () => {
    const keys = [
      advisoryKey('a', 'bc'),
      advisoryKey('ab', 'c'),
      advisoryKey('', 'abc'),
      advisoryKey('abc', ''),
    ];
    assert.equal(new Set(keys).size, keys.length);
  });

  it('spreads over all 64 bits and has no likes among many names', () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => advisoryKey('n', `job/${i}`));
    assert.equal(new Set(keys).size, keys.length);
    const all = keys.reduce((bits, key) => bits | BigInt.asUintN(64, key), 0n);
    assert.equal(all, 0xffff_ffff_ffff_ffffn);
    assert.ok(keys.some((key) => key < 0n));
  });

  it('is shown by pg_locks in two halves without a sign', () => {
    assert.deepEqual(halvesOf(-1n), ['4294967295', '4294967295']);
    assert.deepEqual(halvesOf(0x1_0000_0002n), ['1', '2']);
  });

  it('has its low half as the tag, with a sign', () => {
    assert.equal(tagOf(-1n), -1);
    assert.equal(tagOf(0x7_8000_0000n), -0x8000_0000);
  });

  it('takes no namespace with a zero byte, which would end it early', () => {
    for (const namespace of ['a\0b', 'x'.repeat(1025), 7, null]) {
      assert.throws(() => requireNamespace(namespace), { code: 'ERR_INVALID_ARGUMENT' });
    }
    assert.equal(requireNamespace(''), '');
  });
});
