/**
 * Looks after those who wait: a connection that waits cannot ask anything itself, and one that was cut
 * without a word would wait for ever. So the hub asks whether PostgreSQL still has them in its queue.
 */
import { orAborted, sleep } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { withinTime } from '../../locks/life.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import { WAITING } from './statements.ts';

/** So often in a row not seen in the queue, a connection is given up; once may be a grant on its way. */
const MISSES = 3;

export class WaitWatch {
  readonly #clock: Clock;
  readonly #sessions: Sessions;
  readonly #heartbeatMs: number;
  /** Who waits, and how often it was missed. */
  readonly #waiting: Map<Session, number>;
  #isLooking: boolean;

  constructor(clock: Clock, sessions: Sessions, heartbeatMs: number) {
    this.#clock = clock;
    this.#sessions = sessions;
    this.#heartbeatMs = heartbeatMs;
    this.#waiting = new Map();
    this.#isLooking = false;
  }

  /** Until `work`, a wait on that connection, is over. */
  async during<T>(session: Session, work: Promise<T>): Promise<T> {
    this.#waiting.set(session, 0);
    if (!this.#isLooking) void this.#look();
    try {
      return await work;
    } finally {
      this.#waiting.delete(session);
    }
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#waiting.size > 0) {
      await sleep(this.#clock, this.#heartbeatMs);
      const asked = [...this.#waiting.keys()];
      const seen = await this.#seen(asked).catch(() => new Set<number>());
      for (const session of asked) this.#note(session, seen.has(session.pid));
    }
    this.#isLooking = false;
  }

  #note(session: Session, wasSeen: boolean): void {
    const misses = this.#waiting.get(session);
    if (misses === undefined) return;
    this.#waiting.set(session, wasSeen ? 0 : misses + 1);
    if (!wasSeen && misses + 1 >= MISSES) {
      session.end('was lost while it waited: the server does not answer, or does not know of it');
    }
  }

  async #seen(sessions: readonly Session[]): Promise<Set<number>> {
    if (sessions.length === 0) return new Set();
    const values = [sessions.map(({ pid }) => pid)];
    const rows = await withinTime(this.#clock, this.#heartbeatMs, undefined, async (signal) => {
      const hub = await orAborted(this.#sessions.hub(), signal);
      const asked = hub.query<{ readonly pid: number }>('who waits', { text: WAITING, values });
      return orAborted(asked, signal);
    });
    return new Set(rows.map(({ pid }) => pid));
  }
}
