/** A stopped process, for tests of what its node does when it goes on and finds the world changed. */
import type { Cancel, Clock } from '../../core/clock.ts';

/** A process that can be stopped and continued, as by `SIGSTOP`: what happens to it meanwhile waits. */
export class Process {
  stopped = false;
  readonly #waiting: (() => void)[] = [];

  stop(): void {
    this.stopped = true;
  }

  go(): void {
    this.stopped = false;
    this.#catchUp();
  }

  /** What waited happens one after the other, each in a turn of its own. */
  #catchUp(): void {
    if (this.stopped) return;
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) setImmediate(() => this.#catchUp());
  }

  run(what: () => void): void {
    if (this.stopped || this.#waiting.length > 0) this.#waiting.push(what);
    else what();
  }

  /** For what the process has scheduled itself: not behind what comes from outside. */
  soon(what: () => void): void {
    setImmediate(() => (this.stopped ? this.#waiting.unshift(what) : what()));
  }

  runs(): Promise<void> {
    return new Promise((resolve) => this.run(resolve));
  }

  /** Its timers: one that was due while it was stopped runs once, late. */
  clock(clock: Clock): Clock {
    const timer = (start: (run: () => void) => Cancel, run: () => void): Cancel => {
      let due = false;
      let cancelled = false;
      const cancel = start(() => {
        if (due) return;
        due = true;
        this.run(() => {
          due = false;
          if (!cancelled) run();
        });
      });
      return () => {
        cancelled = true;
        cancel();
      };
    };
    return {
      now: () => clock.now(),
      wallNow: () => clock.wallNow(),
      after: (delayMs, run) => timer((due) => clock.after(delayMs, due), run),
      every: (intervalMs, run) => timer((due) => clock.every(intervalMs, due), run),
    };
  }
}
