/** Pools of threads: what a task gets, what becomes of it when its thread ends, and when threads come and go. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../../core/clock.ts';
import { isQuorateError, type Outcome } from '../../core/errors.ts';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import { timeout } from '../timeout.ts';
import { type ThreadPoolOptions, threadPlan } from './options.ts';
import { type ThreadPool, threadPool } from './thread-pool.ts';
import { Threads } from './threads.ts';

type WorkModule = typeof import('./test-work.ts');

const WORK = new URL('./test-work.ts', import.meta.url);

function open(t: TestContext, options: ThreadPoolOptions = {}): ThreadPool<WorkModule> {
  const pool = threadPool<WorkModule>(WORK, { size: 1, ...options });
  t.after(() => pool.drain({ deadline: 0 }));
  return pool;
}

const failsAs = (code: string, outcome: Outcome, text?: RegExp) => (error: unknown) => {
  if (!isQuorateError(error)) return false;
  assert.deepEqual([error.code, error.outcome], [code, outcome], error.message);
  if (text !== undefined) assert.match(error.message, text);
  return true;
};

/** A task that is known to have begun, and that ends when it is told. */
function spinner() {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  return {
    shared,
    begun: () => until(() => Atomics.load(shared, 1) === 1),
    end: (result: number) => {
      Atomics.store(shared, 0, result);
      Atomics.notify(shared, 0);
    },
  };
}

