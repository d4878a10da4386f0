import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seededRandom } from '../../core/random.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import type { FullRule } from './pool-options.ts';
import type { Task } from './task.ts';
import { type ModelTask, PoolModel } from './test-pool-model.ts';
import { type WorkerPool, workerPool } from './worker-pool.ts';

const AGEING_MS = 50;
const LEVELS = 3;

/** A pool and what it is to do, side by side. */
class Walk {
  readonly random: Random;
  readonly clock = new VirtualClock();
  readonly model: PoolModel;
  readonly pool: WorkerPool;
  readonly begun: number[] = [];
  readonly handles = new Map<number, Task<unknown>>();
  readonly controllers = new Map<number, AbortController>();
  /** How each task ended, as those who waited for it saw it. */
  readonly ends = new Map<number, string[]>();
  readonly reported: number[] = [];
  readonly #works = new Map<number, (end: 'done' | 'failed') => void>();
  readonly #quiet = new Set<number>();
  #nextId = 0;

  constructor(full: FullRule, seed: number) {
    this.random = seededRandom(seed);
    const size = 1 + this.random.below(3);
    const max = this.random.below(5);
    this.model = new PoolModel(size, max, full, AGEING_MS);
    this.pool = workerPool({
      size,
      queue: { max, full },
      levels: LEVELS,
      ageing: AGEING_MS,
      clock: this.clock,
      onError: (_, task) => this.reported.push(Number(task.label)),
    });
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.random.below(Math.max(1, from.length))];
  }

  async step(): Promise<void> {
    const dice = this.random.below(100);
    if (dice < 42) this.submit();
    else if (dice < 70) await this.end();
    else if (dice < 80) this.cancel();
    else if (dice < 91) await this.advance(1 + this.random.below(60));
    else if (dice < 95) {
      const size = 1 + this.random.below(4);
      this.pool.resize(size);
      this.model.change({ size });
    } else {
      const isPaused = this.random.below(3) === 0;
      if (isPaused) this.pool.pause();
      else this.pool.resume();
      this.model.change({ isPaused });
    }
    this.compare();
  }

  submit(): void {
    const id = this.#nextId++;
    const { below } = this.random;
    const task: ModelTask = {
      id,
      level: below(LEVELS),
      key: this.pick([undefined, undefined, 'a', 'b', 'c']),
      timeoutMs: this.pick([undefined, undefined, 20, 100]),
      instant: this.pick([...Array<undefined>(8).fill(undefined), 'done', 'failed'] as const),
      state: 'blocked',
      isWorking: false,
      isCounted: true,
      ready: undefined,
      readyMs: 0,
      dueMs: 0,
    };
    const controller = new AbortController();
    this.controllers.set(id, controller);
    const how = this.pick(['submit', 'submit', 'submit', 'try', 'go'] as const)!;
    const options = {
      priority: task.level,
      key: task.key,
      timeout: task.timeoutMs,
      label: String(id),
      signal: controller.signal,
    };
    const isTaken = this.model.submit(task, how);
    const work = () => this.#work(task);
    if (how === 'go') {
      this.#quiet.add(id);
      assert.equal(this.pool.go(work, options), isTaken, `whether go takes ${id}`);
      return;
    }
    const handle = this.pool[how === 'try' ? 'trySubmit' : 'submit'](work, options);
    assert.equal(handle !== undefined, isTaken || how === 'submit', `whether ${id} is taken`);
    if (handle === undefined) return;
    this.handles.set(id, handle);
    const ends: string[] = [];
    this.ends.set(id, ends);
    handle.then(
      () => ends.push('done'),
      () => ends.push('not done'),
    );
  }

  async end(): Promise<void> {
    const task = this.pick(this.model.working);
    if (task === undefined) return;
    const how = this.pick(['done', 'failed'] as const)!;
    this.#works.get(task.id)!(how);
    await settled();
    this.model.end(task, how);
  }

  cancel(): void {
    const open = this.model.tasks.filter(({ state }) =>
      ['running', 'queued', 'blocked'].includes(state),
    );
    const task = this.pick(open);
    if (task === undefined) return;
    const handle = this.handles.get(task.id);
    if (handle === undefined || this.random.below(2) === 0) this.controllers.get(task.id)!.abort();
    else assert.equal(handle.cancel(), true);
    this.model.cancel(task);
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
    this.model.advance(ms);
  }

  compare(): void {
    const { model, pool } = this;
    assert.deepEqual(this.begun, model.begun, 'which began, and in what order');
    for (const { id, state } of model.tasks) {
      const handle = this.handles.get(id);
      if (handle !== undefined) assert.equal(handle.state, state, `the state of ${id}`);
    }
    const stats = pool.stats();
    const overdue = model.working.filter(({ state }) => state !== 'running').length;
    assert.deepEqual(
      [stats.running, stats.queued, stats.blocked, stats.inCaller, stats.overdue, stats.submitted],
      [
        model.running,
        model.queued.length,
        model.outside.length,
        model.working.length - model.running,
        overdue,
        model.tasks.length,
      ],
    );
    const count = (state: string) => model.tasks.filter((task) => task.state === state).length;
    assert.deepEqual(
      [stats.done, stats.failed + stats.timedOut, stats.cancelled, stats.refused],
      [count('done'), count('failed'), count('cancelled'), count('refused')],
    );
  }

  async drain(): Promise<void> {
    const { model } = this;
    const had = model.working.length + model.queued.length + model.outside.length;
    model.change({ isPaused: false });
    const report = this.pool.drain({ deadline: 70 });
    for (let i = this.random.below(20); i > 0; i--) await this.end();
    await this.advance(69);
    this.compare();
    const waiting = [...model.queued, ...model.outside];
    const { working } = model;
    await this.clock.advance(1);
    const { finished, cancelled, abandoned } = await report;
    const ids = (tasks: readonly { label: string | undefined }[]) =>
      tasks.map(({ label }) => Number(label)).toSorted((a, b) => a - b);
    const wanted = (tasks: readonly ModelTask[]) =>
      tasks.map(({ id }) => id).toSorted((a, b) => a - b);
    assert.deepEqual(ids(cancelled), wanted(waiting));
    assert.deepEqual(ids(abandoned), wanted(working));
    assert.equal(finished + cancelled.length + abandoned.length, had);
    for (const { id } of working) this.#works.get(id)!('done');
    await settled();
  }

  /** Each ended exactly once, and nothing is left. */
  finish(): void {
    for (const [id, ends] of this.ends) {
      assert.equal(ends.length, 1, `how often ${id} ended`);
      assert.equal(ends[0] === 'done', this.handles.get(id)!.state === 'done');
    }
    const failed = this.model.tasks.filter(({ id, state }) => {
      const wasDropped = state === 'refused' && this.model.full === 'drop-oldest';
      return this.#quiet.has(id) && (state === 'failed' || (wasDropped && this.model.max > 0));
    });
    assert.deepEqual(
      this.reported.toSorted((a, b) => a - b),
      failed.map(({ id }) => id),
      'of what onError was told',
    );
    const {
      submitted,
      done,
      failed: threw,
      timedOut,
      cancelled,
      refused,
      ...now
    } = this.pool.stats();
    assert.equal(done + threw + timedOut + cancelled + refused, submitted);
    assert.deepEqual(
      [now.running, now.queued, now.blocked, now.inCaller, now.overdue],
      [0, 0, 0, 0, 0],
    );
    assert.equal(this.clock.pending, 0, 'no timer is left');
  }

  #work({ id, instant }: ModelTask): unknown {
    this.begun.push(id);
    if (instant === 'failed') throw new Error('failed');
    if (instant === 'done') return id;
    return new Promise((resolve, reject) => {
      this.#works.set(id, (end) => (end === 'done' ? resolve(id) : reject(new Error('failed'))));
    });
  }
}

describe('a pool of workers does what its model does, and every task ends exactly once', () => {
  for (const full of ['wait', 'reject', 'drop-oldest', 'run-in-caller'] as const) {
    it(`with the rule ${full}`, async () => {
      for (let seed = 0; seed < 150; seed++) {
        const walk = new Walk(full, seed);
        try {
          for (let step = 0; step < 80; step++) await walk.step();
          await walk.drain();
          walk.finish();
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
      }
    });
  }
});
