/** How calls go through policies: what a pipeline of one or two does not show. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { onEvent } from '../telemetry/index.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { bulkhead } from './bulkhead.ts';
import { Call, type CallContext, type End } from './call.ts';
import { Rejection, type RejectionReason } from './outcome.ts';
import { pipeline } from './pipeline.ts';
import { Alone, type Part, type Policy } from './policy.ts';
import { type Gate, type Section, sectionOf, type Ticket, type Wrap } from './section.ts';
import { timeout } from './timeout.ts';

/** The outermost first. */
const guarded = (...policies: (Policy | Gate | Wrap)[]): Section => sectionOf(policies as Part[]);

/** Notes who comes and how it leaves. */
class Door extends Alone implements Gate {
  readonly log: string[];
  readonly leavesEarly: boolean;
  readonly #answer: () => ReturnType<Gate['enter']>;

  constructor(
    log: string[],
    name: string,
    leavesEarly = false,
    answer: () => ReturnType<Gate['enter']> = () => 1,
  ) {
    super(name);
    this.log = log;
    this.leavesEarly = leavesEarly;
    this.#answer = answer;
  }

  enter(): ReturnType<Gate['enter']> {
    this.log.push(`${this.name} in`);
    return this.#answer();
  }

  leave(ticket: Ticket, end: End): void {
    this.log.push(`${this.name} out ${ticket} ${end}`);
  }
}

/** Wrapped around, and does nothing. */
class Paper extends Alone implements Wrap {
  around(call: Call, inner: Section): Promise<unknown> {
    return inner.result(call.fork(call.attempt));
  }
}

describe('gates', () => {
  it('that follow one that waits are passed as well, whether they wait or not', async () => {
    for (const waits of [false, true]) {
      const log: string[] = [];
      const later = (): Promise<number> => Promise.resolve(2);
      const guard = guarded(
        new Door(log, 'a'),
        new Door(log, 'b', false, later),
        new Door(log, 'c', false, waits ? later : undefined),
        new Door(log, 'd'),
      );
      assert.equal(await guard.run(() => 7), 7);
      const c = waits ? 2 : 1;
      assert.deepEqual(log, [
        'a in',
        'b in',
        'c in',
        'd in',
        'd out 1 success',
        `c out ${c} success`,
        'b out 2 success',
        'a out 1 success',
      ]);
    }
  });

  it('that follow one that waits may refuse, or break', async () => {
    const log: string[] = [];
    const later = (): Promise<number> => Promise.resolve(2);
    const no = new Rejection('full', 'c', 5);
    const first = [new Door(log, 'a'), new Door(log, 'b', false, later)];
    for (const refuse of [() => no, () => Promise.resolve(no)]) {
      log.length = 0;
      const guard = guarded(...first, new Door(log, 'c', false, refuse), new Door(log, 'd'));
      assert.equal(await guard.attempt(() => 1), no);
      await assert.rejects(
        guard.run(() => 1),
        no.error,
      );
      const once = ['a in', 'b in', 'c in', 'b out 2 ignored', 'a out 1 ignored'];
      assert.deepEqual(log, [...once, ...once]);
    }
    const broken = new Error('broken');
    for (const fail of [
      () => Promise.reject(broken),
      () => {
        throw broken;
      },
    ]) {
      log.length = 0;
      const guard = guarded(...first, new Door(log, 'c', false, fail));
      assert.deepEqual(await guard.attempt(() => 1), {
        ok: false,
        reason: 'failed',
        error: broken,
      });
      assert.deepEqual(log.slice(-2), ['b out 2 ignored', 'a out 1 ignored']);
    }
  });

  it('that break when they are left fail the call, however it ended', async () => {
    class Breaking extends Door {
      override leave(): void {
        throw new Error('broken');
      }
    }
    for (const guard of [
      guarded(new Breaking([], 'a')),
      guarded(new Breaking([], 'a'), new Paper('paper'), new Door([], 'b')),
    ]) {
      await assert.rejects(
        guard.run(() => 1),
        { message: 'broken' },
      );
      await assert.rejects(
        guard.run(() => Promise.reject(new Error('work'))),
        { message: 'broken' },
      );
      const outcome = await guard.attempt(() => 1);
      assert.equal(!outcome.ok && outcome.reason, 'failed');
    }
  });
});

