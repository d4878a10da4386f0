import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { parseStory, storyText } from './story.ts';
import type { Story } from './types.ts';

const story: Story = {
  version: 1,
  seed: 7,
  consensus: 'raft',
  nodes: 3,
  stormMs: 1000,
  clients: 2,
  weather: { lossRate: 0.1 },
  faults: [
    { atMs: 5, kind: 'crash', node: 1, forMs: 20 },
    { atMs: 9.5, kind: 'crash' },
  ],
};

test('a story comes back from its text, and the text says what it is about', () => {
  const violation = {
    property: 'log-matching',
    message: 'index 5 differs\n    at there',
    atMs: 7,
    event: 12,
  };
  const text = storyText(story, violation);
  assert.deepEqual(parseStory(text), story);
  assert.match(text, /"about": "log-matching: index 5 differs",/);
  assert.deepEqual(parseStory(storyText({ ...story, faults: [] })), { ...story, faults: [] });
});

test('a text that is no story of this simulator is refused with what is wrong in it', () => {
  const refused: [unknown, RegExp][] = [
    [[], /a story is a JSON object/],
    [{ ...story, version: 99 }, /of version 99; this simulator plays version 1/],
    [{ ...story, version: undefined }, /of version undefined/],
    [{ ...story, consensus: 'zab' }, /consensus must be raft or paxos/],
    [{ ...story, seed: -1 }, /seed is -1, it must be a whole number from 0 to 4294967295/],
    [{ ...story, seed: 1.5 }, /seed is 1.5/],
    [{ ...story, nodes: 0 }, /nodes is 0/],
    [{ ...story, stormMs: 1e12 }, /stormMs is 1000000000000/],
    [{ ...story, clients: '2' }, /clients is "2"/],
    [{ ...story, more: 1 }, /"more" is no part of a story/],
    [{ ...story, weather: [] }, /weather must be an object/],
    [{ ...story, weather: { sunRate: 1 } }, /weather has no "sunRate"/],
    [
      { ...story, weather: { lossRate: 7 } },
      /weather.lossRate is 7, it must be a number from 0 to 1/,
    ],
    [{ ...story, weather: { lossRate: null } }, /weather.lossRate is null/],
    [{ ...story, faults: {} }, /faults must be a list/],
    [{ ...story, faults: [{ atMs: 5 }] }, /faults\[0\]: undefined is no kind of fault/],
    [{ ...story, faults: [{ atMs: 5, kind: 'yawn' }] }, /"yawn" is no kind of fault; there are /],
    [{ ...story, faults: [{ kind: 'crash' }] }, /faults\[0\]: atMs is undefined/],
    [{ ...story, faults: [{ atMs: 5, kind: 'crash', node: -1 }] }, /node is -1/],
    [{ ...story, faults: [{ atMs: 5, kind: 'crash', who: 1 }] }, /"who" is no part of a fault/],
  ];
  for (const [value, expected] of refused) {
    assert.throws(
      () => parseStory(JSON.stringify(value), 'x.json'),
      (error) => {
        assert.ok(isQuorateError(error, 'ERR_INVALID_ARGUMENT'));
        assert.match(error.message, /^x\.json: /);
        assert.match(error.message, expected);
        return true;
      },
    );
  }
  assert.throws(() => parseStory('{', 'x.json'), /x\.json is not JSON/);
});
