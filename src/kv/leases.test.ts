import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { type Timed, TimeHeap } from './lease-heap.ts';
import { Lessor } from './leases.ts';

function leading(): { clock: VirtualClock; lessor: Lessor } {
  const clock = new VirtualClock();
  const lessor = new Lessor(clock);
  lessor.promote(0);
  return { clock, lessor };
}

describe('a lease on the leader', () => {
  it('runs out after its life, and is told until it is revoked', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 10);
    clock.stall(9999);
    assert.deepEqual(lessor.expired(), []);
    clock.stall(1);
    assert.deepEqual(lessor.expired(), [1n]);
    assert.deepEqual(lessor.expired(), [1n]);
    lessor.revoke(1n);
    assert.deepEqual(lessor.expired(), []);
  });

  it('lives anew when it is kept alive, but not once it ran out', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 10);
    clock.stall(9000);
    assert.equal(lessor.keepAlive(1n), 10);
    clock.stall(9000);
    assert.deepEqual(lessor.expired(), []);
    clock.stall(1000);
    assert.equal(lessor.keepAlive(1n), 0);
    assert.deepEqual(lessor.expired(), [1n]);
    assert.equal(lessor.keepAlive(2n), 0);
  });

  it('tells its remaining life in whole seconds, and -1 where there is none', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 60);
    lessor.attach(1n, 'b');
    lessor.attach(1n, 'a');
    clock.stall(1);
    const told = lessor.timeToLive(1n, true);
    assert.deepEqual([told.ttl, told.grantedTtl, told.keys], [59, 60, ['a', 'b']]);
    assert.deepEqual(lessor.timeToLive(1n, false).keys, []);
    assert.equal(lessor.timeToLive(2n, true).ttl, -1);
  });

  it('goes in bounded numbers a scan, and is listed by expiry', () => {
    const { clock, lessor } = leading();
    for (let i = 1; i <= 600; i++) lessor.grant(BigInt(i), 700 - i);
    assert.equal(lessor.ids()[0], 600n);
    clock.stall(1_000_000);
    assert.equal(lessor.expired().length, 500);
  });
});

describe('a change of leader', () => {
  it('gives each lease its full life again and one election timeout more', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 10);
    clock.stall(9000);
    lessor.demote();
    clock.stall(100_000);
    assert.deepEqual(lessor.expired(), []);
    lessor.promote(1000);
    clock.stall(10_999);
    assert.deepEqual(lessor.expired(), []);
    clock.stall(1);
    assert.deepEqual(lessor.expired(), [1n]);
  });

  it('gives a lease only what its last checkpoint said is left', () => {
    const { clock, lessor } = leading();
    lessor.demote();
    lessor.grant(1n, 1000);
    lessor.applyCheckpoints([
      { id: 1n, remainingTtl: 20 },
      { id: 5n, remainingTtl: 20 },
    ]);
    lessor.promote(0);
    clock.stall(20_000);
    assert.deepEqual(lessor.expired(), [1n]);
  });

  it('leaves a follower without an answer about remaining life', () => {
    const { lessor } = leading();
    lessor.demote();
    assert.throws(() => lessor.keepAlive(1n), { code: 'ERR_NOT_LEADER' });
    assert.throws(() => lessor.timeToLive(1n, false), { code: 'ERR_NOT_LEADER' });
  });
});

describe('checkpoints', () => {
  it('note the remaining life of long leases every five minutes', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 1000);
    lessor.grant(2n, 200);
    assert.deepEqual(lessor.dueCheckpoints(), []);
    clock.stall(300_000);
    assert.deepEqual(lessor.dueCheckpoints(), [{ id: 1n, remainingTtl: 700 }]);
    assert.deepEqual(lessor.dueCheckpoints(), []);
    clock.stall(300_000);
    assert.deepEqual(lessor.dueCheckpoints(), [{ id: 1n, remainingTtl: 400 }]);
  });

  it('are void at once when the lease is kept alive', () => {
    const { clock, lessor } = leading();
    lessor.grant(1n, 1000);
    clock.stall(300_000);
    lessor.applyCheckpoints(lessor.dueCheckpoints());
    lessor.keepAlive(1n);
    assert.deepEqual(lessor.dueCheckpoints(), [{ id: 1n, remainingTtl: 0 }]);
  });
});

describe('the heap', () => {
  it('tells what is due, however entries were moved and removed', () => {
    const random = seededRandom(5);
    const heap = new TimeHeap<number>();
    const entries: Timed<number>[] = Array.from({ length: 80 }, (_, subject) => {
      return { subject, atMs: 0, position: -1 };
    });
    const times = new Map<number, number>();
    for (let step = 0; step < 3000; step++) {
      const entry = entries[random.below(80)]!;
      if (random.below(3) === 0) {
        heap.remove(entry);
        times.delete(entry.subject);
      } else {
        const atMs = random.below(1000);
        heap.schedule(entry, atMs);
        times.set(entry.subject, atMs);
      }
      const now = random.below(1000);
      const due = [...times].filter(([, atMs]) => atMs <= now).map(([subject]) => subject);
      assert.deepEqual(new Set(heap.due(now, 1000)), new Set(due));
      assert.equal(heap.size, times.size);
    }
  });
});
