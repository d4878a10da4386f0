import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkedList } from './linked-list.ts';

test('a list keeps its order, whatever is taken out of it, and how often', () => {
  const list = new LinkedList<number>();
  const places = [0, 1, 2, 3, 4].map((value) => list.push(value));
  for (const [out, left] of [
    [2, [0, 1, 3, 4]],
    [2, [0, 1, 3, 4]],
    [0, [1, 3, 4]],
    [4, [1, 3]],
    [3, [1]],
    [1, []],
    [1, []],
  ] as const) {
    list.remove(places[out]!);
    assert.deepEqual([...list], left);
    assert.equal(list.first?.value, left[0]);
  }
  const again = list.push(5);
  list.push(6);
  assert.deepEqual([...list], [5, 6]);
  list.remove(again);
  assert.deepEqual([...list], [6]);
});
