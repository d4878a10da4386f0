/**
 * What a million guarded calls leave behind: no timer, no listener, no promise that waits, no memory. A leak that each check has to
 * see is planted for it.
 */
import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Clock, systemClock } from '../src/core/clock.ts';
import { seededRandom } from '../src/core/random.ts';
import {
  adaptive,
  bulkhead,
  type CallContext,
  type CallOptions,
  circuitBreaker,
  deadline,
  degrade,
  fallback,
  hedge,
  limit,
  type Policy,
  pipeline,
  retry,
  shed,
  slidingWindow,
  timeout,
  tokenBucket,
} from '../src/resilience/index.ts';
import { Alone } from '../src/resilience/policy.ts';
import { faults, VirtualClock } from '../src/testing/index.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const random = seededRandom(1);
const CALLS_AT_ONCE = 64;
const WARM_UP_CALLS = 20_000;
const ALONE_CALLS = 10_000;
/** More than the noise, and ten bytes a call. */
const ALONE_BYTES = 100_000;
/** With the clock of the system, where each 64 take some milliseconds. */
const REAL_CALLS = 640;
/** Of the calls of a policy with a leak, one in so many leaves something. */
const LEAKS_EVERY = 40;
const TIMEOUT_MS = 20;

type Make = (clock: Clock) => Policy;

/** Small enough for these ends to happen to some of the calls. */
const POLICIES: Readonly<Record<string, readonly [make: Make, ...ends: string[]]>> = {
  timeout: [(clock) => timeout(TIMEOUT_MS, { clock }), 'failed', 'timeout'],
  'cooperative timeout': [
    (clock) => timeout(TIMEOUT_MS, { clock, cooperative: true }),
    'failed',
    'timeout',
  ],
  deadline: [(clock) => deadline({ after: TIMEOUT_MS, clock }), 'failed', 'deadline'],
  limit: [(clock) => limit(tokenBucket({ rate: '500/s', burst: 20, clock })), 'failed', 'limited'],
  'limit with a line': [
    (clock) => limit(slidingWindow({ rate: '20/20ms', clock }), { maxWait: TIMEOUT_MS }),
    'failed',
    'limited',
  ],
  bulkhead: [() => bulkhead({ max: 10, queue: 10 }), 'failed', 'full'],
  adaptive: [(clock) => adaptive({ initial: 10, queue: 10, clock }), 'failed', 'full'],
  shed: [(clock) => shed({ max: 10, queue: 10, target: 2, interval: 10, clock }), 'failed', 'shed'],
  circuitBreaker: [
    (clock) =>
      circuitBreaker({
        window: { calls: 8 },
        failureRate: 0.2,
        open: 5,
        clock,
        random,
      }),
    'failed',
    'open',
  ],
  retry: [
    (clock) => retry({ attempts: 3, backoff: { kind: 'constant', delay: 2 }, clock, random }),
    'failed',
  ],
  hedge: [(clock) => hedge({ after: 5, max: 2, clock }), 'failed'],
  fallback: [() => fallback(async () => 'instead')],
  degrade: [(clock) => degrade({ fallback: 'instead', minCalls: 5, open: 5, clock, random })],
  'timeout around faults': [
    (clock) => {
      const [error, drop] = [{ rate: 0.1 }, { rate: 0.1 }];
      const storm = faults({ error, drop, latency: { rate: 0.1, max: 5 }, clock });
      return pipeline('stormy', [timeout(TIMEOUT_MS, { clock }), storm], { clock });
    },
    'failed',
    'timeout',
  ],
};

const five: Make = (clock) =>
  pipeline(
    'five',
    [
      timeout(TIMEOUT_MS, { clock }),
      limit(tokenBucket({ rate: '8000/s', burst: 60, clock })),
      retry({ attempts: 2, backoff: { kind: 'constant', delay: 2 }, clock, random }),
      circuitBreaker({ consecutive: 6, open: 5, clock, random }),
      bulkhead({ max: 32, queue: 8 }),
    ],
    { clock },
  );

/** Ends when it is told to, and not before. */
function untilAborted({ signal }: CallContext): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

