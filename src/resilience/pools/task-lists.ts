/** Lists of tasks. A task is taken out of the middle of one as quickly as from its ends. */

/** What is in lists. */
export interface Listed<T> {
  /** The one that it is in. */
  list: object | undefined;
  before: T | undefined;
  after: T | undefined;
}

/** Where something is among all that are queued. */
export interface AgeLinks<T> {
  older: T | undefined;
  newer: T | undefined;
}

/** What has such links, at the latest when they are asked for. */
export interface Aged<T> {
  readonly more: AgeLinks<T>;
}

/** Those of one priority, or who wait for something else together. A task is in at most one. */
export class TaskList<T extends Listed<T>> {
  first: T | undefined;
  last: T | undefined;
  length: number;

  constructor() {
    this.first = undefined;
    this.last = undefined;
    this.length = 0;
  }

  push(task: T): void {
    const { last } = this;
    task.list = this;
    task.before = last;
    if (last === undefined) this.first = task;
    else last.after = task;
    this.last = task;
    this.length += 1;
  }

  all(): T[] {
    const all: T[] = [];
    for (let one = this.first; one !== undefined; one = one.after) all.push(one);
    return all;
  }

  remove(task: T): void {
    const { before, after } = task;
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after === undefined) this.last = before;
    else after.before = before;
    task.list = undefined;
    task.before = undefined;
    task.after = undefined;
    this.length -= 1;
  }
}

/** Tasks of one key that wait for the one before them. */
export class Lane<T extends Listed<T>> extends TaskList<T> {
  readonly key: string;

  constructor(key: string) {
    super();
    this.key = key;
  }
}

/** All that are queued, in the order in which they came. */
export class AgeList<T extends Aged<T>> {
  oldest: T | undefined;
  newest: T | undefined;

  constructor() {
    this.oldest = undefined;
    this.newest = undefined;
  }

  push(task: T): void {
    const { newest } = this;
    task.more.older = newest;
    if (newest === undefined) this.oldest = task;
    else newest.more.newer = task;
    this.newest = task;
  }

  remove(task: T): void {
    const { more } = task;
    const { older, newer } = more;
    if (older === undefined) this.oldest = newer;
    else older.more.newer = newer;
    if (newer === undefined) this.newest = older;
    else newer.more.older = older;
    more.older = undefined;
    more.newer = undefined;
  }
}
