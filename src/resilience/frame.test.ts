import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { bulkhead } from './bulkhead.ts';
import type { Call, CallContext, End } from './call.ts';
import { limit } from './limit.ts';
import { tokenBucket } from './limiters.ts';
import { Rejection } from './outcome.ts';
import { type Gate, type Section, sectionOf, type Wrap } from './section.ts';
import { timeout } from './timeout.ts';

/** A gate that notes what it is told. */
class Note implements Gate {
  readonly name = 'note';
  readonly log: string[];
  readonly #label: string;
  readonly #answer: () => ReturnType<Gate['enter']>;

  constructor(log: string[], label: string, answer: () => ReturnType<Gate['enter']> = () => 0) {
    this.log = log;
    this.#label = label;
    this.#answer = answer;
  }

  enter(): ReturnType<Gate['enter']> {
    this.log.push(`${this.#label} in`);
    return this.#answer();
  }

  leave(ticket: unknown, end: End): void {
    this.log.push(`${this.#label} out ${ticket} ${end}`);
  }
}

/** Tries again as often as it is told. */
class Again implements Wrap {
  readonly name = 'again';
  readonly #times: number;

  constructor(times: number) {
    this.#times = times;
  }

  async around(call: Call, inner: Section): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await inner.result(call.fork(attempt));
      } catch (error) {
        if (attempt === this.#times) throw error;
      }
    }
  }
}

const never = (): Promise<never> => new Promise(() => undefined);

describe('policies around work', () => {
  for (const around of [[], [timeout('1m')]]) {
    const where = around.length === 0 ? 'alone' : 'inside a timeout';
    it(`a gate that breaks when it is left, ${where}: the call rejects with its error`, async () => {
      const gate: Gate = {
        name: 'broken',
        enter: () => 0,
        leave() {
          throw new Error('broken');
        },
      };
      const guard = sectionOf([...(around as unknown as Wrap[]), gate]);
      await assert.rejects(
        guard.run(() => 7),
        /^Error: broken$/,
      );
      const failing = () => Promise.reject(new Error('down'));
      const outcome = await guard.attempt(failing);
      assert.equal(!outcome.ok && (outcome.error as Error).message, 'broken');
    });
  }

  it('lets calls in from the outside in, and out from the inside out, with each its own ticket', async () => {
    const log: string[] = [];
    const gates = [1, 2, 3].map((n) => new Note(log, `${n}`, () => n * 10));
    const guard = sectionOf([gates[0]!, gates[1]!, new Again(2), gates[2]!]);
    let failures = 1;
    const value = await guard.run(() => {
      log.push('work');
      if (failures-- > 0) throw new Error('once');
      return 7;
    });
    assert.equal(value, 7);
    assert.deepEqual(log, [
      '1 in',
      '2 in',
      '3 in',
      'work',
      '3 out 30 failure',
      '3 in',
      'work',
      '3 out 30 success',
      '2 out 20 success',
      '1 out 10 success',
    ]);
  });

  it('gives back what the gates before have let in where one refuses', async () => {
    for (const late of [false, true]) {
      const log: string[] = [];
      const no = new Rejection('open', 'b', 5);
      const refuse = () => (late ? Promise.resolve(no) : no);
      const guard = sectionOf([new Note(log, '1'), new Note(log, '2', refuse), new Note(log, '3')]);
      const work = () => assert.fail('was run');
      assert.equal(await guard.attempt(work), no);
      await assert.rejects(guard.run(work), {
        code: 'ERR_CIRCUIT_OPEN',
        message: 'b: the circuit is open; again in 5 ms',
        retryAfterMs: 5,
        outcome: 'not-applied',
        retryable: true,
      });
      const once = ['1 in', '2 in', '1 out 0 ignored'];
      assert.deepEqual(log, [...once, ...once]);
    }
  });

  it('counts what a gate throws as its own failure, not as one of the work', async () => {
    const log: string[] = [];
    const broken = new Note(log, '2', () => {
      throw new QuorateError('ERR_INVALID_ARGUMENT', 'odd');
    });
    const guard = sectionOf([new Note(log, '1'), broken]);
    await assert.rejects(
      guard.run(() => 1),
      { code: 'ERR_INVALID_ARGUMENT' },
    );
    assert.deepEqual(log, ['1 in', '2 in', '1 out 0 ignored']);
  });

  it('tells the outcome of success, failure, rejection and abort', async () => {
    const guard = sectionOf([new Note([], '1')]);
    assert.deepEqual(await guard.attempt(() => 7), { ok: true, value: 7 });
    const error = new Error('bad');
    const failing = await guard.attempt(async () => Promise.reject(error));
    assert.deepEqual(failing, { ok: false, reason: 'failed', error });
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    const work = () => assert.fail('was run');
    assert.deepEqual(await guard.attempt(work, { signal }), {
      ok: false,
      reason: 'aborted',
      error: reason,
    });
    await assert.rejects(guard.run(work, { signal }), reason);
  });

  it('hands on the outcome of another guard that the work has asked', async () => {
    const no = new Rejection('open', 'b');
    const inner = sectionOf([new Note([], '1', () => no)]);
    const log: string[] = [];
    const outer = sectionOf([new Note(log, 'outer'), new Again(2)]);
    assert.equal(await outer.run(() => inner.attempt(() => 1)), no);
    assert.deepEqual(await outer.attempt(() => inner.attempt(() => 1)), { ok: true, value: no });
    assert.deepEqual(log.slice(0, 2), ['outer in', 'outer out 0 success']);
  });

  it('ends at once when the signal is aborted, with its reason; what fails then is nobody’s failure', async () => {
    const log: string[] = [];
    const guard = sectionOf([new Note(log, '1'), new Again(1), new Note(log, '2')]);
    const stop = new AbortController();
    let seen: AbortSignal | undefined;
    let fail: (error: Error) => void = () => undefined;
    const work = ({ signal }: CallContext) => {
      seen = signal;
      return new Promise<number>((_, reject) => {
        fail = reject;
      });
    };
    const run = guard.run(work, { signal: stop.signal });
    await settled();
    const reason = new Error('enough');
    stop.abort(reason);
    await assert.rejects(run, reason);
    assert.equal(seen?.reason, reason);
    assert.deepEqual(log, ['1 in', '2 in'], 'the work has not ended yet');
    fail(new Error('another'));
    await settled();
    assert.deepEqual(log.slice(2), ['2 out 0 ignored', '1 out 0 ignored']);
  });

  it('leaves no listener on the signal of its caller', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    signal.addEventListener = () => void (listeners += 1);
    signal.removeEventListener = () => void (listeners -= 1);
    const guard = sectionOf([new Note([], '1')]);
    await guard.run(() => 1, { signal });
    await guard.attempt(() => Promise.reject(new Error('bad')), { signal });
    await assert.rejects(
      guard.run(() => Promise.reject(new Error('bad')), { signal }),
      /bad/,
    );
    assert.equal(listeners, 0);
  });

  it('makes a signal only where one is looked at, aborted already where it is too late', async () => {
    const clock = new VirtualClock();
    const guard = sectionOf([timeout(10, { clock }) as never]);
    let context: CallContext | undefined;
    const run = guard.attempt((given) => {
      context = given;
      return never();
    });
    await clock.advance(10);
    assert.equal((await run).ok, false);
    assert.equal(context!.signal.aborted, true);
    assert.equal((context!.signal.reason as QuorateError).code, 'ERR_TIMEOUT');
  });
});

