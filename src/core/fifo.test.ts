import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fifo } from './fifo.ts';

test('a fifo gives back what was pushed, in order, across growth and wrap-around', () => {
  const fifo = new Fifo<number>();
  let pushed = 0;
  let shifted = 0;
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < (round % 7) + 1; i++) fifo.push(pushed++);
    assert.equal(fifo.peek(), shifted);
    for (let i = 0; i < round % 4; i++) assert.equal(fifo.shift(), shifted++);
    assert.equal(fifo.length, pushed - shifted);
  }
  while (fifo.length > 0) assert.equal(fifo.shift(), shifted++);
  assert.equal(shifted, pushed);
  assert.equal(fifo.shift(), undefined);
  assert.equal(fifo.peek(), undefined);
});
