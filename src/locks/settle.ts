/** Writes of recipes over a store whose replies may be lost. */
import { sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { isQuorateError } from '../core/errors.ts';

/** Between attempts to learn what became of a write whose reply was lost. */
const ASK_AGAIN_MS = 50;

/** What a write is for, and what a lost reply means there. */
export interface Settling {
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** Whether it is worth to go on after a lost reply, which may still have taken effect, or may yet. */
  isUnknown(): boolean;
}

/** Runs `write`, which does nothing the second time, until its outcome is known. */
export async function settle<T>(
  { clock, signal, isUnknown }: Settling,
  write: () => Promise<T>,
): Promise<T> {
  while (true) {
    try {
      return await write();
    } catch (error) {
      const unknown = isQuorateError(error) && error.outcome === 'unknown';
      if (!unknown || !isUnknown()) throw error;
      await sleep(clock, ASK_AGAIN_MS, signal);
    }
  }
}

/** Once more where somebody revoked the lease of the session: nothing was written, and a new one will do. */
export async function withLiveLease<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (!isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) throw error;
    return attempt();
  }
}