describe('a pool of threads', () => {
  it('runs functions of a module in threads, typed as the module has them', async (t) => {
    const pool = open(t, { workerData: { of: 'the user' } });
    const sum: number = await pool.run.add(1, 2);
    assert.equal(sum, 3);
    assert.equal(await pool.submit('addLater', [3, 4], { priority: 0 }), 7);
    const where = await pool.run.where();
    assert.equal(where.isMainThread, false);
    assert.deepEqual(where.workerData, { of: 'the user' });
    // @ts-expect-error -- it takes numbers
    await pool.run.add('1', 2);
    // @ts-expect-error -- no function
    assert.equal(typeof pool.run.notAFunction, 'function');
    // What would be `then` of a promise is not looked for.
    assert.equal(await pool.run, pool.run);
    assert.equal(pool.stats().started, 1);
    assert.equal(pool.stats().done, 4);
  });

  it('starts as many threads as tasks need, each of which has one at a time', async (t) => {
    const pool = open(t, { size: 2 });
    await pool.run.add(1, 2);
    await pool.run.add(1, 2);
    assert.equal(pool.stats().threads, 1);
    const spinners = [spinner(), spinner(), spinner()];
    const tasks = spinners.map(({ shared }) => pool.run.spin(shared));
    await spinners[0]!.begun();
    await spinners[1]!.begun();
    assert.deepEqual(
      tasks.map(({ state }) => state),
      ['running', 'running', 'queued'],
    );
    assert.equal(pool.stats().threads, 2);
    for (const [i, { end }] of spinners.entries()) end(i + 1);
    assert.deepEqual(await Promise.all(tasks), [1, 2, 3]);
    assert.equal(pool.stats().started, 2);
  });

  it('does not begin the next task of a thread before an asynchronous one has ended', async (t) => {
    const pool = open(t, { queue: { max: 100 } });
    const order: string[] = [];
    const later = pool.run.addLater(1, 2).then(() => order.push('later'));
    await Promise.all([later, pool.run.add(1, 2).then(() => order.push('sooner'))]);
    assert.deepEqual(order, ['later', 'sooner']);
  });

  it('moves arguments and results that it is told to move', async (t) => {
    const pool = open(t);
    const bytes = new Uint8Array(10);
    assert.equal(await pool.run.length(bytes), 10);
    assert.equal(bytes.length, 10);
    assert.equal(await pool.submit('length', [bytes], { transfer: [bytes.buffer] }), 10);
    assert.equal(bytes.length, 0);
    assert.deepEqual(await pool.run.fill(3), new Uint8Array([7, 7, 7]));
    assert.equal(await pool.run.lengthOfMine(), 8);
    assert.equal((await pool.run.giveAway()).length, 8);
    assert.equal(await pool.run.lengthOfMine(), 0);
  });

  it('rejects with a copy of what was thrown', async (t) => {
    const pool = open(t);
    await assert.rejects(pool.run.fail('plain'), (error: TypeError) => {
      assert.ok(error instanceof TypeError);
      assert.deepEqual([error.message, error.cause], ['plain', 'its cause']);
      return /test-work/.test(error.stack!);
    });
    await assert.rejects(pool.run.fail('fields'), { code: 'E_OWN', size: 3 });
    await assert.rejects(pool.run.fail('ours'), failsAs('ERR_BUSY', 'unknown', /^too much$/));
    await assert.rejects(pool.run.fail('text'), (error) => error === 'a text');
    await assert.rejects(pool.run.fail('function'), { message: 'not to be copied' });
    const several = (error: AggregateError) => error.errors.length === 2;
    await assert.rejects(pool.run.failWith('several'), several);
    await assert.rejects(pool.run.failWith('unspeakable'), /nor be said in words/);
    assert.equal(pool.stats().started, 1);
  });

  it('lets the event loop of a thread turn also while there is always another task', async (t) => {
    const pool = open(t);
    const tasks = Array.from({ length: 50 }, () => pool.run.leaveMuch());
    const turns = await Promise.all(tasks);
    assert.ok(turns.at(-1)! > 0, 'not once');
  });

  it('can be printed and serialised, which submits no task', async (t) => {
    const pool = open(t);
    assert.equal(JSON.stringify(pool), '{"name":"threads","run":{}}');
    assert.equal(pool.stats().submitted, 0);
  });

  it('says what cannot be sent or is not there, and keeps the thread', async (t) => {
    const pool = open(t);
    const wrong = pool as unknown as ThreadPool<Record<string, (...args: unknown[]) => void>>;
    const invalid = 'ERR_INVALID_ARGUMENT';
    const argument = wrong.submit('add', [() => 1]);
    await assert.rejects(argument, failsAs(invalid, 'not-applied', /arguments of 'add'/));
    await assert.rejects(wrong.submit('add', [() => 1]), failsAs(invalid, 'not-applied'));
    await assert.rejects(pool.run.notToBeCopied(), failsAs(invalid, 'unknown', /its result/));
    await assert.rejects(
      wrong.submit('nope', []),
      failsAs(invalid, 'not-applied', /'nope'.* add,/),
    );
    assert.throws(() => wrong.submit('add', 1 as never), failsAs(invalid, 'not-applied'));
    assert.equal(await pool.run.add(1, 2), 3);
    assert.equal(pool.stats().started, 1);
  });

  it('refuses options that are wrong', () => {
    const wrong: [URL | string, ThreadPoolOptions][] = [
      ['./test-work.ts', {}],
      [undefined as never, {}],
      [WORK, { size: 0 }],
      [WORK, { maxHeapMb: 0 }],
      [WORK, { recycle: { heapMb: 1.5 } }],
      [WORK, { recycle: { tasks: 0 } }],
      [WORK, { loadTimeout: 0 }],
      [WORK, { timeout: -1 }],
      [WORK, { workerData: () => 1 }],
      [WORK, { queue: { full: 'run-in-caller' as never } }],
    ];
    for (const [module, options] of wrong) {
      assert.throws(
        () => threadPool(module, options),
        failsAs('ERR_INVALID_ARGUMENT', 'not-applied'),
      );
    }
  });

  it('keeps lanes, and reports at the end, as a pool of workers does', async (t) => {
    const pool = open(t, { size: 2 });
    const { shared, begun, end } = spinner();
    const first = pool.submit('spin', [shared], { key: 'a' });
    const second = pool.submit('add', [1, 1], { key: 'a', label: 'second' });
    await begun();
    assert.equal(await pool.submit('add', [1, 2], { key: 'b' }), 3);
    assert.equal(second.state, 'queued');
    const report = pool.drain();
    end(5);
    assert.deepEqual(await report, { finished: 2, cancelled: [], abandoned: [] });
    assert.deepEqual(await Promise.all([first, second]), [5, 2]);
    assert.equal(pool.stats().threads, 0);
    await assert.rejects(pool.run.add(1, 2), failsAs('ERR_CLOSED', 'not-applied'));
  });

  it('ends threads that have a task when the time to drain is over', async (t) => {
    const pool = open(t);
    const { shared, begun } = spinner();
    const task = pool.run.spinHard(shared);
    const queued = pool.run.add(1, 2);
    const settled = Promise.allSettled([task, queued]);
    await begun();
    const { abandoned, cancelled } = await pool.drain({ deadline: 0 });
    assert.deepEqual(
      [abandoned, cancelled].map((some) => some[0]?.state),
      ['cancelled', 'cancelled'],
    );
    assert.deepEqual(
      (await settled).map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.equal(pool.stats().running, 0);
  });
});

describe('a thread that ends by itself', () => {
  it('takes with it only the task that it had begun', async (t) => {
    const pool = open(t, { size: 2, queue: { max: 100 } });
    const lost = [pool.run.exit(3), pool.run.throwLater()];
    const others = Array.from({ length: 20 }, (_, i) => pool.run.add(i, 1));
    await Promise.all([
      assert.rejects(lost[0]!, failsAs('ERR_UNAVAILABLE', 'unknown', /exit code 3.*'exit'/)),
      assert.rejects(lost[1]!, failsAs('ERR_UNAVAILABLE', 'unknown', /out of nowhere/)),
    ]);
    assert.equal((await Promise.all(others)).at(-1), 20);
    assert.equal(pool.stats().crashed, 2);
  });

  it('takes none with it where it had begun none', async (t) => {
    const pool = open(t, { queue: { max: 100 } });
    const all = Array.from({ length: 8 }, (_, i) => pool.run.exitAfterwards(i));
    assert.deepEqual(await Promise.all(all), [0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('is a warning where that was between two tasks', async (t) => {
    const warnings: Error[] = [];
    const listener = (warning: Error) => warnings.push(warning);
    process.on('warning', listener);
    t.after(() => process.off('warning', listener));
    const pool = open(t, { name: 'images' });
    await pool.run.throwAfterwards();
    await until(() => warnings.length > 0);
    assert.match(warnings[0]!.message, /^images: a thread ended between two tasks .*between tasks/);
    assert.equal(warnings[0]!.name, 'QuorateWarning');
    assert.equal(await pool.run.add(1, 2), 3);
  });

  it('is ended where it needs too much memory', async (t) => {
    const pool = open(t, { maxHeapMb: 16 });
    const lost = pool.run.useMemory();
    const next = pool.run.add(1, 2);
    await assert.rejects(lost, failsAs('ERR_UNAVAILABLE', 'unknown', /memory/));
    assert.equal(await next, 3);
  });

  it('is replaced later and later where nothing is ever done', async (t) => {
    const clock = new VirtualClock();
    const pool = open(t, { clock, queue: { max: 100 } });
    const lost = Array.from({ length: 12 }, () => pool.run.exit(1));
    const settled = Promise.allSettled(lost);
    await assert.rejects(lost[8]!);
    await until(() => pool.stats().crashed === 9);
    assert.equal(pool.stats().started, 9, 'the tenth has to wait');
    await clock.advance(99);
    assert.equal(pool.stats().started, 9);
    await clock.advance(1);
    await assert.rejects(lost[9]!);
    await until(() => pool.stats().crashed === 10);
    await clock.advance(199);
    assert.equal(pool.stats().started, 10);
    await clock.advance(1);
    await assert.rejects(lost[10]!);
    await until(() => pool.stats().crashed === 11);
    await clock.advance(400);
    assert.equal((await settled).length, 12);
    await clock.advance(800);
    assert.equal(await pool.run.add(1, 2), 3, 'one that is done ends this');
    await assert.rejects(pool.run.exit(1));
    assert.equal(await pool.run.add(1, 2), 3);
  });

  it('of every thousandth task takes only these', async (t) => {
    const pool = open(t, { size: 2, queue: { max: 10_000 } });
    const tasks = Array.from({ length: 5000 }, (_, i) =>
      i % 1000 === 999 ? pool.run.exit(1) : pool.run.add(i, 0),
    );
    const settled = await Promise.allSettled(tasks);
    const lost = settled.flatMap(({ status }, i) => (status === 'rejected' ? i : []));
    assert.deepEqual(lost, [999, 1999, 2999, 3999, 4999]);
    assert.ok(settled.every((one, i) => one.status === 'rejected' || one.value === i));
    const { submitted, done, failed } = pool.stats();
    assert.deepEqual([submitted, done, failed], [5000, 4995, 5]);
  });
});

describe('a module that cannot be loaded', () => {
  it('fails the tasks that wait, and is tried again after a while', async (t) => {
    const clock = new VirtualClock();
    const pool = threadPool<WorkModule>(new URL('./not-there.ts', import.meta.url), {
      size: 2,
      clock,
    });
    t.after(() => pool.drain({ deadline: 0 }));
    const tasks = Array.from({ length: 4 }, () => pool.run.add(1, 2));
    const fails = failsAs('ERR_INVALID_ARGUMENT', 'not-applied', /not-there.*cannot be loaded/);
    await Promise.all(tasks.map((task) => assert.rejects(task, fails)));
    const { started } = pool.stats();
    await assert.rejects(pool.run.add(1, 2), fails);
    assert.equal(pool.stats().started, started, 'nothing is tried meanwhile');
    await clock.advance(10_000);
    await assert.rejects(pool.run.add(1, 2), fails);
    assert.ok(pool.stats().started > started);
  });

  it('or for which there can be no thread', async () => {
    const clock = new VirtualClock();
    // As where the system has no room for another.
    const plan = { ...threadPlan(WORK, {}), workerData: () => undefined };
    const threads = new Threads('threads', plan, 2, clock);
    const fails = failsAs('ERR_UNAVAILABLE', 'not-applied', /no thread can be started/);
    for (const waitMs of [0, 0, 100, 200]) {
      await clock.advance(waitMs);
      await assert.rejects(threads.run('add', [1, 2], undefined).result, fails);
    }
    assert.deepEqual(threads.counts(), { threads: 0, started: 0, crashed: 0, recycled: 0 });
    await threads.close();
  });

  it('or takes too long', async (t) => {
    const clock = new VirtualClock();
    const hangs = 'data:text/javascript,setInterval(() => 1, 1000); await new Promise(() => 1);';
    const pool = threadPool<WorkModule>(hangs, { size: 1, clock });
    t.after(() => pool.drain({ deadline: 0 }));
    const task = pool.run.add(1, 2);
    const fails = failsAs('ERR_UNAVAILABLE', 'not-applied', /more than 60000 ms\) while it loaded/);
    const settled = assert.rejects(task, fails);
    await clock.advance(59_999);
    assert.equal(task.state, 'running');
    await clock.advance(1);
    await settled;
    assert.deepEqual([pool.stats().threads, clock.pending], [0, 0]);
  });

  it('or ends its thread, too', async (t) => {
    const pool = threadPool<WorkModule>('data:text/javascript,process.exit(7)', { size: 1 });
    t.after(() => pool.drain({ deadline: 0 }));
    const fails = failsAs('ERR_UNAVAILABLE', 'not-applied', /exit code 7\) while it loaded/);
    await assert.rejects(pool.run.add(1, 2), fails);
  });
});

describe('a task of a thread', () => {
  for (const how of ['cancel', 'signal', 'timeout', 'policy'] as const) {
    it(`that is ended by ${how} while it runs ends its thread, and touches no other`, async (t) => {
      const policy = how === 'policy' ? timeout('20ms') : undefined;
      const pool = open(t, { size: 2, policy });
      const [other, own] = [spinner(), spinner()];
      const lasting = how === 'policy' ? undefined : pool.run.spin(other.shared);
      const controller = new AbortController();
      const limits = { signal: controller.signal, timeout: how === 'timeout' ? 20 : undefined };
      const task = pool.submit('spinHard', [own.shared], limits);
      const settled = assert.rejects(task);
      if (how === 'cancel' || how === 'signal') await own.begun();
      if (how === 'cancel') task.cancel();
      if (how === 'signal') controller.abort(new Error('enough'));
      await settled;
      other.end(4);
      assert.equal(await lasting, lasting && 4);
      await until(() => pool.stats().running === 0);
      assert.equal(pool.stats().crashed, 0);
      if (policy === undefined) assert.equal(await pool.run.add(1, 2), 3);
    });
  }

  it('that is cancelled before there is a thread is never begun', async (t) => {
    const pool = open(t);
    const { shared } = spinner();
    const task = pool.run.spin(shared);
    task.cancel();
    await assert.rejects(task, { name: 'AbortError' });
    assert.equal(await pool.run.add(1, 2), 3);
    assert.equal(Atomics.load(shared, 1), 0);
    assert.equal(pool.stats().started, 1);
  });

  it('that has ended cannot take with it the next one of its thread', async (t) => {
    const threads = new Threads('threads', threadPlan(WORK, {}), 1, systemClock);
    t.after(() => threads.close());
    const first = threads.run('add', [1, 2], undefined);
    assert.equal(await first.result, 3);
    const second = threads.run('addLater', [3, 4], undefined);
    threads.giveUp(first, new Error('too late'));
    assert.equal(await second.result, 7);
    assert.equal(threads.counts().started, 1);
  });
});

describe('a thread that was used enough', () => {
  it('is replaced after so many tasks', async (t) => {
    const pool = open(t, { recycle: { tasks: 3 } });
    const ids = [];
    for (let i = 0; i < 7; i++) ids.push((await pool.run.where()).threadId);
    assert.deepEqual([new Set(ids.slice(0, 3)).size, new Set(ids).size], [1, 3]);
    assert.equal(pool.stats().recycled, 2);
  });

  it('is replaced where its heap has grown', async (t) => {
    const pool = open(t, { recycle: { heapMb: 64 } });
    const ids = [];
    for (let i = 0; i < 12; i++) ids.push(await pool.run.keep(2_000_000));
    const { started, recycled, crashed, done } = pool.stats();
    assert.deepEqual([crashed, done], [0, 12]);
    assert.ok(recycled >= 2 && recycled <= 6, `${recycled} recycled`);
    assert.ok(started >= new Set(ids).size);
  });

  it('is ended where there are to be fewer', async (t) => {
    const pool = open(t, { size: 2 });
    const spinners = [spinner(), spinner()];
    const tasks = spinners.map(({ shared }) => pool.run.spin(shared));
    await spinners[0]!.begun();
    await spinners[1]!.begun();
    pool.resize(1);
    assert.equal(pool.stats().threads, 2);
    for (const { end } of spinners) end(1);
    await Promise.all(tasks);
    assert.equal(pool.stats().threads, 1);
    assert.equal(await pool.run.add(1, 2), 3);
  });
});

describe('a process', () => {
  const THREADS = JSON.stringify(new URL('./thread-pool.ts', import.meta.url));

  it('does not wait for threads that have nothing to do, but for those that have', async () => {
    const script = `
      import { threadPool } from ${THREADS};
      const pool = threadPool(new URL(${JSON.stringify(WORK)}), { size: 2 });
      console.log(await pool.run.add(1, 2));
      pool.run.addLater(3, 4).then(console.log);
    `;
    assert.deepEqual(await run(script), [0, '3\n7\n']);
  });

  it('does not wait for a module that is never loaded where nobody needs it', async () => {
    const script = `
      import { threadPool } from ${THREADS};
      const pool = threadPool('data:text/javascript,setInterval(() => 1, 1000); await new Promise(() => 1);');
      const tasks = [1, 2].map(() => pool.submit('add', [1, 2], { timeout: 50 }));
      for (const { reason } of await Promise.allSettled(tasks)) console.log(reason.code);
    `;
    assert.deepEqual(await run(script), [0, 'ERR_TIMEOUT\nERR_TIMEOUT\n']);
  });

  it('has arguments refused that a thread has no room to read, and keeps the thread', async () => {
    const script = `
      import { threadPool } from ${THREADS};
      const pool = threadPool(new URL(${JSON.stringify(WORK)}), { size: 1 });
      let list = null;
      for (let i = 0; i < 12_000; i++) list = { next: list };
      const show = ({ value, reason }) => console.log(value ?? reason.code + reason.outcome);
      (await Promise.allSettled([pool.run.depth(list)])).forEach(show);
      const all = [pool.run.add(1, 2), pool.run.depth(list), pool.run.add(3, 4)];
      (await Promise.allSettled(all)).forEach(show);
      console.log(pool.stats().started);
    `;
    const refused = 'ERR_INVALID_ARGUMENTnot-applied\n';
    const [code, output] = await run(script, '--stack-size=6000');
    assert.deepEqual([code, output], [0, `${refused}3\n${refused}7\n1\n`]);
  });
});

async function run(script: string, ...flags: string[]): Promise<[code: number, output: string]> {
  const conditions = process.execArgv.filter((one) => one.startsWith('--conditions'));
  const args = [...flags, ...conditions, '--input-type=module', '--eval', script];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = (await once(child, 'close')) as [number];
  return [code, output];
}

/** Threads end when they do; the event loop has to turn until then. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
}
