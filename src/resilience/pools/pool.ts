/** What a pool of workers does: the only place where its tasks begin and end. */
import type { Clock } from '../../core/clock.ts';
import { durationMs } from '../../core/duration.ts';
import { QuorateError } from '../../core/errors.ts';
import { poolDropped } from '../../telemetry/channels.ts';
import { noFunction, type Work } from '../call.ts';
import { levelOf } from '../levels.ts';
import { requireKey } from '../limiter-checks.ts';
import { Rejection } from '../outcome.ts';
import { SteadyClock } from '../steady-clock.ts';
import { Drain, type DrainOptions, type DrainReport } from './drain.ts';
import { PoolMeter, type PoolStats, type TaskEnd } from './pool-meter.ts';
import { extrasFrom, type FullRule, type PoolRules, sizeOf } from './pool-options.ts';
import { isThenable, plainPromise, Runner, type RunnerOwner } from './runner.ts';
import {
  type Moment,
  PoolTask,
  type Task,
  TaskContext,
  type TaskOptions,
  type TaskOwner,
} from './task.ts';
import { TaskList } from './task-lists.ts';
import { TaskQueue } from './task-queue.ts';

type AnyTask = PoolTask<unknown>;

/** What comes within this time counts as having come together. */
const TOGETHER_MS = 0.01;

export class Pool implements TaskOwner, RunnerOwner {
  readonly name: string;
  readonly #rules: PoolRules;
  readonly #clock: Clock;
  readonly #time: SteadyClock;
  readonly #meter: PoolMeter;
  readonly #queue: TaskQueue;
  /** Those who wait for room in the queue. */
  readonly #outside: TaskList<AnyTask>;
  /** When the last one came. */
  #came: Moment;
  /** All that there are. */
  readonly #runners: Runner[];
  readonly #idleRunners: Runner[];
  #size: number;
  #running: number;
  #inCaller: number;
  #overdue: number;
  #isPaused: boolean;
  #drain: Drain | undefined;

  constructor(rules: PoolRules) {
    this.name = rules.name;
    this.#rules = rules;
    this.#clock = rules.clock;
    this.#time = new SteadyClock(rules.clock);
    this.#meter = new PoolMeter(this.#time.now());
    this.#queue = new TaskQueue(rules.levels, rules.ageingMs, rules.full === 'drop-oldest');
    this.#outside = new TaskList();
    this.#came = { ms: this.#meter.nowMs };
    this.#runners = [];
    this.#idleRunners = [];
    this.#size = rules.size;
    this.#running = 0;
    this.#inCaller = 0;
    this.#overdue = 0;
    this.#isPaused = false;
    this.#drain = undefined;
  }

  submit<T>(work: Work<T>, options?: TaskOptions): Task<T> {
    const task = this.#make(work, options, false, true)!;
    this.#admit(task as AnyTask);
    return task;
  }

  trySubmit<T>(work: Work<T>, options?: TaskOptions): Task<T> | undefined {
    const task = this.#make(work, options, false, false);
    if (task !== undefined) this.#admit(task as AnyTask);
    return task;
  }

  go(work: Work<unknown>, options?: TaskOptions): boolean {
    const { full } = this.#rules;
    const task = this.#make(work, options, true, full !== 'wait' && full !== 'reject');
    return task !== undefined && this.#admit(task);
  }

  resize(size: number): void {
    this.#size = sizeOf(size);
    this.#pump();
  }

  pause(): void {
    this.#isPaused = this.#drain === undefined;
  }

  resume(): void {
    this.#isPaused = false;
    this.#pump();
  }

