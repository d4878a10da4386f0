import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, it, type TestContext } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import { constantBackoff } from '../backoff.ts';
import { retry } from '../retry.ts';
import type { WorkerPoolOptions } from './pool-options.ts';
import type { TaskOptions } from './task.ts';
import { workerPool } from './worker-pool.ts';

/** A pool of tasks that go on until they are ended. */
function open(options: Partial<WorkerPoolOptions> = {}) {
  const clock = new VirtualClock();
  const errors: unknown[] = [];
  const pool = workerPool({ size: 1, clock, onError: (error) => errors.push(error), ...options });
  const log: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const workOf = (name: string) => () => {
    log.push(name);
    return new Promise<string>((resolve, reject) => {
      ends.set(name, (error) => (error === undefined ? resolve(name) : reject(error)));
    });
  };
  const submit = (name: string, given?: TaskOptions) => {
    const task = pool.submit(workOf(name), given);
    task.then(undefined, () => undefined);
    return task;
  };
  const end = async (name: string, error?: Error) => {
    ends.get(name)!(error);
    await settled();
  };
  return { clock, errors, pool, log, workOf, submit, end };
}

/** Rejections that nobody handles, from now on to the end of a test. */
function unhandledIn(t: TestContext): unknown[] {
  const unhandled: unknown[] = [];
  const listeners = process.listeners('unhandledRejection');
  const listener = (error: unknown) => unhandled.push(error);
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', listener);
  t.after(() => {
    process.off('unhandledRejection', listener);
    for (const one of listeners) process.on('unhandledRejection', one);
  });
  return unhandled;
}

const codeIs = (code: string) => (error: unknown) =>
  isQuorateError(error) && error.code === code ? true : assert.fail(String(error));

