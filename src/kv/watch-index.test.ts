import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prefixEnd } from '../core/bytes.ts';
import { seededRandom } from '../core/random.ts';
import { covers, type Interest, WatchIndex } from './watch-index.ts';

test('the index finds exactly the watchers whose keys cover the key', () => {
  const random = seededRandom(3);
  const letters = ['a', 'b', '\0', '\xff', '/'];
  const word = (): string => {
    return Array.from({ length: 1 + random.below(4) }, () => letters[random.below(5)]).join('');
  };
  const index = new WatchIndex<Interest>();
  const all = new Set<Interest>();
  for (let step = 0; step < 3000; step++) {
    if (all.size > 60 || (all.size > 0 && random.below(4) === 0)) {
      const gone = [...all][random.below(all.size)]!;
      all.delete(gone);
      index.delete(gone);
    } else {
      const key = word();
      const ends = ['', '\0', prefixEnd(key), `${key}${word()}`, `${key}\0`];
      const watcher = { key, rangeEnd: ends[random.below(5)]! };
      all.add(watcher);
      index.add(watcher);
    }
    const key = word();
    const found = new Set<Interest>();
    index.match(key, (watcher) => {
      assert.ok(!found.has(watcher), 'a watcher is found once');
      found.add(watcher);
    });
    assert.deepEqual(found, new Set([...all].filter((watcher) => covers(watcher, key))));
  }
});
