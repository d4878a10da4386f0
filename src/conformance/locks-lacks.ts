/** What engines of locks may lack, so that cases can be left out with the reason. */
import type { LockGuarantees } from '../locks/locks.ts';

/**
 * What an engine may lack. `lacksOf` finds the first five in what it promises; the rest says whoever
 * runs the suite.
 *
 * `fencing`: there are tokens. `fifo`: who waits is served in order. `shared`, `permits`: locks that
 * several hold at a time. `ttl`: what is held ends by a clock unless it is renewed.
 * `twoClients`: several processes can use the engine; without it all clients of a case are the same.
 * `waiters`: `holders` shows who waits, too. `forceRelease`: a lock can be taken from its holder.
 * `flatNames`: names do not depend on each other, even where one is a folder of the other.
 * `abandon`: a client can be made to vanish (`LockClient.abandon`).
 * `stall`: time can pass while nothing runs (`LocksTarget.stall`).
 * `elections`: there are elections as well (`LockClient.elections`).
 * `depose`: leadership can be taken from outside (`LocksTarget.depose`).
 */
export type LockCapability =
  | 'fencing'
  | 'fifo'
  | 'shared'
  | 'permits'
  | 'ttl'
  | 'twoClients'
  | 'waiters'
  | 'forceRelease'
  | 'flatNames'
  | 'abandon'
  | 'stall'
  | 'elections'
  | 'depose';

/** Capabilities that are missing, each with the reason that is shown for the skipped cases. */
export type LockLacks = Partial<Readonly<Record<LockCapability, string>>>;

/** What an engine lacks by its own account, each with the reason. */
export function lacksOf(guarantees: LockGuarantees): LockLacks {
  const { fencing, waiters, expiry, shared, permits } = guarantees;
  const lacks: Partial<Record<LockCapability, string>> = {};
  if (fencing === 'none') lacks.fencing = 'the engine has no fencing tokens';
  if (waiters === 'barging') lacks.fifo = 'waiters of this engine are served in no order';
  if (!shared) lacks.shared = 'the engine has no locks that are shared';
  if (!permits) lacks.permits = 'the engine has no semaphores';
  if (expiry === 'connection')
    lacks.ttl = 'locks of this engine end with a connection, not by time';
  if (expiry === 'process') lacks.ttl = 'locks of this engine end with the process, not by time';
  return lacks;
}
