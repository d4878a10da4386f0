/**
 * Which task is next. Of those whose turn it may be, each has a moment: when it came, and later by so much for each step
 * of priority; the earliest goes first. So a task of priority p is passed by none that came more than p steps after it, and
 * nobody starves. A line for each priority is in order by itself, so only the first of each are compared.
 */
import type { PoolTask } from './task.ts';
import { AgeList, Lane, TaskList } from './task-lists.ts';

type AnyTask = PoolTask<unknown>;

export class TaskQueue {
  readonly #levels: readonly TaskList<AnyTask>[];
  readonly #ageingMs: number;
  /** Of keys of which a task runs, or may. */
  readonly #lanes: Map<string, Lane<AnyTask>>;
  /** Where somebody wants to know who is the oldest. */
  readonly #byAge: AgeList<AnyTask> | undefined;
  #length: number;
  /** How many could run if there were workers. */
  #ready: number;

  constructor(levels: number, ageingMs: number, knowsOldest: boolean) {
    this.#levels = Array.from({ length: levels }, () => new TaskList<AnyTask>());
    this.#ageingMs = ageingMs;
    this.#lanes = new Map();
    this.#byAge = knowsOldest ? new AgeList() : undefined;
    this.#length = 0;
    this.#ready = 0;
  }

  get length(): number {
    return this.#length;
  }

  get oldest(): AnyTask | undefined {
    return this.#byAge?.oldest;
  }

  all(): AnyTask[] {
    return [...this.#levels, ...this.#lanes.values()].flatMap((list) => list.all());
  }

  /** Whether it would be the turn of one that is not in the queue. */
  isNext(key: string | undefined): boolean {
    return this.#ready === 0 && this.isFree(key);
  }

  /** Whether no task of the key is here or runs. */
  isFree(key: string | undefined): boolean {
    return key === undefined || !this.#lanes.has(key);
  }

  /** For a task that runs without having been in the queue; its key is free. */
  pass(task: AnyTask): void {
    const { key } = task;
    if (key !== undefined) this.#open(task, key);
  }

  add(task: AnyTask, nowMs: number): void {
    this.#byAge?.push(task);
    this.#length += 1;
    const { key } = task;
    if (key !== undefined) {
      const lane = this.#lanes.get(key);
      if (lane !== undefined) {
        task.more.lane = lane;
        lane.push(task);
        return;
      }
      this.#open(task, key);
    }
    this.#line(task, nowMs);
  }

  /** Takes out the next one to run. */
  take(): AnyTask | undefined {
    if (this.#ready === 0) return undefined;
    let next: AnyTask | undefined;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { first, length } of this.#levels) {
      if (first === undefined) continue;
      // It is the only one that is asked for.
      if (length === this.#ready) {
        next = first;
        break;
      }
      const turnMs = first.turnMs(this.#ageingMs);
      if (turnMs < nextMs) {
        next = first;
        nextMs = turnMs;
      }
    }
    next!.list!.remove(next!);
    this.#ready -= 1;
    this.#forget(next!);
    return next;
  }

  /** Takes out one that is never to run. */
  remove(task: AnyTask, nowMs: number): void {
    const list = task.list!;
    list.remove(task);
    this.#forget(task);
    if (list === task.extras?.lane) return;
    this.#ready -= 1;
    this.passOn(task, nowMs);
  }

  /** It is the turn of the next one of the key. */
  passOn({ extras }: AnyTask, nowMs: number): void {
    const lane = extras?.lane;
    if (lane === undefined) return;
    const next = lane.first;
    if (next === undefined) {
      this.#lanes.delete(lane.key);
    } else {
      lane.remove(next);
      this.#line(next, nowMs);
    }
  }

  #forget(task: AnyTask): void {
    this.#byAge?.remove(task);
    this.#length -= 1;
  }

  #open(task: AnyTask, key: string): void {
    const lane = new Lane<AnyTask>(key);
    task.more.lane = lane;
    this.#lanes.set(key, lane);
  }

  #line(task: AnyTask, nowMs: number): void {
    if (nowMs !== task.came.ms) task.more.readyMs = nowMs;
    this.#levels[task.level]!.push(task);
    this.#ready += 1;
  }
}
