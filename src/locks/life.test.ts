import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { QuorateError } from '../core/errors.ts';
import { type Alarm, SameDelay } from '../core/same-delay.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { type Gone, RenewedLife } from './life.ts';

const TTL_MS = 9000;

/** A life whose renewals are answered as the test says, and what it was told. */
function begin(answer: (signal: AbortSignal) => Promise<number | Gone>) {
  const clock = new VirtualClock();
  const renewedAt: number[] = [];
  const told: QuorateError[] = [];
  const life = new RenewedLife({
    clock,
    what: 'it',
    ttlMs: TTL_MS,
    sentMs: clock.now(),
    renew: (signal) => {
      renewedAt.push(clock.now());
      return answer(signal);
    },
  });
  life.join((reason) => void told.push(reason));
  return { clock, renewedAt, told, life };
}

describe('a life that is renewed', () => {
  it('is renewed every third of it, and sooner after a failure', async () => {
    let failing = false;
    const { clock, renewedAt, life } = begin(async () => {
      if (failing) throw new Error('out of reach');
      return TTL_MS;
    });
    await clock.advance(6000);
    failing = true;
    await clock.advance(4000);
    assert.deepEqual(renewedAt, [3000, 6000, 9000, 9500, 10_000]);
    // Counted from the last that was confirmed, which was sent at 6,000.
    assert.equal(life.remainingMs(), 5000);
  });

  it('leaves no timer behind once it has ended, and tells its users once', async () => {
    for (const how of ['end', 'stop'] as const) {
      const { clock, renewedAt, told, life } = begin(async () => TTL_MS);
      await clock.advance(3000);
      life[how]('was closed', 'session');
      life.end('was closed again', 'stolen');
      assert.equal(clock.pending, 0);
      assert.equal(told.length, how === 'end' ? 1 : 0, 'who stops it knows');
      assert.equal(life.remainingMs(), 0);
      assert.equal(life.endReason()?.message, 'it was closed');
      assert.equal(life.endReason(), life.endReason());
      await clock.advance(2 * TTL_MS);
      assert.deepEqual(renewedAt, [3000]);
    }
  });

  it('ends a renewal that is under way, whose answer no longer counts', async () => {
    let asked: AbortSignal | undefined;
    const answer = Promise.withResolvers<number>();
    const { clock, life } = begin((signal) => {
      asked = signal;
      return answer.promise;
    });
    await clock.advance(3000);
    assert.equal(asked?.aborted, false);
    life.stop('was given back', 'session');
    assert.equal(asked?.aborted, true);
    answer.resolve(TTL_MS);
    await clock.advance(TTL_MS);
    assert.equal(life.endReason()?.message, 'it was given back');
    assert.equal(clock.pending, 0);
  });

  it('is over where a renewal is confirmed after its time', async () => {
    const answer = Promise.withResolvers<number>();
    const { clock, told, life } = begin(() => answer.promise);
    await clock.advance(3000);
    clock.stall(TTL_MS - 3000);
    answer.resolve(TTL_MS);
    await settled();
    assert.equal(told[0]?.loss, 'expired');
    assert.equal(life.remainingMs(), 0);
  });

  it('is over at the first look after a stall, before any timer ran', async () => {
    const { clock, told, life } = begin(async () => TTL_MS);
    clock.stall(TTL_MS);
    assert.equal(life.remainingMs(), 0);
    assert.equal(told[0]?.loss, 'expired');
    assert.equal(life.endReason(), told[0]);
    assert.equal(clock.pending, 0);
  });

  it('ends with the reason that the engine gives', async () => {
    const { clock, told } = begin(async () => ({ why: 'is gone', loss: 'stolen' }));
    await clock.advance(3000);
    assert.equal(told[0]?.message, 'it is gone');
    assert.equal(told[0]?.loss, 'stolen');
    assert.equal(clock.pending, 0);
  });

  it('is renewed at once where its grant took so long that a third of it is over', async () => {
    for (const leftMs of [500, 3000, 3001, 6000]) {
      for (const isShared of [false, true]) {
        const clock = new VirtualClock();
        const renewals = isShared ? new SameDelay(clock, TTL_MS / 3) : undefined;
        const sentMs = clock.now() - TTL_MS + leftMs;
        const renew = async () => TTL_MS;
        const life = new RenewedLife({ clock, what: 'it', ttlMs: TTL_MS, sentMs, renewals, renew });
        await clock.advance(100);
        assert.ok(life.remainingMs() > TTL_MS - 100, `${leftMs} ms were left`);
        life.stop('was given back', 'session');
      }
    }
  });

  it('that was over when its grant came is told so, and is not renewed', async () => {
    const clock = new VirtualClock();
    const told: QuorateError[] = [];
    const renew = () => assert.fail('it must not be renewed');
    const sentMs = clock.now() - TTL_MS;
    const life = new RenewedLife({ clock, what: 'it', ttlMs: TTL_MS, sentMs, renew });
    life.join((reason) => void told.push(reason));
    await clock.advance(100);
    assert.equal(told[0]?.loss, 'expired');
    assert.equal(clock.pending, 0);
  });

  it('begins with others where their first renewals are called for together', async () => {
    const clock = new VirtualClock();
    const stops: unknown[] = [];
    class Watched extends SameDelay {
      override stop(alarm: Alarm): void {
        stops.push(alarm);
        super.stop(alarm);
      }
    }
    const renewals = new Watched(clock, TTL_MS / 3);
    const renewedAt: string[] = [];
    const start = (name: string, sentMs = clock.now()) => {
      const renew = async () => {
        renewedAt.push(`${name} ${clock.now()}`);
        return TTL_MS;
      };
      return new RenewedLife({ clock, what: 'it', ttlMs: TTL_MS, sentMs, renewals, renew });
    };
    const stopped = start('stopped');
    await clock.advance(1000);
    const life = start('a');
    assert.equal(clock.pending, 1);
    // Its grant took long: it cannot wait with the others.
    const late = start('late', clock.now() - 2000);
    stopped.stop('was given back', 'session');
    assert.equal(stops.length, 1, 'it is forgotten at once');
    await clock.advance(1000);
    late.stop('was given back', 'session');
    await clock.advance(5000);
    assert.deepEqual(renewedAt, ['late 2000', 'a 4000', 'a 7000']);
    assert.equal(life.remainingMs(), TTL_MS);
    life.stop('was given back', 'session');
    assert.equal(clock.pending, 0);
  });
});
