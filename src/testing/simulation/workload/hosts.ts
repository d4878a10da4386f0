/** Where clients find nodes: they live beside one, in its process, and move on when it is gone. */

import type { Clock } from '../../../core/clock.ts';
import { isQuorateError } from '../../../core/errors.ts';
import type { Kv } from '../../../kv/kv.ts';
import type { World } from '../types.ts';

/** One life of a node, as those in its process see it. */
export interface Host {
  readonly seat: number;
  readonly kv: Kv;
  /** The clock of its process. */
  readonly clock: Clock;
  /** Whether the process was paused at any time since then. */
  wasPausedSince(sinceMs: number): boolean;
  /** Runs `what` in the process: later where it is paused, never where it is gone. */
  run(what: () => void): void;
  /** Calls `what` when the process is gone, at once where it is. Not for a planned stop that still answers. */
  onEnd(what: () => void): void;
}

/** The seats of a cluster, as clients see them. */
export interface Hosts {
  readonly count: number;
  /** The node that is open on this seat; `undefined` while none is. */
  at(seat: number): Host | undefined;
}

/** How a call ended. */
export type Ending<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** The process died, or the client gave up: nobody will hear the answer. */
  | { readonly kind: 'gone' }
  /** As `gone`, but the call had not begun. */
  | { readonly kind: 'never-begun' };

/**
 * Makes a call in the process of `host`, and tells `done` once how it ended. Gives up after
 * `limitMs` of true time, without telling the node: a node that was not paused has answered by then.
 */
export function callHost<T>(
  world: World,
  host: Host,
  limitMs: number,
  start: (kv: Kv) => Promise<T>,
  done: (ending: Ending<T>) => void,
): void {
  let isBegun = false;
  let isOver = false;
  const end = (ending: Ending<T>): void => {
    if (isOver) return;
    isOver = true;
    cancel();
    done(ending);
  };
  const giveUp = (): void => end(isBegun ? { kind: 'gone' } : { kind: 'never-begun' });
  const sinceMs = world.nowMs;
  const cancel = world.after(limitMs, () => {
    if (!host.wasPausedSince(sinceMs)) {
      world.violate(
        'never-answered',
        `a call to seat ${host.seat} has no answer after ${limitMs} ms`,
      );
    }
    giveUp();
  });
  host.onEnd(giveUp);
  host.run(() => {
    if (isOver) return;
    isBegun = true;
    start(host.kv).then(
      (value) => end({ kind: 'ok', value }),
      (error) => end({ kind: 'failed', error }),
    );
  });
}

/** What is known of a write that ended so. */
export function outcomeOf(ending: Ending<unknown>): 'ok' | 'not-applied' | 'unknown' {
  switch (ending.kind) {
    case 'ok':
      return 'ok';
    case 'never-begun':
      return 'not-applied';
    case 'gone':
      return 'unknown';
    case 'failed':
      return isQuorateError(ending.error) ? ending.error.outcome : 'unknown';
  }
}