describe('gates that judge the work', () => {
  const never = (): Promise<never> => new Promise(() => undefined);

  it('are left as soon as a timeout ends the call, once; others when its work has ended', async () => {
    for (const wrapped of [false, true]) {
      const clock = new VirtualClock();
      const log: string[] = [];
      const places = bulkhead({ max: 1 });
      const between = wrapped ? [new Paper('paper')] : [];
      const guard = guarded(
        timeout(10, { clock }),
        new Door(log, 'a', true),
        places,
        new Door(log, 'b'),
        ...between,
        new Door(log, 'c', true),
        new Door(log, 'd'),
      );
      let end: () => void = () => undefined;
      const run = guard.attempt(() => new Promise<void>((resolve) => void (end = resolve)));
      await clock.advance(10);
      await run;
      assert.deepEqual(log.slice(4).toSorted(), ['a out 1 failure', 'c out 1 failure']);
      assert.equal(places.running, 1, 'the work goes on');
      end();
      await settled();
      assert.deepEqual(log.slice(6), ['d out 1 success', 'b out 1 success']);
      assert.equal(places.running, 0);
    }
  });

  it('are left early where they are around what is wrapped around the others', async () => {
    for (const [outer, inner] of [
      [true, false],
      [false, true],
    ] as const) {
      const clock = new VirtualClock();
      const log: string[] = [];
      const guard = guarded(
        timeout(10, { clock }),
        new Door(log, 'a', outer),
        new Paper('paper'),
        new Door(log, 'b', inner),
      );
      const run = guard.attempt(never);
      await clock.advance(10);
      await run;
      assert.deepEqual(log.slice(2), [outer ? 'a out 1 failure' : 'b out 1 failure']);
    }
  });

  it('are left early behind what is wrapped around them alone', async () => {
    const clock = new VirtualClock();
    const log: string[] = [];
    const guard = guarded(timeout(10, { clock }), new Paper('paper'), new Door(log, 'a', true));
    const run = guard.attempt(never);
    await clock.advance(10);
    assert.equal((await run).ok, false);
    assert.deepEqual(log, ['a in', 'a out 1 failure']);
  });

  it('say nothing of a call that another gate has yet to let in', async () => {
    const clock = new VirtualClock();
    const log: string[] = [];
    let letIn: (ticket: number) => void = () => undefined;
    const slow = (): Promise<number> => new Promise((resolve) => void (letIn = resolve));
    const guard = guarded(
      timeout(10, { clock }),
      new Door(log, 'a', true),
      new Paper('paper'),
      new Door(log, 'b', true),
      new Door(log, 'c', true, slow),
    );
    const run = guard.attempt(() => 1);
    await clock.advance(10);
    await run;
    assert.deepEqual(log, ['a in', 'b in', 'c in', 'a out 1 failure']);
    letIn(2);
    await settled();
    assert.deepEqual(log.slice(4, 6).toSorted(), ['b out 1 success', 'c out 2 success']);
  });
});

