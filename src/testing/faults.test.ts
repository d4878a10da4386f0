import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { QuorateError } from '../core/errors.ts';
import { type Random, seededRandom } from '../core/random.ts';
import { adaptive } from '../resilience/adaptive.ts';
import { circuitBreaker } from '../resilience/breaker/circuit-breaker.ts';
import { bulkhead } from '../resilience/bulkhead.ts';
import { deadline } from '../resilience/deadline.ts';
import { degrade } from '../resilience/degrade.ts';
import { fallback } from '../resilience/fallback.ts';
import { hedge } from '../resilience/hedge.ts';
import { limit } from '../resilience/limit.ts';
import { tokenBucket } from '../resilience/limiters.ts';
import { type Pipeline, pipeline } from '../resilience/pipeline.ts';
import type { Policy } from '../resilience/policy.ts';
import { retry } from '../resilience/retry.ts';
import { shed } from '../resilience/shed.ts';
import { openNotingClock } from '../resilience/test-noting-clock.ts';
import { timeout } from '../resilience/timeout.ts';
import { type FaultOptions, type FaultRules, faults } from './faults.ts';
import { settled, VirtualClock } from './virtual-clock.ts';

const NEVER = { rate: 0 };
const ALWAYS = { rate: 1 };

/** Says these shares, one after the other, for ever. */
function saying(...shares: number[]): Random {
  let next = 0;
  return {
    below: (bound) => Math.floor(shares[next++ % shares.length]! * bound),
    id63: () => assert.fail('not asked for'),
  };
}

/** What becomes of calls, a letter for each: fine, error, dropped; capital where it was late. */
async function fates(options: FaultOptions, calls: number): Promise<string> {
  const clock = new VirtualClock();
  const guard = faults({ ...options, clock });
  const said = new Array<string>(calls).fill('d');
  const stop = new AbortController();
  const all = said.map(async (_, i) => {
    const outcome = await guard.attempt(() => 1, { signal: stop.signal });
    const letter = outcome.ok ? 'f' : outcome.reason === 'failed' ? 'e' : 'd';
    said[i] = clock.now() > 0 && letter !== 'd' ? letter.toUpperCase() : letter;
  });
  await clock.advance(1000);
  stop.abort();
  await Promise.all(all);
  return said.join('');
}

