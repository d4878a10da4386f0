/**
 * The stories in stories/ hold: shrunk runs that broke something once (`about` says what), and ones that
 * play what a few random seeds seldom do. Each is played twice, and must be the same run both times.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { simulate } from '../../src/testing/simulation/simulation.ts';
import { parseStory } from '../../src/testing/simulation/story.ts';

const folder = join(import.meta.dirname, 'stories');

for (const file of globSync('*.json', { cwd: folder }).sort()) {
  test(`the story ${file} holds`, { timeout: 60_000 }, async () => {
    const story = parseStory(readFileSync(join(folder, file), 'utf8'), file);
    const { violation, traceHash } = await simulate({ seed: story.seed, story });
    assert.equal(violation, undefined, `${violation?.property}: ${violation?.message}`);
    const again = await simulate({ seed: story.seed, story });
    assert.equal(again.traceHash, traceHash);
  });
}
