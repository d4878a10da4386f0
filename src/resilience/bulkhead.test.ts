import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { bulkhead } from './bulkhead.ts';
import { Call } from './call.ts';
import type { Part } from './policy.ts';
import { sectionOf } from './section.ts';
import { timeout } from './timeout.ts';

/** Work that ends when it is told to. */
function held() {
  const ends: (() => void)[] = [];
  const work = (): Promise<void> => new Promise((resolve) => void ends.push(resolve));
  return { ends, work };
}

describe('a bulkhead', () => {
  it('counts what it refuses, what runs and what waits', async () => {
    const guard = bulkhead({ max: 2, queue: 1 });
    const { ends, work } = held();
    const calls = [1, 2, 3, 4, 5].map(() => guard.attempt(work));
    await settled();
    assert.deepEqual(guard.stats(), { max: 2, running: 2, queued: 1, refused: 2 });
    for (let i = 0; i < 3; i++) {
      ends.shift()!();
      await settled();
    }
    await Promise.all(calls);
    assert.deepEqual(guard.stats(), { max: 2, running: 0, queued: 0, refused: 2 });
  });

  it('lets in as many as there are new places, and no more', async () => {
    const guard = bulkhead({ max: 1, queue: 9 });
    const { ends, work } = held();
    const calls = [1, 2, 3, 4, 5].map(() => guard.attempt(work));
    await settled();
    for (const [max, running] of [
      [1, 1],
      [3, 3],
      [2, 3],
    ] as const) {
      guard.reconfigure({ max, queue: 9 });
      await settled();
      assert.deepEqual([guard.running, ends.length], [running, running]);
    }
    // Of those that are too many nobody takes the place.
    ends.shift()!();
    await settled();
    assert.equal(guard.running, 2);
    while (ends.length > 0) {
      ends.shift()!();
      await settled();
    }
    await Promise.all(calls);
    assert.equal(guard.running, 0);
  });

  it('forgets who gives up in its queue, and nobody who has left that', async () => {
    const guard = bulkhead({ max: 1, queue: 9 });
    const section = sectionOf([guard as unknown as Part]);
    const { ends, work } = held();
    const [first, second, third] = [1, 2, 3].map(() => new Call(work));
    const runs = [first!, second!, third!].map((call) => section.result(call));
    await settled();
    assert.equal(guard.queued, 2);
    const enough = new Error('enough');
    second!.abort(enough);
    await assert.rejects(runs[1]!, enough);
    assert.equal(guard.queued, 1);
    ends.shift()!();
    await settled();
    assert.deepEqual([guard.running, guard.queued], [1, 0]);
    third!.abort(enough);
    assert.deepEqual(
      [guard.running, guard.queued],
      [1, 0],
      'it runs, and has no place in the queue',
    );
    ends.shift()!();
    await Promise.all([runs[0], runs[2]]);
    assert.deepEqual([guard.running, guard.queued], [0, 0]);
  });
});

describe('a timeout', () => {
  it('counts what took too long, and nothing that ended before', async () => {
    const clock = new VirtualClock();
    const guard = timeout(100, { clock });
    await guard.run(() => 1);
    await guard.attempt(() => Promise.reject(new Error('bad')));
    await clock.advance(1000);
    assert.deepEqual(guard.stats(), { afterMs: 100, exceeded: 0 });
    const late = guard.attempt(held().work);
    await clock.advance(100);
    assert.equal((await late).ok, false);
    assert.deepEqual(guard.stats(), { afterMs: 100, exceeded: 1 });
  });

  it('is changed for calls that begin; others keep their time', async () => {
    const clock = new VirtualClock();
    const guard = timeout('100ms', { clock });
    const endedMs: number[] = [];
    const start = () =>
      guard.attempt(held().work).then(() => {
        endedMs.push(clock.now());
      });
    const calls = [start()];
    guard.reconfigure({ after: 30 });
    assert.equal(guard.stats().afterMs, 30);
    assert.throws(() => guard.reconfigure({ after: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
    calls.push(start());
    await clock.advance(1000);
    await Promise.all(calls);
    assert.deepEqual(endedMs, [30, 100]);
  });
});
