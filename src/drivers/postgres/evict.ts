/** A lock is taken from its holders. */
import { orAborted, sleep } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { LockHolder } from '../../locks/locks.ts';
import type { Session } from './session.ts';
import { TAKE, TERMINATE } from './statements.ts';

/** How long holders have to give a lock back when told to, before their connections are ended. */
const GRACE_MS = 500;
const LOOK_AGAIN_MS = 5;

export interface Eviction {
  readonly name: string;
  /** The key, as `pg_locks` shows it. */
  readonly halves: readonly [string, string];
  /** Who holds it now. */
  readonly lookFor: () => Promise<readonly LockHolder[]>;
  readonly signal: AbortSignal | undefined;
}

/**
 * Tells the holders, who give back this lock alone. Those who do not (stopped, or other programs) lose
 * their connection, and with it all that it holds; that takes the right to end it.
 */
export async function takeAway(
  clock: Clock,
  hub: Session,
  { name, halves, lookFor, signal }: Eviction,
): Promise<readonly LockHolder[]> {
  const evicted = await lookFor();
  if (evicted.length === 0) return evicted;
  const doing = `'${name}' could not be taken from its holder`;
  const values = [evicted.map(({ holder }) => holder)];
  await orAborted(hub.query(doing, { text: TAKE, values }), signal);
  const deadlineMs = clock.now() + GRACE_MS;
  let left = await remaining(evicted, lookFor);
  for (let delayMs = LOOK_AGAIN_MS; left.length > 0 && clock.now() < deadlineMs; delayMs *= 2) {
    await sleep(clock, Math.min(delayMs, GRACE_MS / 5), signal);
    left = await remaining(evicted, lookFor);
  }
  for (const { holder } of left) {
    const pid = Number.parseInt(holder, 10);
    const query = { text: TERMINATE, values: [...halves, pid] };
    await orAborted(hub.query(doing, query), signal);
  }
  return evicted;
}

/** Of those the ones that hold it still: again, with another token, is another grant. */
async function remaining(
  evicted: readonly LockHolder[],
  lookFor: Eviction['lookFor'],
): Promise<readonly LockHolder[]> {
  const now = await lookFor();
  return evicted.filter(({ holder, fencingToken }) =>
    now.some((one) => one.holder === holder && one.fencingToken === fencingToken),
  );
}
