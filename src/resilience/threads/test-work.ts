/** What the tests of pools of threads run in threads. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, threadId, workerData } from 'node:worker_threads';
import { QuorateError } from '../../core/errors.ts';
import { moved } from './moved.ts';

export const notAFunction = 1;

export function add(a: number, b: number): number {
  return a + b;
}

export async function addLater(a: number, b: number): Promise<number> {
  await sleep(1);
  return a + b;
}

export function where(): { isMainThread: boolean; threadId: number; workerData: unknown } {
  return { isMainThread, threadId, workerData };
}

export function exit(code: number): never {
  process.exit(code);
}

/** Ends its thread when the task is over. */
export function exitAfterwards(code: number): number {
  queueMicrotask(() => process.exit(code));
  return code;
}

/** Throws when the task is over. */
export function throwAfterwards(): void {
  setImmediate(() => {
    throw new Error('between tasks');
  });
}

export function never(): Promise<never> {
  setInterval(() => undefined, 1000);
  return new Promise(() => undefined);
}

/** Keeps the thread busy until it sees another number in shared memory. */
export function spin(shared: Int32Array): number {
  Atomics.store(shared, 1, 1);
  Atomics.wait(shared, 0, 0);
  return Atomics.load(shared, 0);
}

export function spinHard(shared: Int32Array): void {
  Atomics.store(shared, 1, 1);
  while (Atomics.load(shared, 0) === 0);
}

export function throwLater(): Promise<never> {
  setImmediate(() => {
    throw new Error('out of nowhere');
  });
  return new Promise(() => undefined);
}

export function useMemory(): number {
  const all: number[][] = [];
  for (;;) all.push(new Array<number>(100_000).fill(all.length));
}

const kept: number[][] = [];

export function keep(numbers: number): number {
  kept.push(new Array<number>(numbers).fill(1));
  return threadId;
}

export function fill(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length).fill(7);
  return moved(bytes, [bytes.buffer]);
}

const mine = new Uint8Array(8);

export function giveAway(): Uint8Array {
  return moved(mine, [mine.buffer]);
}

export function lengthOfMine(): number {
  return mine.length;
}

export function length(bytes: Uint8Array): number {
  return bytes.length;
}

export function fail(what: 'plain' | 'fields' | 'ours' | 'text' | 'function'): never {
  if (what === 'plain') throw new TypeError('plain', { cause: 'its cause' });
  if (what === 'fields') throw Object.assign(new Error('with fields'), { code: 'E_OWN', size: 3 });
  if (what === 'ours')
    throw new QuorateError('ERR_BUSY', 'too much', { outcome: 'unknown', retryable: true });
  if (what === 'text') throw 'a text';
  throw Object.assign(new Error('not to be copied'), { run: () => undefined });
}

export function notToBeCopied(): () => void {
  return () => undefined;
}

export function failWith(what: 'several' | 'unspeakable'): never {
  if (what === 'several') throw new AggregateError([new Error('one'), new Error('two')], 'both');
  throw Object.create(null, { run: { value: () => undefined, enumerable: true } });
}

export function depth(list: unknown): number {
  let links = 0;
  for (let at = list as { next: unknown } | null; at !== null; links++) {
    at = at.next as { next: unknown } | null;
  }
  return links;
}

let turns = 0;

/** Leaves behind what the next request has arrived by the time it is done. */
export function leaveMuch(): number {
  setImmediate(() => {
    turns += 1;
  });
  queueMicrotask(() => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  });
  return turns;
}
