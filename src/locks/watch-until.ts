/** Waiting for changes in a store. */
import { isQuorateError } from '../core/errors.ts';
import type { KeyRange, Kv, WatchBatch, WatchOptions } from '../kv/kv.ts';

/**
 * Watches until `isEnough` says so of what came. Resolves also when the watch ends, or where the history that it
 * needs is gone: whoever waited looks at what there is now.
 */
export async function watchUntil(
  kv: Kv,
  range: KeyRange,
  options: WatchOptions,
  isEnough: (events: WatchBatch['events']) => boolean,
): Promise<void> {
  try {
    for await (const { events } of kv.watch(range, options)) if (isEnough(events)) return;
  } catch (error) {
    if (!isQuorateError(error, 'ERR_COMPACTED')) throw error;
  }
}

/** For `watchUntil`: any event will do. */
export function isChange(events: WatchBatch['events']): boolean {
  return events.length > 0;
}
