import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { KeyTree } from './key-tree.ts';
import { tombstone, type VersionRecord } from './record.ts';

function put(key: string, modRevision: number): VersionRecord {
  return {
    key,
    createRevision: modRevision,
    modRevision,
    version: 1,
    value: '',
    lease: 0n,
    sub: 0,
  };
}

function keysOf(tree: KeyTree, from: string, to: string | undefined): string[] {
  const keys: string[] = [];
  tree.scan(from, to, ({ latest }) => keys.push(latest.key) > 0);
  return keys;
}

test('the tree holds and counts the same keys as a sorted list through inserts and removals', () => {
  const random = seededRandom(7);
  const tree = new KeyTree();
  const live = new Map<string, boolean>();
  const name = (): string => `k${random.below(3000).toString(36)}`;
  for (let step = 1; step <= 12_000; step++) {
    const key = name();
    if (random.below(3) > 0) {
      tree.append(put(key, step));
      live.set(key, true);
    } else if (live.has(key)) {
      tree.append(tombstone(key, step, 0));
      live.set(key, false);
      if (random.below(2) === 0) {
        tree.remove(key);
        live.delete(key);
      }
    }
    if (step % 500 > 0) continue;
    const sorted = [...live.keys()].sort();
    assert.equal(tree.size, sorted.length);
    assert.deepEqual(keysOf(tree, '', undefined), sorted);
    const [from, to] = [name(), name()];
    const inside = sorted.filter((each) => from <= each && each < to);
    assert.deepEqual(keysOf(tree, from, to), inside);
    assert.equal(tree.countLive(from, to), inside.filter((each) => live.get(each)).length);
  }
});

test('keys that come in rising order are all found', () => {
  const tree = new KeyTree();
  const keys = Array.from({ length: 1000 }, (_, i) => String(i).padStart(5, '0'));
  for (const key of keys) tree.append(put(key, 2));
  assert.deepEqual(keysOf(tree, '', undefined), keys);
  assert.equal(tree.get('00999')?.latest.key, '00999');
  assert.equal(tree.get('01000'), undefined);
});

test('older versions of a key are kept, oldest first', () => {
  const tree = new KeyTree();
  for (const revision of [2, 3, 4]) tree.append(put('a', revision));
  const entry = tree.get('a');
  assert.equal(entry?.latest.modRevision, 4);
  assert.deepEqual(
    entry?.older?.map((record) => record.modRevision),
    [2, 3],
  );
});

test('keys are in the order of their bytes', () => {
  const tree = new KeyTree();
  for (const key of ['\xff', 'a', '\0', 'a\0', 'Z', 'b\xff\xff']) tree.append(put(key, 2));
  assert.deepEqual(keysOf(tree, '', undefined), ['\0', 'Z', 'a', 'a\0', 'b\xff\xff', '\xff']);
});
