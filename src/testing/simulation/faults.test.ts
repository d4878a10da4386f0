import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { drawStory } from './draw-story.ts';
import { drawFaults, FAULT_KINDS } from './faults.ts';
import { parseStory, storyText } from './story.ts';
import { drawWeather, WEATHER } from './weather.ts';

const stories = Array.from({ length: 300 }, (_, seed) => drawStory(seed, 'raft'));
const ofLocks = Array.from({ length: 50 }, (_, seed) => drawStory(seed, 'raft', 'locks'));

test('a seed draws the same story every time, and another seed another one', () => {
  assert.deepEqual(drawStory(7, 'raft'), drawStory(7, 'raft'));
  assert.notDeepEqual(drawStory(7, 'raft'), drawStory(8, 'raft'));
});

test('a story is text and back the same', () => {
  for (const story of [...stories.slice(0, 50), ...ofLocks])
    assert.deepEqual(parseStory(storyText(story)), story);
});

test('faults are of known kinds, within the storm, in order, and say what their kind needs', () => {
  for (const { faults, stormMs } of [...stories, ...ofLocks]) {
    let before = 0;
    for (const { atMs, kind, forMs, amount, node, peer } of faults) {
      assert.ok(kind in FAULT_KINDS, kind);
      assert.ok(atMs >= before && atMs <= stormMs);
      before = atMs;
      const { lasts, amount: amounts, anyone, peer: needsPeer } = FAULT_KINDS[kind]!;
      assert.equal(forMs !== undefined, lasts !== undefined, kind);
      assert.equal(amount !== undefined, amounts !== undefined, kind);
      assert.equal(node === undefined, anyone === true, kind);
      assert.equal(peer !== undefined, needsPeer === true, kind);
      if (peer !== undefined) assert.notEqual(peer, node);
    }
  }
});

test('every kind of fault is drawn by some seed', () => {
  const drawn = new Set(
    [...stories, ...ofLocks].flatMap(({ faults }) => faults.map(({ kind }) => kind)),
  );
  assert.deepEqual(Object.keys(FAULT_KINDS).sort(), [...drawn].sort());
});

test('no storm changes the members and hurts data: nobody could say what a majority still holds', () => {
  for (const { faults } of stories) {
    const kinds = faults.map(({ kind }) => FAULT_KINDS[kind]!);
    const both = kinds.some((kind) => kind.changesMembers) && kinds.some((kind) => kind.hurtsData);
    assert.ok(!both);
  }
});

test('clients of locks are in stories that are aimed at them, and in no others', () => {
  for (const { faults, weather } of stories) {
    assert.ok(!('remoteRate' in weather));
    assert.ok(faults.every(({ kind }) => FAULT_KINDS[kind]!.ofLocks !== true));
  }
  for (const { weather } of ofLocks) {
    for (const name of Object.keys(weather)) assert.ok(name in WEATHER, name);
  }
  assert.ok(
    ofLocks.every(({ faults }) => faults.every(({ kind }) => !FAULT_KINDS[kind]!.hurtsData)),
  );
});

test('a node that is alone has nobody to be cut off from', () => {
  for (let seed = 0; seed < 50; seed++) {
    const faults = drawFaults(seededRandom(seed), 1, 10_000, 1000);
    const changesMembers = faults.some(({ kind }) => FAULT_KINDS[kind]!.changesMembers);
    if (changesMembers) continue;
    for (const { kind } of faults) assert.notEqual(FAULT_KINDS[kind]!.needsPeers, true, kind);
  }
});

test('a weather holds only names that somebody reads', () => {
  for (let seed = 0; seed < 100; seed++) {
    for (const name of Object.keys(drawWeather(seededRandom(seed))))
      assert.ok(name in WEATHER, name);
  }
});
