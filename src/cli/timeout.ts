/** A limit to a wait, on top of the user's own way to stop it. */
import { type Clock, systemClock } from '../core/clock.ts';

/** A signal that is aborted with `reason()` after `delayMs`, or as `parent` is. Cancel it when the wait is over. */
export function giveUpAfter(
  delayMs: number,
  parent: AbortSignal,
  reason: () => Error,
  clock: Clock = systemClock,
): { readonly signal: AbortSignal; readonly cancel: () => void } {
  const limit = new AbortController();
  const cancel = clock.after(delayMs, () => limit.abort(reason()));
  return { signal: AbortSignal.any([parent, limit.signal]), cancel };
}