describe('a pool of workers', () => {
  it('runs as many tasks as it has workers, the others in the order in which they came', async () => {
    const { pool, log, submit, end } = open({ size: 2 });
    const tasks = ['a', 'b', 'c', 'd'].map((name) => submit(name));
    assert.deepEqual(log, ['a', 'b'], 'begun at once');
    assert.deepEqual(
      tasks.map(({ state }) => state),
      ['running', 'running', 'queued', 'queued'],
    );
    await end('b');
    await end('a');
    assert.deepEqual(log, ['a', 'b', 'c', 'd']);
    await end('c');
    await end('d');
    assert.deepEqual(await Promise.all(tasks), ['a', 'b', 'c', 'd']);
    const { submitted, done, running, queued } = pool.stats();
    assert.deepEqual([submitted, done, running, queued], [4, 4, 0, 0]);
  });

  it('takes work that is not asynchronous, or is a promise that begins when it is waited for', async () => {
    const { pool } = open();
    const where = new AsyncLocalStorage<string>();
    let began: string | undefined;
    class Lazy extends Promise<number> {
      override then<A, B>(
        onValue?: ((value: number) => A | PromiseLike<A>) | null,
        onError?: ((error: unknown) => B | PromiseLike<B>) | null,
      ): Promise<A | B> {
        began = where.getStore();
        return Promise.resolve(2).then(onValue, onError) as Promise<A | B>;
      }
    }
    const lazy = new Lazy(() => undefined);
    const blocker = pool.submit(() => settled());
    const tasks = [
      pool.submit(() => 1),
      where.run('here', () => pool.submit((): PromiseLike<number> => lazy)),
    ];
    await blocker;
    assert.deepEqual(await Promise.all(tasks), [1, 2]);
    assert.equal(began, 'here');
  });

  it('begins a task in the context in which it was submitted', async () => {
    const { pool } = open();
    const where = new AsyncLocalStorage<string>();
    const seen = ['a', 'b', 'c'].map((name) =>
      where.run(name, () => pool.submit(async () => where.getStore())),
    );
    assert.deepEqual(await Promise.all(seen), ['a', 'b', 'c']);
  });

  it('does so, too, where it had to wait for room', async () => {
    const { pool, submit, end } = open({ queue: { max: 1 } });
    const where = new AsyncLocalStorage<string>();
    for (const name of ['a', 'b']) submit(name);
    const task = where.run('here', () => pool.submit(() => where.getStore()));
    for (const name of ['a', 'b']) await where.run('elsewhere', () => end(name));
    assert.equal(await task, 'here');
  });

  it('has what a task submits as it begins wait behind those that were there', async () => {
    const { pool, log, workOf, submit, end } = open({ queue: { max: 2 } });
    const submitting = (name: string, other: string) => () => {
      submit(other);
      return workOf(name)();
    };
    submit('a');
    pool.submit(submitting('b', 'y'));
    submit('c');
    submit('d');
    await end('a');
    pool.resize(4);
    assert.deepEqual(log, ['a', 'b', 'c', 'd', 'y'], 'a worker was free, and so was a place');
  });

  it('does so where several workers are free, too', () => {
    const { pool, log, workOf } = open();
    pool.pause();
    pool.submit(() => {
      pool.submit(workOf('last'));
      return workOf('first')();
    });
    pool.submit(workOf('second'));
    pool.resize(3);
    pool.resume();
    assert.deepEqual(log, ['first', 'second', 'last']);
  });

  it('lets a task that is over at once submit others, and drain the pool', async () => {
    const { pool, log, submit, end } = open();
    pool.submit(() => void submit('a'));
    assert.deepEqual(log, ['a']);
    await end('a');
    let report: Promise<unknown> | undefined;
    pool.submit(() => {
      report = pool.drain();
    });
    assert.deepEqual(await report, { finished: 1, cancelled: [], abandoned: [] });
  });

  it('contains what a task throws, at once or later', async () => {
    const { pool } = open();
    const early = pool.submit(() => {
      throw new Error('early');
    });
    const late = pool.submit(async () => {
      await settled();
      throw new Error('late');
    });
    await assert.rejects(early, /early/);
    await assert.rejects(late, /late/);
    assert.equal(await pool.submit(async () => 'well'), 'well');
    assert.equal(pool.stats().failed, 2);
  });

  it('tells onError of tasks for which nobody waits', async () => {
    const { pool, errors, workOf, end } = open({ queue: { max: 1 } });
    assert.equal(pool.go(workOf('a')), true);
    assert.equal(pool.go(workOf('b')), true);
    assert.equal(pool.go(workOf('c')), false, 'nobody could be made to wait');
    await end('a', new Error('a broke'));
    assert.deepEqual(errors.map(String), ['Error: a broke']);
    await end('b');
    assert.deepEqual([pool.stats().done, pool.stats().failed, pool.stats().submitted], [1, 1, 2]);
  });

  it('makes an unhandled rejection of what onError throws', async (t) => {
    const unhandled = unhandledIn(t);
    const { pool } = open({
      onError: () => {
        throw new Error('its own');
      },
    });
    pool.go(() => Promise.reject(new Error('the task')));
    await settled();
    assert.deepEqual(unhandled.map(String), ['Error: its own']);
    assert.equal(await pool.submit(() => 1), 1);
  });

  it('counts times and ends', async () => {
    const { clock, pool, submit, end } = open();
    submit('a');
    submit('b');
    await clock.advance(10);
    await end('a');
    await clock.advance(30);
    await end('b');
    const { waitTime, runTime } = pool.stats();
    assert.deepEqual([waitTime.count, waitTime.meanMs], [2, 5]);
    assert.deepEqual([runTime.count, runTime.meanMs], [2, 20]);
  });

  it('guards tasks by a policy', async () => {
    const { pool } = open({
      policy: retry({ attempts: 3, backoff: constantBackoff(0) }),
    });
    const attempts: number[] = [];
    const task = pool.submit(({ attempt }) => {
      attempts.push(attempt);
      if (attempt < 2) throw Object.assign(new Error('again'), { code: 'ECONNRESET' });
      return 'well';
    });
    assert.equal(await task, 'well');
    assert.deepEqual(attempts, [1, 2]);
  });

  it('refuses options that are wrong', () => {
    const wrong: unknown[] = [
      { size: 0 },
      { size: Number.NaN },
      { size: Number.POSITIVE_INFINITY },
      { size: 1.5 },
      { size: 1, queue: { max: -1 } },
      { size: 1, queue: { full: 'explode' } },
      { size: 1, levels: 0 },
      { size: 1, levels: 101 },
      { size: 1, ageing: -1 },
      { size: 1, timeout: 0 },
      { size: 1, policy: {} },
      { size: 1, onError: 1 },
    ];
    for (const one of wrong) {
      assert.throws(() => workerPool(one as WorkerPoolOptions), codeIs('ERR_INVALID_ARGUMENT'));
    }
    const { pool } = open();
    const wrongTasks: TaskOptions[] = [
      { priority: -1 },
      { priority: 0.5 },
      { timeout: 0 },
      { timeout: 'soon' },
      { key: 'k'.repeat(1025) },
    ];
    for (const one of wrongTasks) {
      assert.throws(() => pool.submit(() => 1, one), codeIs('ERR_INVALID_ARGUMENT'));
    }
    for (const size of [0, -1, Number.NaN]) {
      assert.throws(() => pool.resize(size), codeIs('ERR_INVALID_ARGUMENT'));
    }
    assert.throws(() => pool.drain({ deadline: -1 }), codeIs('ERR_INVALID_ARGUMENT'));
    assert.equal(pool.stats().submitted, 0);
    assert.equal(pool.stats().size, 1);
    assert.notEqual(
      pool.trySubmit(() => 1),
      undefined,
      'it was not closed',
    );
  });
});