describe('faults', () => {
  const storm: FaultRules = {
    error: { rate: 0.3 },
    latency: { rate: 0.5, min: 10, max: '1s' },
    drop: { rate: 0.2 },
  };

  it('are the same for the same seed, and others for another', async () => {
    const first = await fates({ ...storm, seed: 7 }, 100);
    assert.equal(await fates({ ...storm, seed: 7 }, 100), first);
    assert.equal(await fates({ ...storm, random: seededRandom(7) }, 100), first);
    assert.notEqual(await fates({ ...storm, seed: 8 }, 100), first);
    assert.equal(await fates(storm, 100), await fates({ ...storm, seed: 1 }, 100));
    assert.match(first, /f/);
    assert.match(first, /F/);
    assert.match(first, /e/);
    assert.match(first, /E/);
    assert.match(first, /d/);
  });

  it('come as often as they were asked for', async () => {
    const calls = 20_000;
    const guard = faults({ error: { rate: 0.3 }, drop: { rate: 0.1 }, seed: 3 });
    // With all of them on one signal Node takes long to add each listener.
    const stops = Array.from({ length: 200 }, () => new AbortController());
    const all = [];
    for (let i = 0; i < calls; i++) {
      const { signal } = stops[i % stops.length]!;
      all.push(guard.attempt(() => 1, { signal }));
    }
    await settled();
    const { errors, dropped, waiting } = guard.stats();
    assert.ok(Math.abs(errors / calls - 0.3) < 0.01, `${errors}`);
    assert.ok(Math.abs(dropped / calls - 0.1) < 0.01, `${dropped}`);
    assert.equal(waiting, dropped);
    for (const stop of stops) stop.abort();
    await Promise.all(all);
    assert.equal(guard.stats().waiting, 0);
  });

  it('happen to all calls at a rate of 1, and to none at 0', async () => {
    for (const seed of [1, 2, 3]) {
      assert.equal(await fates({ seed, error: ALWAYS, drop: NEVER }, 30), 'e'.repeat(30));
      assert.equal(await fates({ seed, error: NEVER, drop: ALWAYS }, 30), 'd'.repeat(30));
      assert.equal(await fates({ seed, error: NEVER, drop: NEVER }, 30), 'f'.repeat(30));
      const latency = { rate: 1, delay: 5 };
      assert.equal(await fates({ seed, latency }, 30), 'F'.repeat(30));
      assert.equal(await fates({ seed, latency: { ...latency, rate: 0 } }, 30), 'f'.repeat(30));
    }
    assert.equal(await fates({}, 30), 'f'.repeat(30));
  });

  it('of one kind stay with their calls while the rate of another changes', async () => {
    const few = await fates({ ...storm, error: { rate: 0.01 } }, 200);
    const many = await fates({ ...storm, error: { rate: 0.7 } }, 200);
    const dropped = (said: string) => [...said].flatMap((one, i) => (one === 'd' ? [i] : []));
    assert.ok(dropped(few).length > 20);
    assert.deepEqual(dropped(few), dropped(many));
  });

  it('throw an error that may be tried again, or the one that is made', async () => {
    let ran = 0;
    const work = () => (ran += 1);
    await assert.rejects(faults({ error: ALWAYS, name: 'stock' }).run(work), {
      code: 'ERR_UNAVAILABLE',
      message: 'stock: failed on purpose',
      retryable: true,
      outcome: 'not-applied',
    });
    const make = (count: number) => new RangeError(`number ${count}`);
    const own = faults({ error: { rate: 1, make } });
    await assert.rejects(own.run(work), new RangeError('number 1'));
    await assert.rejects(own.run(work), new RangeError('number 2'));
    assert.equal(ran, 0, 'the work was not begun');
  });

  it('lose the answer of work that was done, where they are told to', async () => {
    let ran = 0;
    for (const work of [
      () => (ran += 1),
      () => {
        ran += 1;
        throw new Error('lost as well');
      },
    ]) {
      ran = 0;
      const fails = faults({ error: { rate: 1, afterWork: true } });
      await assert.rejects(fails.run(work), { code: 'ERR_UNAVAILABLE', outcome: 'unknown' });
      assert.equal(ran, 1);
      const drops = faults({ drop: { rate: 1, afterWork: true } });
      const stop = new AbortController();
      const run = drops.attempt(work, { signal: stop.signal });
      await settled();
      assert.equal(ran, 2);
      assert.equal(drops.stats().waiting, 1);
      stop.abort(new Error('enough'));
      assert.equal((await run).ok, false);
      assert.equal(drops.stats().waiting, 0);
    }
  });

  it('leave work alone that is not to be done, and take no timer to wait for ever', async () => {
    const clock = new VirtualClock();
    let ran = 0;
    for (const [rules, timers] of [
      [{ drop: ALWAYS }, 0],
      [{ drop: { rate: 1, afterWork: false } }, 0],
      [{ latency: { rate: 1, delay: 100 }, error: ALWAYS }, 1],
    ] as const) {
      const guard = faults({ ...rules, clock });
      const stop = new AbortController();
      const run = guard.attempt(() => (ran += 1), { signal: stop.signal });
      await settled();
      assert.equal(clock.pending, timers);
      stop.abort();
      await run;
      assert.deepEqual([ran, clock.pending], [0, 0]);
    }
  });

  it('happen to so many of the numbers that are drawn, from the least to the greatest', async () => {
    const endOf = async (rules: FaultRules, share: number): Promise<string> => {
      const guard = faults({ ...rules, random: saying(share) });
      const stop = new AbortController();
      const run = guard.attempt(() => 1, { signal: stop.signal });
      await settled();
      stop.abort();
      const outcome = await run;
      return outcome.ok ? 'fine' : outcome.reason;
    };
    const half = { error: { rate: 0.25 }, drop: { rate: 0.5 } };
    for (const [share, end] of [
      [0, 'failed'],
      [0.2499, 'failed'],
      [0.25, 'fine'],
      [0.4999, 'fine'],
      [0.5, 'aborted'],
      [0.9999, 'aborted'],
    ] as const) {
      assert.equal(await endOf(half, share), end, `${share}`);
    }
    assert.equal(await endOf({ error: NEVER, drop: NEVER }, 0), 'fine');
  });

  it('keep a process alive for who is late, and not for who is dropped', async () => {
    const { clock, noting, alive } = openNotingClock();
    void faults({ drop: ALWAYS, clock: noting }).run(() => 1);
    const late = faults({ latency: { rate: 1, delay: 5 }, clock: noting }).run(() => 1);
    await clock.advance(5);
    await late;
    assert.deepEqual(alive, [true]);
  });

  it('make calls late by the delay, or by anything between the least and the most', async () => {
    const clock = new VirtualClock();
    const takes = async (latency: FaultRules['latency'], ...shares: number[]) => {
      const guard = faults({ latency, clock, random: saying(...shares) });
      const begunMs = clock.now();
      const run = guard.run(() => clock.now() - begunMs);
      await clock.advance(1000);
      assert.deepEqual([clock.pending, guard.stats().waiting], [0, 0]);
      return await run;
    };
    assert.equal(await takes({ rate: 0.5, delay: '250ms' }, 0.25), 250);
    assert.equal(await takes({ rate: 0.5, delay: '250ms' }, 0.5), 0);
    assert.equal(await takes({ rate: 1, min: 100, max: 300 }, 0.5, 0, 0.5), 100);
    assert.equal(await takes({ rate: 1, min: 100, max: 300 }, 0.5, 0.5, 0.5), 200);
    assert.equal(await takes({ rate: 1, max: 300 }, 0.5, 0.5, 0.5), 150);
  });

  it('end at once when a call is aborted while it is late or dropped, and leave no timer', async () => {
    const latency = { rate: 1, delay: '1m' };
    for (const rules of [{ latency }, { drop: ALWAYS }, { latency, error: ALWAYS }]) {
      const clock = new VirtualClock();
      const guard = faults({ ...rules, clock });
      const stop = new AbortController();
      const work = () => assert.fail('was run');
      const run = guard.run(work, { signal: stop.signal });
      const guarded = timeout(50, { clock });
      const late = pipeline('both', [guarded, guard]).attempt(work);
      await settled();
      assert.equal(guard.stats().waiting, 2);
      stop.abort(new Error('enough'));
      await assert.rejects(run, /enough/);
      await settled();
      assert.equal(guard.stats().waiting, 1);
      await clock.advance(50);
      const outcome = await late;
      assert.equal(!outcome.ok && outcome.reason, 'timeout');
      assert.deepEqual([guard.stats().waiting, clock.pending], [0, 0]);
    }
  });

  it('end at once where a call was given up before its turn to be dropped', async () => {
    const clock = new VirtualClock();
    const drops = faults({ drop: { rate: 1, afterWork: true }, clock });
    const guard = pipeline('both', [timeout(10, { clock }), drops]);
    const run = guard.attempt(() => new Promise<void>((done) => void clock.after(20, done)));
    await clock.advance(10);
    assert.equal((await run).ok, false);
    assert.equal(guard.stats().running, 0);
    await clock.advance(10);
    assert.equal(drops.stats().waiting, 0);
  });

  it('are switched off and on, and go on where they were', async () => {
    const shares = Array.from({ length: 30 }, (_, i) => (i % 10) / 10);
    const guard = faults({ error: { rate: 0.5 }, random: saying(...shares) });
    const alone = faults({ error: { rate: 0.5 }, random: saying(...shares) });
    const next = async (one: Policy) => (await one.attempt(() => 1)).ok;
    const said: boolean[] = [];
    assert.equal(guard.isOn, true);
    for (let i = 0; i < 20; i++) {
      guard.switchTo('off');
      assert.equal(guard.isOn, false);
      assert.equal(await next(guard), true);
      guard.switchTo('on');
      const fine = await next(guard);
      assert.equal(fine, await next(alone));
      said.push(fine);
    }
    assert.ok(said.includes(true) && said.includes(false));
    const { calls, errors, delayed, dropped } = guard.stats();
    const failed = said.filter((fine) => !fine).length;
    assert.deepEqual([calls, errors, delayed, dropped], [40, failed, 0, 0]);
    assert.throws(() => guard.switchTo('maybe' as 'on'), {
      code: 'ERR_INVALID_ARGUMENT',
      message: 'mode: maybe; on or off is needed',
    });
    assert.equal(guard.isOn, true);
  });

  it('are changed while they are used, alone or by the name in a pipeline', async () => {
    const make = () => new Error('mine');
    const guard = faults({ error: { rate: 1, make } });
    await assert.rejects(
      guard.run(() => 1),
      /mine/,
    );
    guard.reconfigure({});
    assert.equal(await guard.run(() => 1), 1);
    const both = pipeline('both', [guard]);
    both.reconfigure({ faults: { error: { rate: 1 } } });
    await assert.rejects(
      both.run(() => 1),
      /mine/,
    );
    const bad = { code: 'ERR_INVALID_ARGUMENT' };
    assert.throws(() => guard.reconfigure({ error: { rate: 2 } }), bad);
    assert.throws(() => both.reconfigure({ faults: { drop: { rate: -1 } } }), bad);
    await assert.rejects(
      both.run(() => 1),
      /mine/,
    );
  });

  it('are refused where they cannot be', () => {
    const cases: [FaultOptions, string][] = [];
    for (const rate of [Number.NaN, -0.1, 1.1, Number.POSITIVE_INFINITY, '1' as never]) {
      const text = `rate: ${rate}; a number from 0 to 1 is needed`;
      cases.push([{ error: { rate } }, `error.${text}`]);
      cases.push([{ drop: { rate } }, `drop.${text}`]);
      cases.push([{ latency: { rate, delay: 1 } }, `latency.${text}`]);
    }
    const together = 'error.rate and drop.rate: 1.25 together; at most 1 is possible';
    cases.push(
      [{ error: { rate: 0.5 }, drop: { rate: 0.75 } }, together],
      [{ latency: ALWAYS }, 'latency.delay: missing; delay or max is needed'],
      [
        { latency: { rate: 1, delay: 1, max: 2 } },
        'latency.delay: there is a min or max as well; delay alone, or max, is needed',
      ],
      [
        { latency: { rate: 1, delay: 1, min: 1 } },
        'latency.delay: there is a min or max as well; delay alone, or max, is needed',
      ],
      [{ latency: { rate: 1, min: 3, max: 2 } }, 'latency.max: 2 ms, which is below min, 3 ms'],
      [{ error: { rate: 1, make: 7 as never } }, 'error.make: a function is needed'],
      [{ seed: 1, random: saying(0) }, 'seed: there is a random as well; one of them is needed'],
    );
    for (const seed of [-1, 1.5, Number.NaN, 2 ** 32]) {
      cases.push([{ seed }, `seed: ${seed}; a whole number from 0 to 4294967295 is needed`]);
    }
    for (const [options, message] of cases) {
      assert.throws(() => faults(options), { code: 'ERR_INVALID_ARGUMENT', message });
    }
    for (const [name, latency] of [
      ['latency.delay', { rate: 1, delay: 'soon' }],
      ['latency.min', { rate: 1, min: -1, max: 1 }],
      ['latency.max', { rate: 1, max: Number.NaN }],
    ] as const) {
      assert.throws(
        () => faults({ latency }),
        ({ code, message }: QuorateError) =>
          code === 'ERR_INVALID_ARGUMENT' && message.startsWith(`${name}: `),
      );
    }
    const [least, most, even] = [
      { seed: 0 },
      { seed: 2 ** 32 - 1 },
      { latency: { rate: 1, min: 2, max: 2 } },
    ];
    for (const fine of [least, most, even, { error: { rate: 0.3 }, drop: { rate: 0.7 } }])
      faults(fine);
  });
});