const bad = new Error('bad');
const fine = (): number => 7;
const fineLater = async (): Promise<number> => 7;
const failing = (): never => {
  throw bad;
};
const failingLater = (): Promise<never> => Promise.reject(bad);
const WORKS: readonly ((context: CallContext) => unknown)[] = [
  fine,
  fineLater,
  failing,
  fine,
  failingLater,
  fineLater,
  untilAborted,
  fine,
];

/** Calls of all kinds. */
class Load {
  readonly guard: Policy;
  /** Of all calls that have one for as long as the process runs, such as for its end. */
  readonly shared = new AbortController().signal;
  readonly ends = new Set<string>();
  /** Calls that have yet to end. */
  running = 0;
  readonly #advance: (ms: number) => Promise<void>;
  #turn = 0;

  constructor(guard: Policy, advance: (ms: number) => Promise<void>) {
    this.guard = guard;
    this.#advance = advance;
  }

  async run(calls: number): Promise<void> {
    for (let made = 0; made < calls; made += CALLS_AT_ONCE) {
      const [soon, later] = [new AbortController(), new AbortController()];
      for (let i = 0; i < CALLS_AT_ONCE; i++) this.#call(i, soon.signal, later.signal);
      await this.#advance(1);
      soon.abort(bad);
      // Time enough for timeouts now and then.
      this.#turn += 1;
      await this.#advance(this.#turn % 4 === 0 ? 2 * TIMEOUT_MS : 4);
      later.abort(bad);
    }
    await this.#advance(5 * TIMEOUT_MS);
  }

  #call(i: number, soon: AbortSignal, later: AbortSignal): void {
    const work = WORKS[i % WORKS.length]!;
    // What would wait for ever is given up sooner or later.
    const own = i % 3 === 0 ? soon : work === untilAborted || i % 3 === 1 ? later : undefined;
    const options: CallOptions = { key: i % 5 === 0 ? 'a' : 'b', priority: i % 3 };
    this.running += 1;
    if (i % 4 === 0) {
      const run = this.guard.run(work, { ...options, signal: this.shared });
      run.then(this.#onEnd, this.#onEnd);
      return;
    }
    this.guard.attempt(work, { ...options, signal: own }).then((outcome) => {
      this.ends.add(outcome.ok ? 'ok' : outcome.reason);
      this.running -= 1;
    });
  }

  readonly #onEnd = (): void => {
    this.running -= 1;
  };
}

function virtual(make: Make): { readonly clock: VirtualClock; readonly load: Load } {
  const clock = new VirtualClock();
  return { clock, load: new Load(make(clock), (ms) => clock.advance(ms)) };
}

/** Of the system: also timers that would not keep the process alive. */
function real(make: Make): Load {
  return new Load(make(systemClock), (ms) => new Promise((done) => void setTimeout(done, ms)));
}

/** What `run` has made and not ended: timers, and promises that wait, whoever made them. */
async function leftBy(run: () => Promise<void>): Promise<Readonly<Record<string, number>>> {
  const made = new Map<number, string>();
  const types = ['PROMISE', 'Timeout', 'Immediate'];
  let isRunning = false;
  const hook = createHook({
    init: (id, type) => void (isRunning && types.includes(type) && made.set(id, type)),
    promiseResolve: (id) => void made.delete(id),
    destroy: (id) => void made.delete(id),
  });
  hook.enable();
  // In a turn of its own, so that nobody else makes anything meanwhile.
  await new Promise<void>((done) => {
    setImmediate(() => {
      isRunning = true;
      const onEnd = (): void => {
        isRunning = false;
        done();
      };
      run().then(onEnd);
    });
  });
  // The end of a timer is told a turn later.
  for (let i = 0; i < 3; i++) await new Promise<void>((done) => void setImmediate(done));
  hook.disable();
  const left: Record<string, number> = {};
  for (const type of made.values()) left[type] = (left[type] ?? 0) + 1;
  return left;
}

async function heapBytes(): Promise<number> {
  // What is held weakly, as signals are by what they follow, takes some turns to go.
  for (let i = 0; i < 6; i++) {
    await new Promise<void>((done) => void setImmediate(done));
    collect();
  }
  return process.memoryUsage().heapUsed;
}