describe('a full queue', () => {
  it('has tasks wait for room, first come, first served', async () => {
    const { pool, log, submit, end } = open({ queue: { max: 1 } });
    const tasks = ['a', 'b', 'c', 'd'].map((name) => submit(name));
    assert.deepEqual(
      tasks.map(({ state }) => state),
      ['running', 'queued', 'blocked', 'blocked'],
    );
    const accepted: string[] = [];
    const again = tasks[2]!.accepted;
    for (const name of ['c', 'd'] as const) {
      void tasks['abcd'.indexOf(name)]!.accepted.then((is) => accepted.push(`${name} ${is}`));
    }
    await settled();
    assert.deepEqual(accepted, []);
    assert.equal(
      pool.trySubmit(() => 1),
      undefined,
    );
    await end('a');
    assert.deepEqual(accepted, ['c true']);
    assert.equal(await again, true);
    tasks[3]!.cancel();
    await settled();
    assert.deepEqual(accepted, ['c true', 'd false']);
    await end('b');
    await end('c');
    assert.deepEqual(log, ['a', 'b', 'c']);
    assert.equal(pool.stats().blocked, 0);
  });

  it('refuses tasks where that is the rule', async () => {
    const { submit } = open({ queue: { max: 1, full: 'reject' } });
    submit('a');
    submit('b');
    const refused = submit('c');
    assert.equal(refused.state, 'refused');
    assert.equal(await refused.accepted, false);
    await assert.rejects(refused, codeIs('ERR_OVERLOADED'));
  });

  it('drops the one that has been queued longest, of whatever priority and key', async () => {
    const { pool, errors, log, workOf, submit, end } = open({
      queue: { max: 2, full: 'drop-oldest' },
    });
    submit('a', { key: 'k' });
    assert.equal(pool.go(workOf('b'), { key: 'k' }), true);
    submit('c', { priority: 0 });
    const last = submit('d', { priority: 3 });
    assert.equal(errors.length, 1);
    assert.equal((errors[0] as { code: string }).code, 'ERR_OVERLOADED');
    submit('e', { key: 'k' });
    assert.equal(pool.stats().refused, 2);
    assert.equal(last.state, 'queued');
    await end('a');
    await end('e');
    await end('d');
    assert.deepEqual(log, ['a', 'e', 'd']);
  });

  it('runs tasks in who submits them, in the turn of their key', async () => {
    const { pool, log, submit, end } = open({ queue: { max: 1, full: 'run-in-caller' } });
    submit('a', { key: 'k' });
    submit('b');
    const inCaller = submit('c', { key: 'l' });
    assert.equal(inCaller.state, 'running');
    let isAccepted = false;
    void inCaller.accepted.then(() => {
      isAccepted = true;
    });
    await assert.rejects(submit('d', { key: 'k' }), codeIs('ERR_OVERLOADED'));
    await assert.rejects(submit('e', { key: 'l' }), codeIs('ERR_OVERLOADED'));
    assert.deepEqual([pool.stats().running, pool.stats().inCaller], [1, 1]);
    assert.equal(isAccepted, false);
    await end('c');
    assert.equal(isAccepted, true);
    assert.deepEqual(log, ['a', 'c', 'b'].slice(0, 2));
    await end('a');
    pool.pause();
    submit('f');
    await assert.rejects(submit('g'), codeIs('ERR_OVERLOADED'));
  });

  it('of no places lets in what can begin at once', async () => {
    const { log, submit, end } = open({ queue: { max: 0 } });
    submit('a');
    const second = submit('b');
    assert.equal(second.state, 'blocked');
    const { accepted } = second;
    await end('a');
    assert.equal(await accepted, true);
    assert.equal(second.state, 'running');
    await end('b');
    assert.deepEqual(log, ['a', 'b']);
  });
});

