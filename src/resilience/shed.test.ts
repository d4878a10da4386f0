import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { Call } from './call.ts';
import { loopDelay } from './loop-delay.ts';
import type { Rejection } from './outcome.ts';
import type { Part } from './policy.ts';
import { sectionOf } from './section.ts';
import { type ShedOptions, shed } from './shed.ts';
import { exponential, Load, SimulatedServer, SimulatedTime, type Tally } from './test-overload.ts';

/** Calls that go on until they are ended. */
function open(options: ShedOptions = { max: 1 }) {
  const clock = new VirtualClock();
  const policy = shed({ target: 20, interval: 100, clock, ...options });
  const ends = new Map<string, () => void>();
  const log: string[] = [];
  const call = (name: string, priority?: number, signal?: AbortSignal) => {
    const outcome = policy.attempt(
      () => {
        log.push(name);
        return new Promise<void>((resolve) => ends.set(name, resolve));
      },
      { priority, signal },
    );
    return outcome.then((given) => (given.ok ? 'done' : given.reason));
  };
  const end = async (name: string) => {
    ends.get(name)!();
    await settled();
  };
  return { clock, policy, log, call, end };
}

describe('load shedding with a queue', () => {
  it('lets the most important go first, and of these the one that came first', async () => {
    const { policy, log, call, end } = open();
    const all = [
      call('a', 3),
      call('b', 2),
      call('c'),
      call('d', 0),
      call('e', 1),
      call('f', 0),
      call('g', 9),
    ];
    assert.equal(policy.stats().queued, 6);
    for (const name of ['a', 'd', 'f', 'c', 'e', 'b', 'g']) await end(name);
    assert.deepEqual(log, ['a', 'd', 'f', 'c', 'e', 'b', 'g']);
    assert.deepEqual(await Promise.all(all), Array(7).fill('done'));
    assert.equal(policy.stats().running, 0);
  });

  it('has one that finds no room take the place of one that matters less', async () => {
    const { policy, log, call, end } = open({ max: 1, queue: 2 });
    void call('a');
    const low = call('b', 3);
    void call('c', 2);
    const high = call('d', 1);
    assert.equal(await low, 'shed');
    const refused = (await policy.attempt(() => 1, { priority: 2 })) as Rejection;
    assert.equal(refused.reason, 'shed', 'nobody matters less than this');
    assert.equal(refused.error.code, 'ERR_OVERLOADED');
    assert.equal(refused.retryAfterMs, 100);
    await end('a');
    await end('d');
    assert.equal(await high, 'done');
    assert.deepEqual(log, ['a', 'd', 'c']);
    assert.deepEqual(policy.stats().offered, [0, 2, 2, 1]);
    assert.deepEqual(policy.stats().shed, [0, 0, 1, 1]);
  });

  it('has nobody wait longer than the interval, though nothing ends', async () => {
    const { clock, policy, call } = open();
    void call('a');
    const waits = call('b');
    await clock.advance(99);
    assert.equal(policy.stats().queued, 1);
    await clock.advance(1);
    assert.equal(await waits, 'shed');
    assert.equal(policy.stats().queued, 0);
    assert.equal(clock.pending, 0);
  });

  it('while it is overloaded: lets the last go first, and refuses who has waited longer than the target', async () => {
    const { clock, policy, log, call, end } = open();
    const ends: Promise<unknown>[] = [call('a')];
    for (const name of ['b', 'c', 'd', 'e']) {
      ends.push(call(name));
      await clock.advance(30);
    }
    assert.equal(policy.stats().isOverloaded, true, 'for 120 ms it was not empty');
    const last = call('f');
    void call('g');
    await end('a');
    assert.deepEqual(log, ['a', 'g']);
    await end('g');
    assert.deepEqual(log, ['a', 'g', 'f']);
    assert.equal(policy.stats().isOverloaded, false, 'it has been empty');
    assert.deepEqual(await Promise.all(ends), ['done', 'shed', 'shed', 'shed', 'shed']);
    await end('f');
    assert.equal(await last, 'done');
    await clock.advance(100);
    assert.equal(clock.pending, 0);
  });

  it('while it is overloaded: lets nobody go who has waited too long, though nobody else is there', async () => {
    const { clock, log, call, end } = open();
    const first = [call('a'), call('b')];
    await clock.advance(40);
    const late = [call('c'), call('d')];
    await clock.advance(80);
    await end('a');
    assert.deepEqual(log, ['a']);
    assert.deepEqual(await Promise.all([...first, ...late]), ['done', 'shed', 'shed', 'shed']);
  });

  it('is left at once by who is aborted, and no timer stays', async () => {
    const { clock, policy, log, call, end } = open();
    const controller = new AbortController();
    void call('a');
    const second = call('b', 0, controller.signal);
    void call('c', 3);
    controller.abort();
    assert.equal(await second, 'aborted');
    assert.equal(policy.stats().queued, 1);
    await end('a');
    await end('c');
    assert.deepEqual(log, ['a', 'c']);
    await clock.advance(200);
    assert.equal(clock.pending, 0);
  });

  it('makes use of more places as soon as there are', async () => {
    const { policy, log, call } = open();
    void call('a');
    void call('b');
    void call('c');
    assert.throws(() => policy.reconfigure({}), { code: 'ERR_INVALID_ARGUMENT' });
    assert.equal(policy.stats().queued, 2);
    policy.reconfigure({ max: 3 });
    await settled();
    assert.deepEqual(log, ['a', 'b', 'c']);
  });
});