describe('a call', () => {
  it('has a signal when it is asked for one, and always the same', () => {
    const call = new Call(() => 1);
    const { signal } = call;
    assert.equal(call.signal, signal);
    assert.equal(signal.aborted, false);
    const reason = new Error('enough');
    call.abort(reason);
    call.abort(new Error('again'));
    assert.equal(call.signal, signal);
    assert.equal(signal.reason, reason);
    assert.equal(call.abortReason, reason);
    assert.equal(call.abortedAs, 'ignored');
    const late = new Call(() => 1);
    assert.equal(late.abortedAs, 'ignored');
    late.abort(reason, 'failure');
    assert.equal(late.signal.reason, reason);
    assert.equal(late.abortedAs, 'failure');
  });

  it('ends its attempts with it, those to come too, but not those that it forgot', () => {
    const call = new Call(() => 1);
    const reason = new Error('enough');
    const [forgotten, first, second] = [call.fork(1), call.fork(2), call.fork(3)];
    assert.deepEqual([first.attempt, second.attempt], [2, 3]);
    call.abort(reason, 'failure');
    const late = call.fork(4);
    for (const attempt of [first, second, late]) {
      assert.equal(attempt.isAborted, true);
      assert.equal(attempt.abortReason, reason);
      assert.equal(attempt.abortedAs, 'failure');
    }
    assert.equal(forgotten.isAborted, true);
    const other = new Call(() => 1);
    const gone = other.fork(1);
    other.forgetAttempts();
    const kept = other.fork(2);
    other.abort(reason);
    assert.deepEqual([gone.isAborted, kept.isAborted], [false, true]);
  });

  it('leaves no listener on the signal of its caller, however it ends', async () => {
    const { signal } = new AbortController();
    const guard = guarded(new Door([], 'a'));
    const works: (() => unknown)[] = [() => 1, () => Promise.reject(new Error('bad'))];
    for (const work of works) {
      await guard.attempt(work, { signal });
      await guard.run(work, { signal }).catch(() => undefined);
    }
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});

describe('a rejection', () => {
  it('says which policy it was, why, and what that means', () => {
    const limitBefore = Error.stackTraceLimit;
    const texts: Record<RejectionReason, readonly [code: string, text: string]> = {
      limited: ['ERR_RATE_LIMITED', 'the limit is used up'],
      open: ['ERR_CIRCUIT_OPEN', 'the circuit is open'],
      full: ['ERR_OVERLOADED', 'all places are taken, and so are those in the queue'],
      shed: ['ERR_OVERLOADED', 'overloaded, and other calls matter more'],
      timeout: ['ERR_TIMEOUT', 'it took too long'],
      deadline: ['ERR_TIMEOUT', 'no time is left for it'],
      unavailable: ['ERR_UNAVAILABLE', 'the store of the limit does not answer'],
    };
    for (const [reason, [code, text]] of Object.entries(texts)) {
      const plain = new Rejection(reason as RejectionReason, 'stock');
      assert.deepEqual([plain.ok, plain.end, plain.hadBegun], [false, 'ignored', false]);
      const { error } = plain;
      assert.equal(plain.error, error, 'made once');
      assert.deepEqual(
        [error.code, error.message, error.retryable, error.outcome, error.retryAfterMs],
        [code, `stock: ${text}`, true, 'not-applied', undefined],
      );
      const later = new Rejection(reason as RejectionReason, 'stock', 4.2, true);
      assert.equal(later.end, 'failure');
      assert.deepEqual(
        [later.error.message, later.error.retryable, later.error.outcome, later.error.retryAfterMs],
        [`stock: ${text}; again in 5 ms`, true, 'unknown', 4.2],
      );
      assert.equal(new Rejection('deadline', 'stock', 1, true, 'ignored').end, 'ignored');
    }
    assert.equal(Error.stackTraceLimit, limitBefore);
    assert.ok(new Error('any').stack!.includes('section.test.ts'));
  });
});

describe('a policy', () => {
  it('that is none of ours is of no kind', () => {
    assert.equal(new Door([], 'a').kind, 'other');
  });
});

describe('what a pipeline counts', () => {
  it('is each call, by its end, with the time that it took', async () => {
    const clock = new VirtualClock();
    await clock.advance(5000);
    const guard = pipeline('stock', [timeout('1m', { clock })], { clock });
    const takes =
      (ms: number, isBad: boolean) =>
      ({ signal }: CallContext) =>
        new Promise<void>((resolve, reject) => {
          clock.after(ms, () => (isBad ? reject(new Error('bad')) : resolve()));
          signal.addEventListener('abort', () => reject(signal.reason));
        });
    const stop = new AbortController();
    const told: string[] = [];
    const listen = onEvent('quorate:call:end', ({ outcome, durationMs }) => {
      told.push(`${outcome} ${durationMs}`);
    });
    const calls = [
      guard.attempt(takes(30, false)),
      guard.attempt(takes(50, true)),
      guard.attempt(takes(70, false), { signal: stop.signal }),
    ];
    await clock.advance(10);
    assert.equal(guard.stats().running, 3);
    stop.abort();
    await clock.advance(100);
    await Promise.all(calls);
    listen();
    assert.deepEqual(told, ['aborted 10', 'success 30', 'failed 50']);
    const { calls: all, successes, failures, aborted, running, latency } = guard.stats();
    assert.deepEqual([all, successes, failures, aborted, running], [3, 1, 1, 1, 0]);
    assert.deepEqual([latency.count, latency.meanMs], [3, 30]);
    await clock.advance(11_000);
    assert.equal(guard.stats().latency.count, 0, 'by its own clock');
    assert.equal(guard.stats().durations.sumMs, 90);
  });
});