describe('priorities', () => {
  it('let what matters more go first', async () => {
    const { log, submit, end } = open();
    submit('a', { priority: 3 });
    submit('b', { priority: 9 });
    submit('c');
    submit('d', { priority: 0 });
    submit('e', { priority: 2 });
    for (const name of ['a', 'd', 'c', 'e', 'b']) await end(name);
    assert.deepEqual(log, ['a', 'd', 'c', 'e', 'b']);
  });

  it('have a task passed by none that came more than a step of ageing for each priority after it', async () => {
    const { clock, log, submit, end } = open({ ageing: 100, levels: 3 });
    submit('first');
    submit('patient', { priority: 2 });
    // There is always one that matters more.
    for (let i = 0; i < 30; i++) {
      submit(`urgent ${i}`, { priority: 0 });
      await clock.advance(20);
      await end(log.at(-1)!);
    }
    const passedBy = log.slice(0, log.indexOf('patient')).filter((name) => name !== 'first');
    assert.deepEqual(passedBy.length, 11, 'those that came from 0 to 200 ms after it');
    assert.equal(passedBy.at(-1), 'urgent 10');
  });
});

describe('tasks of one key', () => {
  it('run one after the other in their order, those of other keys meanwhile', async () => {
    const { pool, log, submit, end } = open({ size: 3 });
    submit('a1', { key: 'a', priority: 3 });
    submit('a2', { key: 'a', priority: 3 });
    submit('a3', { key: 'a', priority: 0 });
    submit('b1', { key: 'b' });
    submit('b2', { key: 'b' });
    assert.deepEqual(log, ['a1', 'b1']);
    await end('b1');
    await end('a1', new Error('what fails makes way, too'));
    assert.deepEqual(log, ['a1', 'b1', 'b2', 'a2']);
    await end('a2');
    await end('a3');
    await end('b2');
    assert.deepEqual(log, ['a1', 'b1', 'b2', 'a2', 'a3']);
    assert.equal(pool.stats().done, 4);
  });

  it('close ranks when one of them is cancelled', async () => {
    const { log, submit, end } = open();
    submit('x');
    const first = submit('a1', { key: 'a' });
    const second = submit('a2', { key: 'a' });
    submit('a3', { key: 'a' });
    first.cancel();
    second.cancel();
    await end('x');
    assert.deepEqual(log, ['x', 'a3']);
  });

  it('wait for work that was given up', async () => {
    const { log, submit, end } = open({ size: 2 });
    const first = submit('a1', { key: 'a' });
    submit('a2', { key: 'a' });
    first.cancel();
    await settled();
    assert.deepEqual(log, ['a1']);
    await end('a1');
    assert.deepEqual(log, ['a1', 'a2']);
  });
});

