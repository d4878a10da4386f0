import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { shrinkStory } from './shrink.ts';
import type { Story, Violation } from './types.ts';

const violation = (property: string, atMs = 900): Violation => ({
  property,
  message: 'it broke',
  atMs,
  event: 1,
});

const story: Story = {
  version: 1,
  seed: 7,
  consensus: 'raft',
  nodes: 3,
  stormMs: 10_000,
  clients: 5,
  weather: { lossRate: 0.1, driftPpm: 100, delayMeanMs: 5 },
  faults: Array.from({ length: 40 }, (_, i) => ({ atMs: 100 * i, kind: `f${i}`, forMs: 100 })),
};

test('what a failure does not need is dropped', async () => {
  const seen: number[] = [];
  const shrunk = await shrinkStory(
    story,
    violation('log-matching'),
    async ({ faults, weather }) => {
      const kinds = faults.map(({ kind }) => kind);
      const fails =
        kinds.includes('f3') && kinds.includes('f7') && weather['driftPpm'] !== undefined;
      return fails ? violation('log-matching') : undefined;
    },
    { onSmaller: ({ faults }) => seen.push(faults.length) },
  );
  assert.deepEqual(shrunk.story, {
    ...story,
    stormMs: 900,
    clients: 1,
    weather: { driftPpm: 100 },
    faults: [
      { atMs: 300, kind: 'f3', forMs: 1 },
      { atMs: 700, kind: 'f7', forMs: 1 },
    ],
  });
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => b - a),
  );
});

test('a story that fails in another way is not kept', async () => {
  const { story: left } = await shrinkStory(story, violation('log-matching'), async ({ faults }) =>
    violation(faults.length < 20 ? 'liveness' : 'log-matching', 5000),
  );
  assert.equal(left.faults.length, 20);
});

test('a failure that needs nothing is left with nothing', async () => {
  const shrunk = await shrinkStory(story, violation('x', 3.2), async () => violation('x', 3.2));
  assert.deepEqual(shrunk.story, { ...story, stormMs: 1, clients: 1, weather: {}, faults: [] });
  assert.ok(shrunk.runs < 20);
});

test('no more stories are played than allowed', async () => {
  let runs = 0;
  const shrunk = await shrinkStory(
    story,
    violation('x'),
    async () => {
      runs++;
      return undefined;
    },
    { maxRuns: 17 },
  );
  assert.equal(runs, 17);
  assert.deepEqual(shrunk, { story, violation: violation('x'), runs: 17 });
  await assert.rejects(
    shrinkStory(story, violation('x'), async () => undefined, { maxRuns: 0 }),
    (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT'),
  );
});