  drain({ deadline }: DrainOptions = {}): Promise<DrainReport> {
    const deadlineMs = deadline === undefined ? undefined : durationMs(deadline, 'deadline');
    const waiting = this.#queue.length + this.#outside.length;
    this.#drain ??= new Drain(this.#clock, waiting + this.#running + this.#inCaller);
    const drain = this.#drain;
    if (deadlineMs !== undefined) drain.endAfter(deadlineMs, () => this.#cutShort());
    this.resume();
    this.#lookWhetherDrained();
    return drain.report;
  }

  stats(): PoolStats {
    this.#readClock();
    return {
      size: this.#size,
      running: this.#running,
      queued: this.#queue.length,
      blocked: this.#outside.length,
      inCaller: this.#inCaller,
      overdue: this.#overdue,
      ...this.#meter.stats(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
  }

  cancel(task: AnyTask, reason: unknown): boolean {
    this.#readClock();
    if (task.state === 'running') {
      this.#overdue += 1;
      this.#settle(task, 'cancelled', reason);
      task.abort(reason);
    } else {
      this.#takeOut(task);
      this.#settle(task, 'cancelled', reason);
      this.#pump();
    }
    return true;
  }

  remainingMs({ extras }: AnyTask): number | undefined {
    if (extras?.timeoutMs === undefined) return undefined;
    return Math.max(0, extras.dueMs - this.#time.now());
  }

  workEnded(runner: Runner, hasFailed: boolean, result: unknown): void {
    const task = runner.task!;
    runner.task = undefined;
    this.#idleRunners.push(runner);
    this.#ended(task, runner.sinceMs, hasFailed, result);
    this.#pump();
    this.#lookWhetherDrained();
  }

  /** @param mayBeFull - make it also where there is no room for it */
  #make<T>(
    work: Work<T>,
    options: TaskOptions | undefined,
    isQuiet: boolean,
    mayBeFull: boolean,
  ): PoolTask<T> | undefined {
    if (typeof work !== 'function') throw noFunction(work);
    const { levels, timeoutMs } = this.#rules;
    const key = options?.key;
    if (key !== undefined) requireKey(key);
    const level = levelOf(options?.priority ?? 1, levels);
    const extras = extrasFrom(options, timeoutMs);
    if (!mayBeFull && !this.#hasRoom(key)) return undefined;
    return new PoolTask(this, work, level, isQuiet, extras, this.#moment());
  }

  /** Whether it was taken. */
  #admit(task: AnyTask): boolean {
    const signal = task.extras?.options.signal;
    this.#meter.submitted += 1;
    if (signal?.aborted === true) {
      this.#settle(task, 'cancelled', signal.reason);
      return true;
    }
    if (this.#drain !== undefined) {
      this.#settle(task, 'refused', this.#closedError());
      return false;
    }
    if (signal !== undefined) {
      const onAbort = (): void => void this.cancel(task, signal.reason);
      task.extras!.onSignal = onAbort;
      signal.addEventListener('abort', onAbort, { once: true });
    }
    if (this.#canBegin(task.key)) return this.#beginNow(task);
    if (this.#hasPlace()) {
      this.#enqueue(task, task.came.ms);
      return true;
    }
    return this.#admitToFull(task, this.#rules.full);
  }

  #admitToFull(task: AnyTask, rule: FullRule): boolean {
    if (rule === 'wait') {
      task.keepScope();
      this.#outside.push(task);
      return true;
    }
    if (rule === 'drop-oldest' && this.#queue.oldest !== undefined) {
      const { oldest } = this.#queue;
      this.#queue.remove(oldest, this.#meter.nowMs);
      this.#enqueue(task, task.came.ms);
      this.#settle(oldest, 'refused', new Rejection('shed', this.name).error);
      return true;
    }
    if (rule === 'run-in-caller' && !this.#isPaused && this.#queue.isFree(task.key)) {
      task.isCounted = false;
      return this.#beginNow(task);
    }
    this.#settle(task, 'refused', new Rejection('full', this.name).error);
    return false;
  }

  /** Whether it may be taken without anybody being put off. */
  #hasRoom(key: string | undefined): boolean {
    return this.#drain === undefined && (this.#canBegin(key) || this.#hasPlace());
  }

  #hasPlace(): boolean {
    return this.#queue.length < this.#rules.maxQueued && this.#outside.length === 0;
  }

  #hasWorker(): boolean {
    return this.#running < this.#size && !this.#isPaused;
  }

