/** The judge of locks under chaos: sees what is wrong, and takes nothing else for wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Hold } from './messages.ts';
import { Resource, type ResourceOptions } from './resource.ts';

function hold(id: string, token: bigint | undefined, calledNs: number, grantedNs: number): Hold {
  const times = { calledNs: BigInt(calledNs), grantedNs: BigInt(grantedNs) };
  return { id, worker: id, token, holder: id, ...times };
}

/** Grants in the order in which they are first seen, and then the writes. */
function judged(writes: readonly Hold[], options: ResourceOptions = {}): Resource {
  const resource = new Resource(options);
  for (const one of new Set(writes)) resource.granted(one);
  for (const one of writes) resource.write(one);
  return resource;
}

const [a, b] = [hold('a', 1n, 0, 10), hold('b', 2n, 5, 20)];

test('holders one after the other are no violation, also where both waited at the same time', () => {
  const { counts } = judged([a, a, b, b]);
  assert.deepEqual(counts, { grants: 2, writes: 4, overlaps: 0, refused: 0, violations: 0 });
});

test('a late write of the one before is an overlap, and is refused by its token', () => {
  const { counts } = judged([a, b, a, a, b]);
  assert.deepEqual(counts, { grants: 2, writes: 5, overlaps: 1, refused: 2, violations: 0 });
});

test('an overlap is seen also where the first write of the older holder is the late one', () => {
  assert.equal(judged([b, a]).counts.overlaps, 1);
});

test('a resource that does not compare tokens is seen to be written by turns', () => {
  const { counts, violations } = judged([a, b, a], { checksTokens: false });
  assert.equal(counts.violations, 1);
  assert.match(violations[0]!, /^a .* wrote, then b .*, then a /);
});

test('... and where the late one asked before the other did, and had not written yet', () => {
  const late = hold('a', 1n, 0, 10);
  const { counts } = judged([hold('b', 2n, 15, 20), late], { checksTokens: false });
  assert.equal(counts.violations, 1);
});

test('one token of two holds is seen', () => {
  const { violations } = judged([a, hold('b', 1n, 5, 20)]);
  assert.match(violations[0]!, /have one token/);
});

test('a token that is lower than that of a lock had before it was asked for is seen, in whatever order they are told', () => {
  const [first, second] = [hold('a', 9n, 0, 10), hold('b', 3n, 15, 20)];
  assert.match(judged([first, second]).violations[0]!, /against their order/);
  assert.match(judged([second, first]).violations[0]!, /against their order/);
});

test('without tokens overlaps are seen, and nothing is refused', () => {
  const [one, two] = [hold('a', undefined, 0, 10), hold('b', undefined, 5, 20)];
  const { counts } = judged([one, two, one]);
  assert.deepEqual(counts, { grants: 2, writes: 3, overlaps: 1, refused: 0, violations: 0 });
});
