import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import {
  formatTraceParent,
  newParentId,
  newTraceId,
  parseTraceParent,
  parseTraceState,
} from './trace-context.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';

test('a traceparent is read and written', () => {
  for (const flags of ['00', '01']) {
    const header = `00-${TRACE}-${PARENT}-${flags}`;
    const parent = parseTraceParent(header)!;
    assert.deepEqual(parent, { traceId: TRACE, parentId: PARENT, isSampled: flags === '01' });
    assert.equal(formatTraceParent(parent), header);
  }
});

test('of flags only the one for sampling counts', () => {
  assert.equal(parseTraceParent(`00-${TRACE}-${PARENT}-ff`)!.isSampled, true);
  assert.equal(parseTraceParent(`00-${TRACE}-${PARENT}-fe`)!.isSampled, false);
});

test('versions to come may say more, after a dash', () => {
  for (const header of [
    `cc-${TRACE}-${PARENT}-01`,
    `cc-${TRACE}-${PARENT}-01-what-the-future-brings`,
  ])
    assert.equal(parseTraceParent(header)!.traceId, TRACE);
});

const WRONG: readonly unknown[] = [
  undefined,
  '',
  [`00-${TRACE}-${PARENT}-01`],
  `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`,
  `ff-${TRACE}-${PARENT}-01`,
  `00-${TRACE}-${PARENT}-01-more`,
  `00-${TRACE}-${PARENT}-01-`,
  `00-${TRACE}-${PARENT}-01.`,
  `cc-${TRACE}-${PARENT}-01.more`,
  `00-${'0'.repeat(32)}-${PARENT}-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${PARENT}-01`,
  `00-${TRACE}-${PARENT}-1`,
  `00-${TRACE}-${PARENT}`,
  `00-${TRACE}0-${PARENT}-01`,
  `00-${TRACE}-${PARENT}0-01`,
  `0x-${TRACE}-${PARENT}-01`,
  `00-${TRACE}-${PARENT}-0x`,
  ` 00-${TRACE}-${PARENT}-01`,
  `00-${TRACE}-${PARENT}-01 `,
  `00-${TRACE}-${PARENT}-01\n`,
];
for (const header of WRONG) {
  test(`no traceparent: ${JSON.stringify(header)}`, () => {
    assert.equal(parseTraceParent(header), undefined);
  });
}

test('a tracestate is passed on without its spaces and empty members', () => {
  for (const [header, passed] of [
    ['foo=1', 'foo=1'],
    ['foo=1 \t,  \tbar=2, ', 'foo=1,bar=2'],
    ['foo=1,,,bar=2', 'foo=1,bar=2'],
    ['0@a=1', '0@a=1'],
    ['a-1*/_=~ !', 'a-1*/_=~ !'],
    [`${'z'.repeat(256)}=1`, `${'z'.repeat(256)}=1`],
    [`${'t'.repeat(241)}@${'v'.repeat(14)}=1`, `${'t'.repeat(241)}@${'v'.repeat(14)}=1`],
    [`foo=${'v'.repeat(256)}`, `foo=${'v'.repeat(256)}`],
    ['foo=1,foo=1', 'foo=1,foo=1'],
  ])
    assert.equal(parseTraceState(header), passed);
});

test('a tracestate of many blanks is read in a time that grows with its length only', () => {
  // With time squared this would not end today.
  const many = 4_000_000;
  assert.equal(parseTraceState(`a=${' '.repeat(many)}b`), undefined);
  assert.equal(parseTraceState(`a=${'\t '.repeat(many / 2)}b,c=d`), undefined);
});

test('as many as 32 members are passed on', () => {
  const members = (count: number): string =>
    Array.from({ length: count }, (_, i) => `k${i}=1`).join();
  assert.equal(parseTraceState(members(32)), members(32));
  assert.equal(parseTraceState(members(33)), undefined);
});

for (const header of [
  undefined,
  '',
  ' , ',
  'foo',
  'foo =1',
  'FOO=1',
  'foo.bar=1',
  'foo@=1,bar=2',
  '@foo=1,bar=2',
  'foo@@bar=1,bar=2',
  'foo@bar@baz=1,bar=2',
  `${'z'.repeat(257)}=1`,
  `${'t'.repeat(242)}@v=1`,
  `t@${'v'.repeat(15)}=1`,
  'foo=bar=baz',
  'foo=,bar=3',
  `foo=${'v'.repeat(257)}`,
  'foo=\u00fc',
  'foo=a\nb',
]) {
  test(`no tracestate: ${JSON.stringify(header)}`, () => {
    assert.equal(parseTraceState(header), undefined);
  });
}

test('ids are of the right length, and never the same', () => {
  const random = seededRandom(7);
  const ids = Array.from({ length: 1000 }, () => [newTraceId(random), newParentId(random)]).flat();
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^([\da-f]{32}|[\da-f]{16})$/);
});
