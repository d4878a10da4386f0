/** Leaving PostgreSQL's queue. Closing the connection does not: who waits is looked after once a second only. */
import { sleep } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import { CANCEL } from './statements.ts';

/** A cancellation that came before the wait began was lost. */
const AGAIN_MS = 20;
const ATTEMPTS = 10;

/**
 * Ends the wait of `session`. Resolves with whether that is as clean as before it; where it is not, its lock
 * may have been granted, or a cancellation may still be on its way.
 */
export async function withdraw(
  clock: Clock,
  sessions: Sessions,
  session: Session,
  waiting: Promise<unknown>,
): Promise<boolean> {
  let isOver = false;
  let wasRefused = false;
  const over = waiting.then(
    () => void (isOver = true),
    () => void (isOver = wasRefused = true),
  );
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    if (session.ended !== undefined) return false;
    try {
      const hub = await sessions.hubUntilClosed();
      if (hub === undefined) return false;
      await hub.query('cancellation of a wait', { text: CANCEL, values: [session.pid] });
    } catch {
      return false;
    }
    await Promise.race([over, sleep(clock, AGAIN_MS)]);
    if (isOver) return attempt === 1 && wasRefused && session.ended === undefined;
  }
  return false;
}
