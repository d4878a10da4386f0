import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { SameDelay } from './same-delay.ts';

function begin() {
  const clock = new VirtualClock();
  const timers = new SameDelay(clock, 100);
  const from = clock.now();
  const ran: string[] = [];
  const start = (name: string) =>
    timers.start(() => void ran.push(`${name} ${clock.now() - from}`));
  return { clock, timers, ran, start };
}

describe('timers with the same delay', () => {
  it('run each after its own delay, with one timer of the clock', async () => {
    const { clock, ran, start } = begin();
    start('a');
    await clock.advance(30);
    start('b');
    start('c');
    assert.equal(clock.pending, 1);
    await clock.advance(69);
    assert.deepEqual(ran, []);
    await clock.advance(500);
    assert.deepEqual(ran, ['a 100', 'b 130', 'c 130']);
    assert.equal(clock.pending, 0);
  });

  it('do not run where they were stopped, and hold up no other', async () => {
    const { clock, timers, ran, start } = begin();
    const first = start('first');
    await clock.advance(50);
    const second = start('second');
    timers.stop(first);
    await clock.advance(40);
    start('third');
    timers.stop(second);
    timers.stop(second);
    await clock.advance(500);
    assert.deepEqual(ran, ['third 190']);
    assert.equal(clock.pending, 0);
    start('later');
    await clock.advance(100);
    assert.deepEqual(ran, ['third 190', 'later 690']);
  });

  it('may start and stop others when they run', async () => {
    const { clock, timers, ran, start } = begin();
    timers.start(() => {
      timers.stop(stopped);
      start('of another');
    });
    const stopped = start('stopped');
    await clock.advance(50);
    start('next');
    await clock.advance(500);
    assert.deepEqual(ran, ['next 150', 'of another 200']);
    assert.equal(clock.pending, 0);
  });

  it('end all at once', async () => {
    const { clock, timers, ran, start } = begin();
    start('a');
    timers.close();
    assert.equal(clock.pending, 0);
    await clock.advance(500);
    assert.deepEqual(ran, []);
  });
});