  #canBegin(key: string | undefined): boolean {
    return this.#hasWorker() && this.#outside.length === 0 && this.#queue.isNext(key);
  }

  #enqueue(task: AnyTask, nowMs: number): void {
    task.state = 'queued';
    task.wasTaken = true;
    if (task.scope === undefined) task.keepScope();
    this.#queue.add(task, nowMs);
    task.tellAccepted();
  }

  #takeOut(task: AnyTask): void {
    if (task.state === 'blocked') this.#outside.remove(task);
    else this.#queue.remove(task, this.#meter.nowMs);
  }

  #beginNow(task: AnyTask): true {
    this.#queue.pass(task);
    this.#begin(task);
    // It may have ended already, and have submitted others.
    this.#pump();
    this.#lookWhetherDrained();
    return true;
  }

  /** Begins what may be, and lets in who waits for room. */
  #pump(): void {
    for (;;) {
      while (this.#outside.length > 0 && this.#queue.length < this.#rules.maxQueued) {
        const task = this.#outside.first!;
        this.#outside.remove(task);
        this.#enqueue(task, this.#meter.nowMs);
      }
      if (!this.#hasWorker()) return;
      const task = this.#queue.take() ?? this.#fromOutside();
      if (task === undefined) return;
      this.#begin(task);
    }
  }

  /** The queue is full of those whose turn it is not, or has no places; who is first outside needs none. */
  #fromOutside(): AnyTask | undefined {
    const task = this.#outside.first;
    if (task === undefined || !this.#queue.isFree(task.key)) return undefined;
    this.#outside.remove(task);
    this.#queue.pass(task);
    return task;
  }

  #begin(task: AnyTask): void {
    const { nowMs } = this.#meter;
    const { extras, scope } = task;
    const wasBlocked = task.state === 'blocked';
    task.state = 'running';
    task.wasTaken = true;
    if (task.isCounted) this.#running += 1;
    else this.#inCaller += 1;
    this.#meter.begun(nowMs - task.came.ms);
    if (extras?.timeoutMs !== undefined) this.#limitTime(task, extras.timeoutMs);
    if (wasBlocked) task.tellAccepted();
    task.scope = undefined;
    let result: unknown;
    try {
      result =
        scope === undefined ? this.#call(task) : scope.runInAsyncScope(this.#call, this, task);
      if (result instanceof Promise) {
        this.#runner().wait(task, result, nowMs);
        return;
      }
    } catch (error) {
      this.#ended(task, nowMs, true, error);
      return;
    }
    this.#ended(task, nowMs, false, result);
  }

  #call(task: AnyTask): unknown {
    const { work } = task;
    task.work = forgotten;
    const { policy } = this.#rules;
    if (policy !== undefined) {
      const { signal, key, level: priority } = task;
      return policy.run(work, { signal, key, priority });
    }
    const result = work(new TaskContext(task));
    return isThenable(result) ? plainPromise(result) : result;
  }

  #runner(): Runner {
    const idle = this.#idleRunners.pop();
    if (idle !== undefined) return idle;
    const runner = new Runner(this);
    this.#runners.push(runner);
    return runner;
  }

  #limitTime(task: AnyTask, timeoutMs: number): void {
    const extras = task.extras!;
    extras.dueMs = this.#time.now() + timeoutMs;
    extras.cancelTimeout = this.#clock.after(timeoutMs, () => {
      const { error } = new Rejection('timeout', this.name, undefined, true);
      this.#overdue += 1;
      this.#settle(task, 'timedOut', error);
      task.abort(error);
    });
  }

  /** Its work has. */
  #ended(task: AnyTask, sinceMs: number, hasFailed: boolean, result: unknown): void {
    this.#readClock();
    const { nowMs } = this.#meter;
    if (task.isCounted) this.#running -= 1;
    else this.#inCaller -= 1;
    this.#meter.ranFor(nowMs - sinceMs);
    this.#queue.passOn(task, nowMs);
    if (task.state === 'running') this.#settle(task, hasFailed ? 'failed' : 'done', result);
    else this.#overdue -= 1;
  }

  /** The only place where a task ends. */
  #settle(task: AnyTask, end: TaskEnd, result: unknown): void {
    task.state = end === 'timedOut' ? 'failed' : end;
    task.scope = undefined;
    this.#meter.ended(end);
    if (end === 'refused' && poolDropped.hasSubscribers) {
      const { label, key } = task;
      poolDropped.publish({ pool: this.name, label, key, error: result });
    }
    if (task.extras !== undefined) this.#release(task);
    if (end === 'done') task.resolve(result);
    else if (!task.isQuiet) task.reject(result);
    else if (end !== 'cancelled' && task.wasTaken) this.#tell(result, task);
    // Whoever keeps the task does not keep what it was settled with.
    task.resolve = forgotten;
  }

  #release(task: AnyTask): void {
    const { extras } = task;
    extras!.cancelTimeout?.();
    const { onSignal, options } = extras!;
    if (onSignal !== undefined) options.signal!.removeEventListener('abort', onSignal);
    task.tellAccepted();
  }

  #tell(error: unknown, task: AnyTask): void {
    const { onError } = this.#rules;
    if (onError === undefined) {
      task.reject(error);
      return;
    }
    try {
      onError(error, task);
    } catch (itsOwn) {
      task.reject(itsOwn);
    }
  }

  #cutShort(): void {
    const drain = this.#drain!;
    this.#readClock();
    const cancelled = [...this.#queue.all(), ...this.#outside.all()];
    for (const task of cancelled) this.#takeOut(task);
    const running = this.#runners.flatMap(({ task }) => task ?? []);
    drain.end(cancelled, running);
    for (const task of cancelled) this.#settle(task, 'cancelled', this.#closedError());
    for (const task of running) {
      if (task.state !== 'running') continue;
      const error = this.#closedError('unknown');
      this.#overdue += 1;
      this.#settle(task, 'cancelled', error);
      task.abort(error);
    }
  }

  #lookWhetherDrained(): void {
    if (this.#drain === undefined || this.#running > 0 || this.#inCaller > 0) return;
    if (this.#queue.length === 0 && this.#outside.length === 0) this.#drain.end([], []);
  }

  #closedError(outcome: 'not-applied' | 'unknown' = 'not-applied'): QuorateError {
    const text =
      outcome === 'unknown'
        ? 'closed before the task had ended; it may have done its work, or may yet'
        : 'closed; the task was not begun';
    return new QuorateError('ERR_CLOSED', `${this.name}: ${text}`, { outcome });
  }

  /** Of what comes now. */
  #moment(): Moment {
    this.#readClock();
    const { nowMs } = this.#meter;
    if (nowMs - this.#came.ms > TOGETHER_MS) this.#came = { ms: nowMs };
    return this.#came;
  }

  #readClock(): void {
    this.#meter.nowMs = this.#time.now();
  }
}

function forgotten(): void {
  // In the place of the work of a task that has begun.
}