describe('cancelling', () => {
  it('ends a task that waits at once, and it is never begun', async () => {
    const { pool, log, submit, end } = open();
    submit('a');
    const task = submit('b');
    assert.equal(task.cancel('enough'), true);
    assert.equal(task.cancel(), false);
    assert.equal(task.state, 'cancelled');
    await assert.rejects(task, (reason) => reason === 'enough');
    await end('a');
    assert.deepEqual(log, ['a']);
    assert.equal(pool.stats().cancelled, 1);
  });

  it('aborts the signal of a task that runs, whose worker is taken until its work has ended', async () => {
    const { pool, log, submit, end } = open();
    let signal: AbortSignal | undefined;
    let finish!: () => void;
    const task = pool.submit((context) => {
      signal = context.signal;
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    submit('b');
    task.cancel();
    assert.equal(signal!.aborted, true);
    await assert.rejects(task, { name: 'AbortError' });
    assert.deepEqual([pool.stats().running, pool.stats().overdue], [1, 1]);
    assert.deepEqual(log, []);
    finish();
    await settled();
    assert.deepEqual([pool.stats().running, pool.stats().overdue], [1, 0]);
    assert.deepEqual(log, ['b']);
    await end('b');
    assert.equal(pool.stats().cancelled, 1);
    assert.equal(pool.stats().done, 1);
  });

  it('tells work that looks at its signal only later', async () => {
    const { pool } = open();
    let isAborted: boolean | undefined;
    const task = pool.submit(async (context) => {
      await settled();
      isAborted = context.signal.aborted;
    });
    task.cancel();
    await assert.rejects(task);
    while (isAborted === undefined) await settled();
    assert.equal(isAborted, true);
  });

  it('makes no unhandled rejection of what its owner cancelled', async (t) => {
    const unhandled = unhandledIn(t);
    const { pool, end, submit } = open();
    submit('a');
    pool.submit(() => 1).cancel();
    await end('a');
    assert.deepEqual(unhandled, []);
  });

  it('is done by a signal, too, and no listener stays', async () => {
    const { pool, submit, end } = open();
    const controller = new AbortController();
    const { signal } = controller;
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...given: Parameters<typeof add>) => {
      listeners += 1;
      add(...given);
    };
    signal.removeEventListener = (...given: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...given);
    };
    submit('a', { signal });
    await end('a');
    assert.equal(listeners, 0);
    submit('b');
    const waits = submit('c', { signal });
    controller.abort('gone');
    await assert.rejects(waits, (reason) => reason === 'gone');
    assert.equal(listeners, 0);
    const late = submit('d', { signal });
    await assert.rejects(late, (reason) => reason === 'gone');
    assert.equal(pool.stats().cancelled, 2);
  });
});

describe('a timeout', () => {
  it('counts from when the task begins', async () => {
    const { clock, pool, submit, end } = open({ timeout: 100 });
    submit('a', { timeout: '1s' });
    const task = submit('b');
    await clock.advance(500);
    assert.equal(task.state, 'queued');
    await end('a');
    await clock.advance(99);
    assert.equal(task.state, 'running');
    await clock.advance(1);
    assert.equal(task.state, 'failed');
    await assert.rejects(task, (error) => isQuorateError(error) && error.outcome === 'unknown');
    assert.deepEqual([pool.stats().timedOut, pool.stats().overdue], [1, 1]);
    await end('b', new Error('of no interest any more'));
    assert.deepEqual([pool.stats().failed, pool.stats().overdue, pool.stats().running], [0, 0, 0]);
    assert.equal(clock.pending, 0);
  });

  it('aborts the signal of the work', async () => {
    const { clock, pool } = open({ timeout: 100 });
    let reason: unknown;
    const task = pool.submit(
      ({ signal }) =>
        new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => {
            reason = signal.reason;
            resolve();
          });
        }),
    );
    const isLate = assert.rejects(
      task,
      (error) => error === reason && codeIs('ERR_TIMEOUT')(error),
    );
    await clock.advance(100);
    await isLate;
    await settled();
    assert.equal(pool.stats().running, 0);
  });

  it('tells the work how much time it has', async () => {
    const { clock, pool } = open();
    const seen: (number | undefined)[] = [];
    const task = pool.submit(
      async (context) => {
        seen.push(context.remainingMs);
        await settled();
        clock.stall(40);
        seen.push(context.remainingMs);
      },
      { timeout: 100 },
    );
    await task;
    assert.deepEqual(seen, [100, 60]);
    assert.equal(await pool.submit(({ remainingMs }) => remainingMs), undefined);
    assert.equal(clock.pending, 0);
  });
});