/** A server that can do 2000 a second: 20 at the same time, 10 ms each. */
const CAPACITY = 2000;
const PRIORITIES = [0, 1, 2, 3];

const done = (tallies: readonly Tally[]): number =>
  tallies.reduce((sum, { done }) => sum + done, 0);
const shareRefused = ({ refused, offered }: Tally): number => refused / offered;

function simulated(mode: 'queue' | 'probe', isRandom: boolean, seed: number) {
  const time = new SimulatedTime();
  const random = seededRandom(seed);
  const server = new SimulatedServer(time, 20, () => (isRandom ? exponential(random, 10) : 10));
  // What the server has in its own queue takes half a millisecond each.
  const how = mode === 'queue' ? { max: 20 } : { probe: () => server.queued * 0.5 };
  const policy = shed({ ...how, clock: time });
  return { policy, load: new Load(time, policy, server, seed) };
}

describe('load shedding under load', () => {
  for (const mode of ['queue', 'probe'] as const) {
    for (const isRandom of [false, true]) {
      const what = `by ${mode}, calls that take ${isRandom ? 'random times' : 'all the same'}:`;

      it(`${what} refuses nobody below the capacity`, async () => {
        const { policy, load } = simulated(mode, isRandom, 1);
        const tallies = await load.offer(0.8 * CAPACITY, 3000, PRIORITIES);
        assert.deepEqual(
          tallies.map(({ refused }) => refused),
          [0, 0, 0, 0],
        );
        assert.equal(policy.stats().isOverloaded, false);
      });

      for (const factor of [1.5, 2, 3, 10]) {
        it(`${what} at ${factor} times the capacity keeps the goodput, and those that matter most`, async () => {
          const { policy, load } = simulated(mode, isRandom, factor);
          const forMs = factor > 4 ? 1000 : 2000;
          await load.offer(factor * CAPACITY, mode === 'queue' ? 500 : 2000, PRIORITIES);
          const tallies = await load.offer(factor * CAPACITY, forMs, PRIORITIES);
          assert.ok(done(tallies) >= (0.95 * forMs * CAPACITY) / 1000, `${done(tallies)} done`);
          assert.equal(policy.stats().isOverloaded, true);
          const [first, second] = tallies;
          // A quarter of the calls each: up to four times the capacity there is room for all of the first.
          if (factor < 4) assert.ok(shareRefused(first!) < 0.03, `${shareRefused(first!)}`);
          assert.ok(shareRefused(first!) < shareRefused(second!) + 0.01);
          if (factor >= 2) assert.ok(shareRefused(tallies[3]!) > 0.95);
          const p50Ms = first!.percentileMs(50);
          assert.ok(p50Ms < (mode === 'queue' ? 20 : 60), `half of the first took ${p50Ms} ms`);
        });
      }

      it(`${what} refuses nobody any more when the overload is over`, async () => {
        const { policy, load } = simulated(mode, isRandom, 3);
        await load.offer(3 * CAPACITY, 1000, PRIORITIES);
        await load.offer(0.5 * CAPACITY, 2000, PRIORITIES);
        const tallies = await load.offer(0.8 * CAPACITY, 2000, PRIORITIES);
        assert.deepEqual(
          tallies.map(({ refused }) => refused),
          [0, 0, 0, 0],
        );
        assert.equal(policy.stats().isOverloaded, false);
      });
    }
  }
});