describe('timeout', () => {
  it('ends calls in time, each on its own, with one timer for all', async () => {
    const clock = new VirtualClock();
    const guard = timeout(100, { clock });
    const ends: string[] = [];
    const start = (label: string, work: () => Promise<unknown>) =>
      guard.attempt(work).then((outcome) => {
        ends.push(`${label} ${outcome.ok ? 'ok' : outcome.reason} ${clock.now()}`);
      });
    const slow = start('slow', never);
    await clock.advance(60);
    const calls = [start('later', never), start('quick', async () => 1)];
    assert.equal(clock.pending, 1);
    await clock.advance(200);
    await Promise.all([slow, ...calls]);
    assert.deepEqual(ends, ['quick ok 60', 'slow timeout 100', 'later timeout 160']);
    assert.equal(clock.pending, 0);
  });

  it('aborts only the calls that are late: another keeps all of its time', async () => {
    const clock = new VirtualClock();
    const guard = timeout(100, { clock });
    const signals: AbortSignal[] = [];
    const work = ({ signal }: CallContext) => {
      signals.push(signal);
      return never();
    };
    const first = guard.attempt(work);
    await clock.advance(80);
    const second = guard.attempt(work);
    await clock.advance(20);
    await first;
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [true, false],
    );
    await clock.advance(80);
    await second;
  });

  it('says that the outcome is unknown, and drops what comes late', async () => {
    const clock = new VirtualClock();
    const guard = timeout('1s', { clock, name: 'stock' });
    for (const late of [async () => 7, () => Promise.reject(new Error('late'))]) {
      const run = guard.run(async () => {
        await new Promise<void>((resolve) => void clock.after(2000, resolve));
        return late();
      });
      const ended = assert.rejects(run, {
        code: 'ERR_TIMEOUT',
        outcome: 'unknown',
        message: 'stock: it took too long',
      });
      await clock.advance(1000);
      await ended;
      await clock.advance(2000);
    }
  });

  it('waits for cooperative work, and is still late', async () => {
    const clock = new VirtualClock();
    const guard = timeout(100, { clock, cooperative: true });
    let endedAt = 0;
    const run = guard
      .attempt(async ({ signal }) => {
        await new Promise((_, reject) => {
          signal.addEventListener('abort', () => clock.after(50, () => reject(signal.reason)));
        });
      })
      .then((outcome) => {
        endedAt = clock.now();
        return outcome;
      });
    await clock.advance(200);
    const outcome = await run;
    assert.equal(!outcome.ok && outcome.reason, 'timeout');
    assert.equal(endedAt, 150);
  });

  it('counts as a failure of the work for what is inside and around it', async () => {
    const clock = new VirtualClock();
    const log: string[] = [];
    const guard = sectionOf([
      new Note(log, 'outer'),
      timeout(10, { clock }) as never,
      new Note(log, 'inner'),
    ]);
    const run = guard.attempt(({ signal }) => {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    });
    await clock.advance(10);
    await run;
    assert.deepEqual(log, ['outer in', 'inner in', 'inner out 0 failure', 'outer out 0 failure']);
  });

  it('refuses times that are none', () => {
    for (const after of [0, -1, Number.NaN, 'soon']) {
      assert.throws(() => timeout(after), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });
});

describe('bulkhead', () => {
  it('runs so many, queues some, refuses the rest, in the order in which they came', async () => {
    const guard = bulkhead({ max: 2, queue: 2 });
    const ends: (() => void)[] = [];
    const begun: number[] = [];
    const start = (n: number) =>
      guard.attempt(() => {
        begun.push(n);
        return new Promise<void>((resolve) => void ends.push(resolve));
      });
    const calls = [1, 2, 3, 4, 5].map(start);
    await settled();
    assert.deepEqual(begun, [1, 2]);
    assert.deepEqual([guard.running, guard.queued], [2, 2]);
    const refused = await calls[4]!;
    assert.equal(!refused.ok && refused.reason, 'full');
    ends.shift()!();
    await settled();
    const late = start(6);
    assert.deepEqual(begun, [1, 2, 3]);
    for (let i = 0; i < 4; i++) {
      ends.shift()!();
      await settled();
    }
    await Promise.all([...calls, late]);
    assert.deepEqual(begun, [1, 2, 3, 4, 6]);
    assert.deepEqual([guard.running, guard.queued], [0, 0]);
  });

  it('forgets those who give up in the queue, at once, and starves nobody for them', async () => {
    const guard = bulkhead({ max: 1, queue: 3 });
    let end: () => void = () => undefined;
    const first = guard.run(() => new Promise<void>((resolve) => void (end = resolve)));
    const stop = new AbortController();
    const work = () => assert.fail('was run');
    const second = guard.run(work, { signal: stop.signal });
    const third = guard.run(() => 3);
    const fourth = guard.run(work, { signal: stop.signal });
    await settled();
    const reason = new Error('enough');
    stop.abort(reason);
    await assert.rejects(second, reason);
    await assert.rejects(fourth, reason);
    assert.equal(guard.queued, 1);
    end();
    await first;
    assert.equal(await third, 3);
    assert.deepEqual([guard.running, guard.queued], [0, 0]);
  });

  it('keeps the place of work that goes on after a timeout around it', async () => {
    const clock = new VirtualClock();
    const places = bulkhead({ max: 1 });
    const guard = sectionOf([timeout(10, { clock }) as never, places as never]);
    let end: () => void = () => undefined;
    const run = guard.attempt(() => new Promise<void>((resolve) => void (end = resolve)));
    await clock.advance(10);
    await run;
    assert.equal(places.running, 1);
    end();
    await settled();
    assert.equal(places.running, 0);
  });

  it('refuses numbers that are none', () => {
    for (const bad of [{ max: 0 }, { max: 1.5 }, { max: Number.NaN }, { max: 1, queue: -1 }]) {
      assert.throws(() => bulkhead(bad), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });
});

describe('limit', () => {
  it('takes the cost of the key of each call, and says when to come back', async () => {
    const clock = new VirtualClock();
    const guard = limit(tokenBucket({ rate: '10/s', burst: 10, clock }));
    assert.equal(await guard.run(() => 1, { key: 'a', cost: 10 }), 1);
    const refused = await guard.attempt(() => 1, { key: 'a' });
    assert.equal(refused.ok, false);
    assert.ok(refused.retryAfterMs! > 99 && refused.retryAfterMs! < 101);
    assert.equal(await guard.run(() => 2, { key: 'b' }), 2);
    await assert.rejects(
      guard.run(() => 1, { key: 'b', cost: 11 }),
      { code: 'ERR_INVALID_ARGUMENT' },
    );
  });

  it('waits as long as it may, in order, and gives up with the signal of the call', async () => {
    const clock = new VirtualClock();
    const guard = limit(tokenBucket({ rate: '10/s', burst: 1, clock }), { maxWait: 250 });
    const at: number[] = [];
    const calls = [1, 2, 3, 4].map(() =>
      guard.attempt(() => void at.push(Math.round(clock.now()))),
    );
    const stop = new AbortController();
    await settled();
    const outcome = await calls[3]!;
    assert.equal(!outcome.ok && outcome.reason, 'limited');
    stop.abort(new Error('enough'));
    await assert.rejects(
      guard.run(() => 1, { signal: stop.signal }),
      /enough/,
    );
    await clock.advance(1000);
    await Promise.all(calls);
    assert.deepEqual(at, [0, 100, 200]);
    const waiting = new AbortController();
    await guard.run(() => 1);
    const given = guard.run(() => assert.fail('was run'), { signal: waiting.signal });
    await settled();
    waiting.abort(new Error('enough'));
    await assert.rejects(given, /enough/);
    await settled();
    assert.equal(clock.pending, 0);
  });
});
