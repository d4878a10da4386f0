/** One correct way to wait and to be told to stop. */
import type { Clock } from './clock.ts';

/** What every call that waits takes. */
export interface WaitOptions {
  /** Ends the wait; the call then rejects with `signal.reason` unchanged. */
  readonly signal?: AbortSignal | undefined;
}

/** Throws the signal's reason if it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

/**
 * Waits for `work`, or rejects with the signal's reason, whichever comes first; no listener is left
 * behind. Where the abort wins, `discard` is given the late value so that nothing stays acquired.
 */
export async function orAborted<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  discard?: (late: T) => void,
): Promise<T> {
  if (signal === undefined) return work;
  let stop!: (reason: unknown) => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = reject;
  });
  const onAbort = (): void => stop(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    if (signal.aborted) work.then(discard, ignoreLate);
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function ignoreLate(): void {
  // The wait was given up; how the work ended no longer concerns anyone.
}

/** Resolves after `delayMs`, or rejects with the signal's reason. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
