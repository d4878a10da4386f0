/** What a pool of workers is to do, as plainly as it can be said: lists that are looked through from one end to the other. */
import type { FullRule } from './pool-options.ts';
import type { TaskState } from './task.ts';

export interface ModelTask {
  readonly id: number;
  readonly level: number;
  readonly key: string | undefined;
  readonly timeoutMs: number | undefined;
  /** Its work ends as soon as it begins. */
  readonly instant: 'done' | 'failed' | undefined;
  state: TaskState;
  /** Its work has begun and not ended. */
  isWorking: boolean;
  isCounted: boolean;
  /** In the order in which they became ready. */
  ready: number | undefined;
  readyMs: number;
  dueMs: number;
}

export class PoolModel {
  readonly tasks: ModelTask[] = [];
  /** In the order in which they began. */
  readonly begun: number[] = [];
  readonly full: FullRule;
  readonly max: number;
  readonly ageingMs: number;
  size: number;
  isPaused = false;
  nowMs = 0;
  queued: ModelTask[] = [];
  outside: ModelTask[] = [];
  #readyCount = 0;

  constructor(size: number, max: number, full: FullRule, ageingMs: number) {
    this.size = size;
    this.max = max;
    this.full = full;
    this.ageingMs = ageingMs;
  }

  get working(): ModelTask[] {
    return this.tasks.filter((task) => task.isWorking);
  }

  get running(): number {
    return this.working.filter((task) => task.isCounted).length;
  }

  /** Whether it was taken. */
  submit(task: ModelTask, how: 'submit' | 'try' | 'go'): boolean {
    const canBegin = this.#hasWorker() && this.outside.length === 0 && this.#next() === undefined;
    const hasPlace = this.queued.length < this.max && this.outside.length === 0;
    const beginsNow = canBegin && this.#isFree(task);
    const isBounded = this.full === 'wait' || this.full === 'reject';
    if (!beginsNow && !hasPlace && (how === 'try' || (how === 'go' && isBounded))) return false;
    this.tasks.push(task);
    if (beginsNow) this.#begin(task);
    else if (hasPlace) this.#enqueue(task);
    else this.#full(task);
    this.#pump();
    return task.state !== 'refused';
  }

  end(task: ModelTask, end: 'done' | 'failed'): void {
    task.isWorking = false;
    if (task.state === 'running') task.state = end;
    this.#pump();
  }

  cancel(task: ModelTask): void {
    this.queued = this.queued.filter((one) => one !== task);
    this.outside = this.outside.filter((one) => one !== task);
    task.state = 'cancelled';
    this.#pump();
  }

  advance(ms: number): void {
    this.nowMs += ms;
    for (const task of this.working) {
      if (task.state === 'running' && task.dueMs <= this.nowMs) task.state = 'failed';
    }
  }

  change(change: { size?: number; isPaused?: boolean }): void {
    Object.assign(this, change);
    this.#pump();
  }

  #full(task: ModelTask): void {
    const { full } = this;
    if (full === 'wait') {
      this.outside.push(task);
    } else if (full === 'drop-oldest' && this.queued.length > 0) {
      this.queued.shift()!.state = 'refused';
      this.#lookWhoIsReady();
      this.#enqueue(task);
    } else if (full === 'run-in-caller' && !this.isPaused && this.#isFree(task)) {
      task.isCounted = false;
      this.#begin(task);
    } else {
      task.state = 'refused';
    }
  }

  #pump(): void {
    for (;;) {
      this.#lookWhoIsReady();
      while (this.outside.length > 0 && this.queued.length < this.max) {
        this.#enqueue(this.outside.shift()!);
      }
      if (!this.#hasWorker()) return;
      const next = this.#next();
      const first = this.outside[0];
      if (next !== undefined) {
        this.queued = this.queued.filter((one) => one !== next);
        this.#begin(next);
      } else if (first !== undefined && this.#isFree(first)) {
        this.outside.shift();
        this.#begin(first);
      } else {
        return;
      }
    }
  }

  #begin(task: ModelTask): void {
    this.begun.push(task.id);
    task.state = task.instant ?? 'running';
    task.isWorking = task.instant === undefined;
    task.dueMs = this.nowMs + (task.timeoutMs ?? Number.POSITIVE_INFINITY);
  }

  #enqueue(task: ModelTask): void {
    task.state = 'queued';
    this.queued.push(task);
    this.#lookWhoIsReady();
  }

  #hasWorker(): boolean {
    return this.running < this.size && !this.isPaused;
  }

  /** No task of its key works or is queued. */
  #isFree({ key }: ModelTask): boolean {
    return key === undefined || ![...this.working, ...this.queued].some((one) => one.key === key);
  }

  #lookWhoIsReady(): void {
    const keys = new Set(this.working.map((task) => task.key));
    for (const task of this.queued) {
      if (task.key !== undefined && keys.has(task.key)) continue;
      keys.add(task.key);
      if (task.ready !== undefined) continue;
      task.ready = this.#readyCount++;
      task.readyMs = this.nowMs;
    }
  }

  #next(): ModelTask | undefined {
    const turnMs = (task: ModelTask) => task.readyMs + task.level * this.ageingMs;
    return this.queued
      .filter((task) => task.ready !== undefined)
      .toSorted((a, b) => turnMs(a) - turnMs(b) || a.level - b.level || a.ready! - b.ready!)[0];
  }
}
