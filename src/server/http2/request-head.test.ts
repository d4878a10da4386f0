import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestHead, RequestHeadReader } from './request-head.ts';

const START = Buffer.from([0x83, 0x86, 0x84]); // POST, http, /

function field(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x40, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}

function read(reader: RequestHeadReader, ...parts: Buffer[]): RequestHead {
  const block = Buffer.concat([START, ...parts]);
  const head = reader.read(block, 0, block.length);
  assert.ok(head instanceof RequestHead);
  return head;
}

test('equal blocks share a head while the table stands still, and not after it has changed', () => {
  const reader = new RequestHeadReader(4096, 65_536);
  read(reader, field('a', '1'));
  const newest = Buffer.from([0xbe]);
  const first = read(reader, newest);
  assert.equal(read(reader, newest), first);
  assert.equal(first.field('a'), '1');
  read(reader, field('a', '2'));
  assert.equal(read(reader, newest).field('a'), '2');
});

test('a block that adds to the table adds to it every time', () => {
  const reader = new RequestHeadReader(4096, 65_536);
  read(reader, field('a', '1'));
  read(reader, field('b', '2'));
  read(reader, field('b', '2'));
  assert.equal(read(reader, Buffer.from([0xbf])).field('b'), '2');
  assert.equal(read(reader, Buffer.from([0xc0])).field('a'), '1');
});
