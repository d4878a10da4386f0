import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { SharedLife } from './shared-life.ts';

const TTL_MS = 9000;

function open(endThere: (signal: AbortSignal) => Promise<unknown> = async () => undefined) {
  const clock = new VirtualClock();
  const endedAt: number[] = [];
  const life = new SharedLife({
    clock,
    ttlMs: TTL_MS,
    sentMs: clock.now(),
    renew: async () => TTL_MS,
    endThere: (signal) => {
      endedAt.push(clock.now());
      return endThere(signal);
    },
  });
  return { clock, life, endedAt };
}

describe('a life that many share', () => {
  it('lasts while nobody uses it, until it is retired', () => {
    const { life, endedAt } = open();
    life.join(() => undefined)();
    assert.equal(life.usable, true);
    life.retire();
    assert.equal(life.usable, false);
    assert.equal(life.endReason()?.loss, 'session');
    assert.equal(endedAt.length, 1);
  });

  it('ends with its last user once it is retired, who counts once however often he leaves', () => {
    const { life, endedAt } = open();
    const first = life.join(() => undefined);
    const last = life.join(() => undefined);
    life.onEnd(() => undefined);
    life.retire();
    assert.equal(life.usable, false, 'takes no new users');
    first();
    first();
    assert.equal(life.endReason(), undefined);
    last();
    assert.notEqual(life.endReason(), undefined);
    assert.equal(endedAt.length, 1);
  });

  it('is ended in the engine once, whatever ends it here', async () => {
    const { clock, life, endedAt } = open();
    let told = 0;
    life.join(() => void told++);
    // A process that stood still: the clock knows before any timer.
    clock.stall(TTL_MS);
    assert.equal(life.usable, false);
    assert.equal(life.endReason()?.loss, 'expired');
    await life.close();
    await life.close();
    assert.deepEqual([endedAt.length, told], [1, 1]);
  });

  it('is no longer waited for than for a renewal where the engine is out of reach', async () => {
    const { clock, life } = open(
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
    );
    let isClosed = false;
    void life.close().then(() => {
      isClosed = true;
    });
    await clock.advance(TTL_MS / 3 - 1);
    assert.equal(isClosed, false);
    await clock.advance(1);
    assert.equal(isClosed, true);
    assert.equal(clock.pending, 0);
  });
});