/** How much more memory is in use after these calls than before them, once the load is warm. */
async function bytesKeptBy(load: Load, calls: number): Promise<number> {
  await load.run(WARM_UP_CALLS);
  const beforeBytes = await heapBytes();
  await load.run(calls);
  return (await heapBytes()) - beforeBytes;
}

/** Before there is a test: while one runs Node follows each promise, which takes four times as long. */
const million = virtual(five);
const millionBytes = await bytesKeptBy(million.load, 1_000_000);

describe('what calls leave behind', () => {
  it('is nothing after a million through five policies', async () => {
    const { clock, load } = million;
    assert.ok(millionBytes < 1_000_000, `${millionBytes} bytes are kept`);
    assert.deepEqual([load.running, clock.pending], [0, 0]);
    assert.equal(getEventListeners(load.shared, 'abort').length, 0);
    const ends = ['ok', 'failed', 'aborted', 'timeout', 'limited', 'open', 'full'];
    assert.deepEqual([...load.ends].sort(), ends.sort(), 'all ends have happened');
    assert.deepEqual(await leftBy(() => real(five).run(REAL_CALLS)), {});
  });

  for (const [name, [make, ...ends]] of Object.entries(POLICIES)) {
    it(`is nothing of ${name} alone`, async () => {
      const { clock, load } = virtual(make);
      const keptBytes = await bytesKeptBy(load, ALONE_CALLS);
      assert.ok(keptBytes < ALONE_BYTES, `${keptBytes} bytes are kept`);
      assert.deepEqual([load.running, clock.pending], [0, 0]);
      assert.equal(getEventListeners(load.shared, 'abort').length, 0);
      for (const end of ['ok', 'aborted', ...ends])
        assert.ok(load.ends.has(end), `none was ${end}`);
      assert.deepEqual(await leftBy(() => real(make).run(REAL_CALLS)), {});
    });
  }
});

/** Lets all calls in, and leaves something of some. */
class Leaky extends Alone {
  readonly #leak: () => void;
  #calls = 0;

  constructor(leak: () => void) {
    super('leaky');
    this.#leak = leak;
  }

  enter(): number {
    this.#calls += 1;
    if (this.#calls % LEAKS_EVERY === 0) this.#leak();
    return 0;
  }

  leave(): void {
    // It has left something already.
  }
}

describe('a leak in one call of forty is seen, where it is', () => {
  const withLeak =
    (leak: (clock: Clock) => void): Make =>
    (clock) =>
      pipeline('leaky', [new Leaky(() => leak(clock))], { clock });
  const kept: unknown[] = [];

  it('of memory', async () => {
    const make = withLeak(() => kept.push(new Array(128).fill(0)));
    const keptBytes = await bytesKeptBy(virtual(make).load, ALONE_CALLS);
    kept.length = 0;
    assert.ok(keptBytes > ALONE_BYTES, `${keptBytes}`);
  });

  it('of a timer, on the virtual clock and on that of the system', async () => {
    const cancels: (() => void)[] = [];
    const make = withLeak((clock) => cancels.push(clock.after(3_600_000, () => undefined)));
    const { clock, load } = virtual(make);
    await load.run(LEAKS_EVERY);
    assert.equal(clock.pending, 1);
    assert.deepEqual(await leftBy(() => real(make).run(REAL_CALLS)), {
      Timeout: REAL_CALLS / LEAKS_EVERY,
    });
    for (const cancel of cancels) cancel();
  });

  it('of a listener', async () => {
    const { load } = virtual(
      withLeak(() => load.shared.addEventListener('abort', () => kept.push(1))),
    );
    await load.run(LEAKS_EVERY);
    assert.equal(getEventListeners(load.shared, 'abort').length, 1);
  });

  it('of a promise that waits for ever', async () => {
    const make = withLeak(() => kept.push(new Promise(() => undefined)));
    assert.deepEqual(await leftBy(() => real(make).run(REAL_CALLS)), {
      PROMISE: REAL_CALLS / LEAKS_EVERY,
    });
    kept.length = 0;
  });
});