describe('load shedding by a probe', () => {
  it('asks it no more than four times an interval, and takes nonsense for no delay', async () => {
    let asked = 0;
    let delayMs = Number.NaN;
    const clock = new VirtualClock();
    const probe = () => {
      asked += 1;
      return delayMs;
    };
    const policy = shed({ probe, target: 20, interval: 100, clock });
    const offer = async () => {
      let refused = 0;
      for (let i = 0; i < 100; i++) {
        clock.stall(1);
        if (!(await policy.attempt(() => 1)).ok) refused += 1;
      }
      return refused;
    };
    for (delayMs of [Number.NaN, -5, 20, Number.POSITIVE_INFINITY]) assert.equal(await offer(), 0);
    assert.ok(asked >= 4 && asked <= 16, `${asked}`);
    delayMs = 100;
    await offer();
    assert.ok((await offer()) > 20);
    assert.equal(policy.stats().isOverloaded, true);
    clock.stall(2000);
    delayMs = 0;
    assert.equal(await offer(), 0, 'what was long ago is no measure');
  });

  it('keeps it when it is given new rules without one', async () => {
    let asked = 0;
    const clock = new VirtualClock();
    const policy = shed({ probe: () => (asked += 1), clock });
    policy.reconfigure({ target: 5, interval: 10 });
    await policy.run(() => 1);
    assert.equal(asked, 1);
  });

  it('needs options that make sense', async () => {
    const code = { code: 'ERR_INVALID_ARGUMENT' };
    for (const wrong of [
      {},
      { max: 0 },
      { max: 1.5 },
      { max: Number.NaN },
      { max: 1, queue: -1 },
      { max: 1, levels: 0 },
      { max: 1, levels: 1000 },
      { max: 1, target: 0 },
      { max: 1, target: '1s', interval: '1s' },
      { probe: 5 as never },
    ])
      assert.throws(() => shed(wrong), code, JSON.stringify(wrong));
    const policy = shed({ max: 1, levels: 100, target: 1 });
    for (const priority of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      await assert.rejects(
        policy.run(() => 1, { priority }),
        code,
      );
    assert.equal(policy.stats().running, 0);
    assert.deepEqual(policy.stats().offered, Array(100).fill(0));
  });
});

describe('the delay of the event loop', () => {
  it('is how late it is, at once when it is asked, and fades', async () => {
    const clock = new VirtualClock();
    using loop = loopDelay({ every: '20ms', clock });
    assert.equal(loop.read(), 0, 'nothing is due yet');
    await clock.advance(100);
    assert.equal(loop.read(), 0);
    clock.stall(120);
    assert.equal(loop.read(), 100, 'while it is still blocked');
    await clock.advance(0);
    assert.ok(loop.read() > 40, `${loop.read()}`);
    await clock.advance(400);
    assert.ok(loop.read() < 1, `${loop.read()}`);
  });

  it('is measured until it is closed', async () => {
    const clock = new VirtualClock();
    const loop = loopDelay({ clock });
    assert.equal(clock.pending, 1);
    loop.close();
    loop.close();
    assert.equal(clock.pending, 0);
    clock.stall(1000);
    assert.equal(loop.read(), 0);
    assert.throws(() => loopDelay({ every: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
  });
});

it('shed is called that in errors and figures, or what it is given', () => {
  assert.deepEqual([shed({ max: 1 }).name, shed({ max: 1, name: 'own' }).name], ['shed', 'own']);
});

describe('who is refused', () => {
  const never = (): Promise<never> => new Promise(() => undefined);

  it('makes room in the queue for who comes, where it has waited too long', async () => {
    const clock = new VirtualClock();
    const policy = shed({ max: 1, queue: 2, target: 10, interval: 100, clock });
    const ended: string[] = [];
    const call = (name: string) =>
      void policy.attempt(never).then((outcome) => {
        ended.push(`${name} ${outcome.ok ? 'ok' : outcome.reason} ${clock.now()}`);
      });
    call('runs');
    call('a');
    await clock.advance(50);
    call('b');
    await clock.advance(51);
    assert.deepEqual(ended, ['a shed 100'], 'nobody waits longer than the interval');
    // The queue was not empty for an interval, and b has waited longer than the target.
    call('c');
    call('d');
    await settled();
    assert.deepEqual(ended, ['a shed 100', 'b shed 101']);
    assert.equal(policy.stats().queued, 2);
  });

  it('is the one that matters least, whichever level that is, and leaves at once', async () => {
    const clock = new VirtualClock();
    const policy = shed({ max: 1, queue: 2, clock });
    const section = sectionOf([policy as unknown as Part]);
    const [runs, second, third] = [0, 2, 1].map((priority) => new Call(never, { priority }));
    const ends = [runs!, second!, third!].map((call) => section.result(call));
    await settled();
    const first = section.result(new Call(never, { priority: 0 }));
    const refused = (await ends[1]) as Rejection;
    assert.equal(refused.reason, 'shed');
    assert.equal(policy.stats().queued, 2);
    const enough = new Error('enough');
    second!.abort(enough);
    assert.equal(policy.stats().queued, 2, 'it has left already');
    third!.abort(enough);
    await assert.rejects(ends[2]!, enough);
    assert.equal(policy.stats().queued, 1);
    void first;
  });

  it('is told when to come back by the rules that are in force', async () => {
    const clock = new VirtualClock();
    const policy = shed({ max: 1, queue: 0, target: 10, interval: 100, name: 'own', clock });
    void policy.run(never);
    for (const interval of [100, 300]) {
      policy.reconfigure({ max: 1, queue: 0, target: 10, interval });
      const refused = await policy.attempt(never);
      assert.deepEqual(
        [!refused.ok && refused.reason, !refused.ok && refused.retryAfterMs],
        ['shed', interval],
      );
    }
  });

  it('is told what a priority is', async () => {
    const policy = shed({ max: 1 });
    for (const priority of [-1, 0.5, Number.NaN]) {
      await assert.rejects(
        policy.run(() => 1, { priority }),
        {
          code: 'ERR_INVALID_ARGUMENT',
          message: `priority: ${priority}; a whole number from 0 is needed, 0 matters most`,
        },
      );
    }
  });
});
