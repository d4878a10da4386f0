import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { Deadlines } from './deadlines.ts';
import { loopDelay } from './loop-delay.ts';

describe('deadlines of one length', () => {
  it('come in the order in which they were begun, but for those that are ended', async () => {
    const clock = new VirtualClock();
    const deadlines = new Deadlines(clock, 100);
    const due: string[] = [];
    const begin = (name: string) => deadlines.begin(() => due.push(`${name} ${clock.now()}`));
    const first = begin('first');
    await clock.advance(10);
    const second = begin('second');
    const third = begin('third');
    await clock.advance(0.5);
    begin('fourth');
    deadlines.end(second);
    deadlines.end(second);
    assert.equal(clock.pending, 1, 'one timer for all');
    await clock.advance(100);
    deadlines.end(first);
    deadlines.end(third);
    await clock.advance(100);
    assert.deepEqual(due, ['first 100', 'third 110', 'fourth 111']);
    assert.equal(clock.pending, 0);
  });

  it('may be ended and begun by one that comes', async () => {
    const clock = new VirtualClock();
    const deadlines = new Deadlines(clock, 100);
    const due: number[] = [];
    const begin = () =>
      deadlines.begin(() => {
        due.push(clock.now());
        deadlines.end(other);
        deadlines.end(one);
        if (due.length < 3) begin();
      });
    const one = begin();
    const other = deadlines.begin(() => assert.fail('it was ended'));
    await clock.advance(1000);
    assert.deepEqual(due, [100, 200, 300]);
    assert.equal(clock.pending, 0);
  });
});

describe('a measurement of the event loop', () => {
  it('ends where its block does', async () => {
    const clock = new VirtualClock();
    {
      using loop = loopDelay({ every: 20, clock });
      clock.stall(70);
      assert.equal(loop.read(), 50);
      assert.equal(clock.pending, 1);
    }
    assert.equal(clock.pending, 0);
  });

  it('takes one look for each time, also where a clock makes up for those that it missed', async () => {
    const clock = new VirtualClock();
    using loop = loopDelay({ every: 20, clock });
    await clock.advance(20);
    assert.equal(loop.read(), 0);
    clock.stall(60);
    await clock.advance(0);
    assert.equal(loop.read(), 40, 'three looks at once are one');
    await clock.advance(10);
    assert.equal(loop.read(), 40, 'half of the time is not enough');
    await clock.advance(10);
    assert.equal(loop.read(), 20);
  });
});
