/**
 * The stories in stories/ hold: shrunk runs that broke something once (`about` says what), and ones that
 * play what a few random seeds seldom do. Each is played twice, and must be the same run both times.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FAULT_KINDS } from '../../src/testing/simulation/faults.ts';
import { simulate } from '../../src/testing/simulation/simulation.ts';
import { parseStory } from '../../src/testing/simulation/story.ts';
import type { Story } from '../../src/testing/simulation/types.ts';

const folder = join(import.meta.dirname, 'stories');

const read = (file: string): Story => parseStory(readFileSync(join(folder, file), 'utf8'), file);
const files = globSync('*.json', { cwd: folder }).sort();

test('every kind of fault is in some story', () => {
  const kinds = files.flatMap((file) => read(file).faults.map(({ kind }) => kind));
  assert.deepEqual(new Set(kinds), new Set(Object.keys(FAULT_KINDS)));
});

for (const file of files) {
  test(`the story ${file} holds`, { timeout: 60_000 }, async () => {
    const story = read(file);
    const { violation, traceHash } = await simulate({ seed: story.seed, story });
    assert.equal(violation, undefined, `${violation?.property}: ${violation?.message}`);
    const again = await simulate({ seed: story.seed, story });
    assert.equal(again.traceHash, traceHash);
  });
}
