import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { type AdaptiveOptions, adaptive } from './adaptive.ts';
import { Call } from './call.ts';
import { Rejection } from './outcome.ts';
import type { Gate, Ticket } from './section.ts';
import { exponential, Load, SimulatedServer, SimulatedTime } from './test-overload.ts';

/** A server that can do 2000 a second: 20 at the same time, 10 ms each. */
const PLACES = 20;
const TAKES_MS = 10;
const CAPACITY = 2000;

function simulated(options: AdaptiveOptions = {}, takesMs = () => TAKES_MS, seed = 1) {
  const time = new SimulatedTime();
  const server = new SimulatedServer(time, PLACES, takesMs);
  const policy = adaptive({ max: 500, clock: time, ...options });
  return { time, server, policy, load: new Load(time, policy, server, seed) };
}

describe('an adaptive limit', () => {
  for (const initial of [2, 20, 200]) {
    for (const factor of [0.5, 0.9, 1.5, 2, 3]) {
      it(`from ${initial}, at ${factor} times the capacity: full goodput, and calls take little longer than without load`, async () => {
        const { policy, load } = simulated({ initial });
        await load.offer(factor * CAPACITY, 10_000);
        const [tally] = await load.offer(factor * CAPACITY, 10_000);
        const share = tally!.done / (10 * CAPACITY * Math.min(1, factor));
        assert.ok(share >= 0.95, `goodput ${share}`);
        const p99Ms = tally!.percentileMs(99);
        assert.ok(p99Ms <= 2 * TAKES_MS, `p99 ${p99Ms}`);
        const { limit, unloadedMs } = policy.stats();
        if (factor < 1)
          assert.ok(tally!.refused <= tally!.offered * 0.001, `${tally!.refused} refused`);
        else {
          assert.ok(limit >= 15 && limit <= 36, `limit ${limit}`);
          assert.ok(Math.abs(unloadedMs! - TAKES_MS) < 1, `unloaded ${unloadedMs}`);
        }
      });
    }
  }

  it('keeps its goodput where calls take random times', async () => {
    for (const seed of [1, 2, 3]) {
      const random = seededRandom(seed);
      const { load } = simulated({ initial: 100 }, () => exponential(random, TAKES_MS), seed);
      await load.offer(2 * CAPACITY, 10_000);
      const [tally] = await load.offer(2 * CAPACITY, 10_000);
      assert.ok(tally!.done >= 0.95 * 10 * CAPACITY, `seed ${seed}: ${tally!.done}`);
      assert.ok(tally!.percentileMs(50) < 16, `seed ${seed}: median ${tally!.percentileMs(50)}`);
    }
  });

  it('follows a server that can do more or less than before', async () => {
    const { server, policy, load } = simulated();
    await load.offer(2 * CAPACITY, 10_000);
    server.places = 5;
    await load.offer(2 * CAPACITY, 20_000);
    const [less] = await load.offer(2 * CAPACITY, 5000);
    assert.ok(less!.done >= 0.95 * 5 * 500, `${less!.done}`);
    // The room for growth, a square root, is more of a small limit.
    assert.ok(less!.percentileMs(99) <= 35, `${less!.percentileMs(99)}`);
    assert.ok(policy.stats().limit <= 14, `${policy.stats().limit}`);
    server.places = 60;
    await load.offer(4 * CAPACITY, 20_000);
    const [more] = await load.offer(4 * CAPACITY, 5000);
    assert.ok(more!.done >= 0.95 * 5 * 6000, `${more!.done}`);
    server.takesMs = () => 3 * TAKES_MS;
    await load.offer(4 * CAPACITY, 20_000);
    const [slower] = await load.offer(4 * CAPACITY, 5000);
    assert.ok(slower!.done >= 0.95 * 5 * 2000, `${slower!.done}`);
  });

  it('never lets in more than the limit, nor has one beyond its bounds', () => {
    const clock = new VirtualClock();
    const random = seededRandom(4);
    const policy = adaptive({ min: 3, max: 9, initial: 5, clock });
    const gate = policy as unknown as Gate;
    const tickets: Ticket[] = [];
    let most = 0;
    for (let i = 0; i < 50_000; i++) {
      clock.stall(exponential(random, 1));
      const { limit } = policy.stats();
      assert.ok(limit >= 3 && limit <= 9, `${limit}`);
      const ticket = gate.enter(new Call(() => undefined));
      assert.equal(ticket instanceof Rejection, tickets.length >= limit);
      if (!(ticket instanceof Rejection)) tickets.push(ticket as Ticket);
      most = Math.max(most, tickets.length);
      if (random.below(5) > 0) continue;
      for (const ended of tickets.splice(0, 1 + random.below(9))) {
        const drawn = random.below(100);
        const end = drawn < 2 ? 'failure' : drawn < 10 ? 'ignored' : 'success';
        gate.leave(ended, end, new QuorateError('ERR_TIMEOUT', ''));
      }
      assert.equal(policy.stats().running, tickets.length);
    }
    assert.ok(most >= 7, `${most}: it has moved`);
  });

  it('lowers the limit where what it calls says that it has too much to do, and for no other failure', () => {
    for (const [error, isLowered] of [
      [new QuorateError('ERR_OVERLOADED', ''), true],
      [new QuorateError('ERR_TIMEOUT', ''), true],
      [new QuorateError('ERR_RATE_LIMITED', ''), true],
      [new Rejection('timeout', 'further in', undefined, true), true],
      [new QuorateError('ERR_KEY_NOT_FOUND', ''), false],
      [new Error('boom'), false],
    ] as const) {
      const clock = new VirtualClock();
      const policy = adaptive({ initial: 40, clock });
      const gate = policy as unknown as Gate;
      for (let i = 0; i < 100; i++) {
        const tickets = Array.from({ length: 20 }, () => gate.enter(new Call(() => undefined)));
        clock.stall(10);
        for (const ticket of tickets)
          if (!(ticket instanceof Rejection)) gate.leave(ticket as Ticket, 'failure', error);
      }
      const { limit } = policy.stats();
      assert.equal(limit < 20, isLowered, `${error}: ${limit}`);
    }
  });

  describe('its queue', () => {
    const open = (options: AdaptiveOptions = {}) => {
      const clock = new VirtualClock();
      const policy = adaptive({ initial: 1, max: 1, queue: 2, clock, ...options });
      const ends: (() => void)[] = [];
      const log: number[] = [];
      const call = (n: number, signal?: AbortSignal) =>
        policy.attempt(
          () => {
            log.push(n);
            return new Promise<void>((resolve) => ends.push(resolve));
          },
          { signal },
        );
      return { clock, policy, ends, log, call };
    };

    it('is served first come, first served, and refuses who finds it full', async () => {
      const { policy, ends, log, call } = open();
      const calls = [1, 2, 3].map((n) => call(n));
      const refused = (await call(4)) as Rejection;
      assert.equal(refused.reason, 'full');
      assert.equal(refused.error.code, 'ERR_OVERLOADED');
      assert.deepEqual(log, [1]);
      assert.equal(policy.stats().queued, 2);
      for (let i = 0; i < 3; i++) {
        ends[i]!();
        await settled();
      }
      assert.deepEqual(log, [1, 2, 3]);
      await Promise.all(calls);
      assert.deepEqual(
        { ...policy.stats(), unloadedMs: 0, loadedMs: 0 },
        { limit: 1, running: 0, queued: 0, refused: 1, unloadedMs: 0, loadedMs: 0 },
      );
    });

    it('is left at once by who is aborted', async () => {
      const { policy, ends, log, call } = open();
      const controller = new AbortController();
      void call(1);
      const second = call(2, controller.signal);
      void call(3);
      controller.abort();
      assert.equal((await second).ok, false);
      assert.equal(policy.stats().queued, 1);
      ends[0]!();
      await settled();
      assert.deepEqual(log, [1, 3]);
    });

    it('is served when a higher limit is set', async () => {
      const { policy, log, call } = open();
      void call(1);
      void call(2);
      assert.throws(() => policy.reconfigure({ max: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
      assert.equal(policy.stats().limit, 1);
      policy.reconfigure({ min: 5 });
      await settled();
      assert.deepEqual(log, [1, 2]);
      assert.equal(policy.stats().limit, 5);
    });

    it('is served no further than the limit, whatever else is set', async () => {
      const { policy, log, call } = open({ isOverload: () => true });
      for (const n of [1, 2, 3]) void call(n);
      policy.reconfigure({ max: 1, queue: 2 });
      await settled();
      assert.deepEqual(log, [1]);
      assert.deepEqual([policy.stats().running, policy.stats().queued], [1, 2]);
    });

    it('is served though what is asked about a failure throws', async () => {
      const boom = new Error('boom');
      const { policy, log, call } = open({
        isOverload: () => {
          throw boom;
        },
      });
      const first = policy.run(async () => {
        await settled();
        throw new Error('other');
      });
      void call(2);
      await assert.rejects(first, (error) => error === boom);
      await settled();
      assert.deepEqual(log, [2]);
    });
  });

  it('refuses what makes no sense', () => {
    for (const wrong of [
      { min: 0 },
      { max: 0 },
      { min: 5, max: 4 },
      { max: Number.POSITIVE_INFINITY },
      { initial: 300 },
      { initial: Number.NaN },
      { min: 30, initial: 20 },
      { queue: -1 },
      { queue: 0.5 },
    ])
      assert.throws(() => adaptive(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
    assert.equal(adaptive({ max: 7 }).stats().limit, 7);
    assert.equal(adaptive({ min: 30 }).stats().limit, 30);
  });
});

it('adaptive keeps what tells an overload when it is given new rules without it', () => {
  const clock = new VirtualClock();
  const asked: unknown[] = [];
  const policy = adaptive({ isOverload: (error) => asked.push(error) > 0, clock });
  policy.reconfigure({ max: 100 });
  const gate = policy as unknown as Gate;
  const error = new Error('mine');
  gate.leave(gate.enter(new Call(() => undefined)) as Ticket, 'failure', error);
  assert.deepEqual(asked, [error]);
});

it('adaptive is called that in errors and figures, or what it is given', () => {
  assert.deepEqual([adaptive({}).name, adaptive({ name: 'own' }).name], ['adaptive', 'own']);
});
