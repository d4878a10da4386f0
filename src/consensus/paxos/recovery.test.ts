/** What a new leader proposes again (Paxos Made Simple §3), and how values look on disk and wire. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Entry, EntryType } from '../types.ts';
import { nextBallot, ordinals, ownerOf } from './ballot.ts';
import { valuesToPropose } from './recovery.ts';
import { fromRecord, gapFiller, type Slot, toRecord } from './slot.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function value(index: number, origin: number, text = `${index} of ${origin}`): Entry {
  return { type: EntryType.normal, term: origin, index, data: bytes(text) };
}

function slot(index: number, ballot: number, origin = ballot): Slot {
  return { ballot, value: value(index, origin) };
}

/** Origins of what is proposed, 0 for nothing. */
function proposed(reported: (Slot | undefined)[], chosenTerm = 0): number[] {
  return valuesToPropose(11, reported, chosenTerm).map(({ term }) => term);
}

test('reported values are proposed again as they are, and gaps are filled with nothing', () => {
  const reported = [slot(11, 2048), undefined, slot(13, 2048)];
  const values = valuesToPropose(11, reported, 1024);
  assert.deepEqual(values, [value(11, 2048), gapFiller(12), value(13, 2048)]);
});

test('of two values in the wrong order of origin the one of the older acceptance is given up', () => {
  // A younger leader found nothing behind slot 11: what an older one left in slot 12 is not chosen.
  assert.deepEqual(proposed([slot(11, 2048), slot(12, 1024)]), [2048, 0]);
  // A later leader proposed the older value again, so it did not know the younger one.
  assert.deepEqual(proposed([slot(11, 2048), slot(12, 3072, 1024)]), [0, 1024]);
  // And one still later that proposed the younger one again did not know the older one.
  assert.deepEqual(proposed([slot(11, 4096, 2048), slot(12, 3072, 1024)]), [2048, 0]);
});

test('what is older than a value that is chosen before it is given up', () => {
  assert.deepEqual(proposed([slot(11, 1024), slot(12, 3072)], 2048), [0, 3072]);
});

test('a gap that was filled before stays filled, and is in nobody’s way', () => {
  const filled: Slot = { ballot: 3072, value: gapFiller(12) };
  assert.deepEqual(proposed([slot(11, 2048), filled, slot(13, 2048)]), [2048, 0, 2048]);
});

test('what is proposed again never falls in origin, whatever was reported', () => {
  let state = 7;
  const below = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % bound;
  };
  for (let round = 0; round < 500; round++) {
    // Each ballot's values never fall, as no leader's do: anything else cannot be reported.
    const logs = [1, 2, 3, 4].map((ballot) => {
      let origin = 1;
      return Array.from({ length: 8 }, (_, at) => {
        if (below(3) === 0) origin = Math.min(ballot, origin + below(3));
        return below(2) === 0 ? undefined : slot(11 + at, ballot * 1024, origin * 1024);
      });
    });
    const reported = Array.from({ length: 8 }, (_, at) => logs.findLast((log) => log[at])?.[at]);
    const origins = proposed(reported).filter((origin) => origin > 0);
    assert.deepEqual(
      origins,
      [...origins].sort((a, b) => a - b),
    );
  }
});

test('a value keeps origin, type and data through disk and promise, in whichever ballot it was accepted', () => {
  for (const { ballot, value: held } of [
    slot(5, 2048),
    slot(5, 2 ** 52 + 1024, 2 ** 51 + 1025),
    { ballot: 3072, value: gapFiller(5) },
    { ballot: 3072, value: { ...value(5, 1), type: EntryType.configChange } },
  ]) {
    const record = toRecord({ ballot, value: held });
    assert.equal(record.term, ballot);
    const back = fromRecord(record);
    assert.equal(back?.ballot, ballot);
    assert.deepEqual(
      { ...back?.value, data: Buffer.from(back!.value.data) },
      { ...held, data: Buffer.from(held.data) },
    );
  }
});

test('a value accepted in its own ballot is the record itself: nothing is copied', () => {
  const own = slot(5, 2048);
  assert.equal(toRecord(own), own.value);
});

test('records that cannot be are refused', () => {
  const adopted = toRecord(slot(5, 2048, 1024));
  const filler = toRecord({ ballot: 2048, value: gapFiller(5) });
  assert.equal(fromRecord({ ...adopted, data: adopted.data.subarray(0, 8) }), undefined);
  assert.equal(fromRecord({ ...adopted, term: 1024 }), undefined, 'its own ballot is not older');
  assert.equal(fromRecord({ ...adopted, term: 0 }), undefined);
  const withData = Buffer.concat([filler.data, Buffer.of(1)]);
  assert.equal(fromRecord({ ...filler, data: withData }), undefined, 'a gap holds nothing');
});

test('ballots of one round differ by node, the next is above all before, and their owner is known', () => {
  const members = ordinals({ voters: ['b', 'c'], learners: ['a'] });
  assert.deepEqual([...members.entries()].sort(), [
    ['a', 0],
    ['b', 1],
    ['c', 2],
  ]);
  const first = [...members.values()].map((ordinal) => nextBallot(1, ordinal));
  assert.deepEqual(first, [1024, 1025, 1026]);
  assert.equal(nextBallot(1026, 0), 2048);
  assert.equal(nextBallot(2048, 0), 3072);
  assert.equal(ownerOf(3072), 0);
  assert.equal(ownerOf(1026), 2);
});