describe('a pool that is changed', () => {
  it('begins more when it grows, and none until fewer run when it shrinks', async () => {
    const { pool, log, submit, end } = open();
    for (const name of ['a', 'b', 'c', 'd', 'e']) submit(name);
    pool.resize(3);
    assert.deepEqual(log, ['a', 'b', 'c']);
    pool.resize(1);
    await end('a');
    await end('b');
    assert.deepEqual(log, ['a', 'b', 'c']);
    await end('c');
    assert.deepEqual(log, ['a', 'b', 'c', 'd']);
  });

  it('begins none while it is paused', async () => {
    const { pool, log, submit, end } = open({ size: 2 });
    submit('a');
    pool.pause();
    submit('b');
    await end('a');
    assert.deepEqual(log, ['a']);
    pool.resume();
    assert.deepEqual(log, ['a', 'b']);
    await end('b');
  });
});

describe('draining', () => {
  it('waits for all that there is, and takes no more', async () => {
    const { clock, pool, submit, end } = open({ queue: { max: 1 } });
    for (const name of ['a', 'b', 'c']) submit(name);
    pool.pause();
    const report = pool.drain({ deadline: '1s' });
    pool.pause();
    await assert.rejects(submit('d'), codeIs('ERR_CLOSED'));
    assert.equal(
      pool.trySubmit(() => 1),
      undefined,
    );
    assert.equal(
      pool.go(() => 1),
      false,
    );
    for (const name of ['a', 'b', 'c']) await end(name);
    assert.deepEqual(await report, { finished: 3, cancelled: [], abandoned: [] });
    assert.equal(pool.drain({ deadline: '1ms' }), report);
    assert.equal(clock.pending, 0);
  });

  it('is over at once where there is nothing', async () => {
    const { pool, errors } = open();
    assert.equal((await pool.drain()).finished, 0);
    assert.equal(
      pool.trySubmit(() => 1),
      undefined,
    );
    assert.equal(
      pool.go(() => 1),
      false,
    );
    assert.deepEqual([pool.stats().refused, errors.length], [0, 0]);
  });

  it('aborts the signals of what it abandons', async () => {
    const { clock, pool } = open();
    let signal!: AbortSignal;
    const task = pool.submit((context) => {
      signal = context.signal;
      return new Promise(() => undefined);
    });
    const isClosed = assert.rejects(
      task,
      (error) => error === signal.reason && codeIs('ERR_CLOSED')(error),
    );
    const report = pool.drain({ deadline: 100 });
    await clock.advance(100);
    assert.deepEqual((await report).abandoned, [task]);
    assert.equal(signal.aborted, true);
    await isClosed;
  });

  it('says what was cancelled and what was abandoned when the time is over', async () => {
    const { clock, pool, log, submit, end } = open({ size: 3, queue: { max: 2 } });
    submit('a');
    const overdue = submit('b', { key: 'k' });
    const runs = submit('c', { label: 'the last' });
    const waits = [submit('d'), submit('e', { key: 'k' }), submit('f')];
    overdue.cancel();
    const report = pool.drain({ deadline: 500 });
    void pool.drain({ deadline: 100 });
    void pool.drain({ deadline: 300 });
    await end('a');
    await clock.advance(99);
    assert.equal(runs.state, 'running');
    await clock.advance(1);
    const { finished, cancelled, abandoned } = await report;
    assert.equal(finished, 1);
    assert.deepEqual(new Set(cancelled), new Set(waits.slice(1)));
    assert.deepEqual(new Set(abandoned), new Set([overdue, runs, waits[0]]));
    assert.equal(runs.label, 'the last');
    await assert.rejects(runs, (error) => isQuorateError(error) && error.outcome === 'unknown');
    await assert.rejects(
      waits[1]!,
      (error) => isQuorateError(error, 'ERR_CLOSED') && error.outcome === 'not-applied',
    );
    for (const name of ['b', 'c', 'd']) await end(name);
    assert.deepEqual(log, ['a', 'b', 'c', 'd']);
    const { running, overdue: late, queued, blocked, cancelled: count } = pool.stats();
    assert.deepEqual([running, late, queued, blocked, count], [0, 0, 0, 0, 5]);
    assert.equal(clock.pending, 0);
  });
});