describe('faults inside every policy', () => {
  const POLICIES: Readonly<Record<string, (clock: VirtualClock, random: Random) => Policy>> = {
    timeout: (clock) => timeout('200ms', { clock }),
    cooperative: (clock) => timeout('200ms', { clock, cooperative: true }),
    deadline: (clock) => deadline({ after: '200ms', clock }),
    limit: (clock) => limit(tokenBucket({ rate: '50/s', burst: 10, clock }), { maxWait: '100ms' }),
    bulkhead: () => bulkhead({ max: 5, queue: 5 }),
    adaptive: (clock) => adaptive({ initial: 5, queue: 5, clock }),
    shed: (clock) => shed({ max: 5, clock }),
    circuitBreaker: (clock, random) =>
      circuitBreaker({ consecutive: 3, open: '100ms', clock, random }),
    retry: (clock, random) => retry({ attempts: 3, clock, random }),
    hedge: (clock) => hedge({ after: '50ms', clock }),
    fallback: () => fallback('instead'),
    degrade: (clock, random) => degrade({ fallback: 'instead', open: '100ms', clock, random }),
    pipeline: (clock) => timeout('1s', { clock, name: 'another' }),
  };

  /** Plays 200 calls, one each 10 ms, with an end for all; what they come to as text. */
  async function play(make: (clock: VirtualClock, random: Random) => Policy): Promise<string> {
    const clock = new VirtualClock();
    const random = seededRandom(5);
    const storm = faults({
      seed: 11,
      clock,
      error: { rate: 0.25 },
      latency: { rate: 0.25, max: '300ms' },
      drop: { rate: 0.1 },
    });
    const policy = make(clock, random);
    const guard: Pipeline = pipeline('both', [policy, storm], { clock });
    const ends: string[] = [];
    const stops: AbortController[] = [];
    for (let i = 0; i < 200; i++) {
      const stop = new AbortController();
      stops.push(stop);
      void guard
        .attempt(() => 'done', { signal: stop.signal })
        .then((outcome) => {
          ends.push(
            `${i} ${outcome.ok ? outcome.value : outcome.reason} ${Math.round(clock.now())}`,
          );
        });
      await clock.advance(10);
    }
    await clock.advance(2000);
    for (const stop of stops) stop.abort(new Error('enough'));
    await clock.advance(60_000);
    assert.equal(ends.length, 200, 'each call ends');
    assert.equal(guard.stats().running, 0);
    assert.equal(storm.stats().waiting, 0);
    assert.equal(clock.pending, 0, 'timers are left');
    storm.switchTo('off');
    const again = guard.attempt(() => 'again');
    await clock.advance(60_000);
    assert.deepEqual(await again, { ok: true, value: 'again' });
    const { errors, delayed, dropped } = storm.stats();
    assert.ok(errors > 0 && delayed > 0 && dropped > 0);
    return ends.join('\n');
  }

  for (const [name, make] of Object.entries(POLICIES)) {
    it(`${name}: the same story twice, and nothing is left of it`, async () => {
      assert.equal(await play(make), await play(make));
    });
  }
});
