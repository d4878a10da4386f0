/** Results that go from a thread to who waits for them without being copied. */
import type { Transferable } from 'node:worker_threads';

const LISTS: unique symbol = Symbol.for('quorate.moved') as never;

type Lists = WeakMap<object, readonly Transferable[]>;

/** One for the thread, however many copies of the package it has loaded. */
function lists(): Lists {
  const home = globalThis as { [LISTS]?: Lists };
  home[LISTS] ??= new WeakMap();
  return home[LISTS];
}

/**
 * For what a function of a `threadPool` returns: parts of it are moved to who waits for it, not copied. The thread has them no more.
 *
 * @param value - what is returned
 * @param transfer - buffers, ports and the like in it
 * @returns the value itself; where nobody moves it, for example in a unit test of the function, nothing happens.
 * @example
 * ```ts
 * export function resize(image: Uint8Array, width: number) {
 *   const pixels = new Uint8Array(width * width);
 *   return moved(pixels, [pixels.buffer]);
 * }
 * ```
 */
export function moved<T extends object>(value: T, transfer: readonly Transferable[]): T {
  lists().set(value, transfer);
  return value;
}

export function transferOf(value: unknown): readonly Transferable[] | undefined {
  return typeof value === 'object' && value !== null ? lists().get(value) : undefined;
}
