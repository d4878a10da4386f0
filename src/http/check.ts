/**
 * One health check: runs what it is about at most once at a time, however many ask, and remembers the
 * result for a while. A probe is asked every second by many, and what it looks at is shared with those who work.
 */
import type { Clock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, isQuorateError, QuorateError } from '../core/errors.ts';

/** What a check may return to say more than that it ended well. */
export interface CheckResult {
  readonly ok: boolean;
  /** Is shown to who asks, at most 200 characters of it: no secrets. */
  readonly message?: string | undefined;
}

/** What a check is given. */
export interface CheckContext {
  /** Aborted when its time is over. */
  readonly signal: AbortSignal;
}

/**
 * Looks whether something is well. It is not where this throws, or returns a `CheckResult` that says so; whatever else it
 * returns is well. Of what is thrown only the `code`, or the
 * name, is shown to who asks, the message of a Quorate error excepted: messages of drivers hold addresses, and passwords.
 */
export type Check = (context: CheckContext) => unknown;

/**
 * Which question a check is about. `live`: would a restart help? `startup`: has it begun, once and for all? `ready`: should it be sent
 * requests now?
 */
export type HealthScope = 'live' | 'ready' | 'startup';

/** A check, and what its result means. */
export interface CheckOptions {
  readonly check: Check;
  /** Whether nothing works without it; else the service is `degraded` without it, and is sent requests. @defaultValue true */
  readonly critical?: boolean | undefined;
  /** Longer, it has failed: less than what the orchestrator waits for a probe. @defaultValue `'1s'` */
  readonly timeout?: Duration | undefined;
  /** How long a result counts, a bad one too. 0 looks anew for each probe that finds none under way. @defaultValue `'1s'` */
  readonly cacheFor?: Duration | undefined;
  /** @defaultValue `'ready'` */
  readonly scope?: HealthScope | undefined;
}

/** How one check stands. */
export interface CheckReport {
  readonly status: 'up' | 'down';
  readonly critical: boolean;
  /** Milliseconds that the look took. */
  readonly tookMs: number;
  /** Milliseconds since then. */
  readonly ageMs: number;
  readonly message?: string;
}

/** A check that was up and is down, or was down and is up, or was looked at for the first time. */
export interface HealthChange {
  readonly check: string;
  readonly status: 'up' | 'down';
  readonly message: string | undefined;
  /** What was thrown, in full: for logs, not for who asks. */
  readonly error: unknown;
}

interface Look {
  readonly up: boolean;
  readonly message: string | undefined;
  readonly error: unknown;
}

interface Seen {
  readonly up: boolean;
  readonly message: string | undefined;
  readonly tookMs: number;
  readonly atMs: number;
}

const MAX_MESSAGE_LENGTH = 200;
const SCOPES: readonly string[] = ['live', 'ready', 'startup'];

export class CachedCheck {
  readonly name: string;
  readonly critical: boolean;
  readonly scope: HealthScope;
  readonly #check: Check;
  readonly #timeoutMs: number;
  readonly #cacheMs: number;
  readonly #clock: Clock;
  readonly #onChange: (change: HealthChange) => void;
  #seen: Seen | undefined;
  /** Ends when the look under way has a result. */
  #look: Promise<void> | undefined;
  /** Since when the check runs: also after its time is over, and as long no other is begun. */
  #busySinceMs: number | undefined;

  constructor(
    name: string,
    options: CheckOptions,
    clock: Clock,
    onChange: (change: HealthChange) => void,
  ) {
    const at = `checks.${name}`;
    if (typeof options?.check !== 'function') throw invalid(`${at}: a function is needed`);
    const scope = options.scope ?? 'ready';
    if (!SCOPES.includes(scope)) {
      throw invalid(`${at}.scope: ${String(scope)}; one of ${SCOPES.join(', ')} is needed`);
    }
    this.name = name;
    this.critical = options.critical ?? true;
    this.scope = scope;
    this.#check = options.check;
    this.#timeoutMs = durationMs(options.timeout ?? 1000, `${at}.timeout`);
    if (this.#timeoutMs === 0) throw invalid(`${at}.timeout: 0; every look takes some time`);
    this.#cacheMs = durationMs(options.cacheFor ?? 1000, `${at}.cacheFor`);
    this.#clock = clock;
    this.#onChange = onChange;
    this.#seen = undefined;
    this.#look = undefined;
    this.#busySinceMs = undefined;
  }

  /** How it stands; looks where what is known is too old. Never rejects. */
  async report(): Promise<CheckReport> {
    if (!this.#isFresh()) await (this.#look ??= this.#begin());
    const { up, message, tookMs, atMs } = this.#seen!;
    return {
      status: up ? 'up' : 'down',
      critical: this.critical,
      tookMs: round(tookMs),
      ageMs: round(this.#clock.now() - atMs),
      ...(message === undefined ? {} : { message }),
    };
  }

  #isFresh(): boolean {
    return this.#seen !== undefined && this.#clock.now() - this.#seen.atMs < this.#cacheMs;
  }

  #begin(): Promise<void> | undefined {
    const startedMs = this.#clock.now();
    if (this.#busySinceMs !== undefined) {
      const forMs = startedMs - this.#busySinceMs;
      this.#note(false, `began ${Math.round(forMs)} ms ago and has not ended`, undefined, forMs);
      return undefined;
    }
    this.#busySinceMs = startedMs;
    const { promise, resolve } = Promise.withResolvers<void>();
    const controller = new AbortController();
    let hasEnded = false;
    const end = (up: boolean, message: string | undefined, error: unknown): void => {
      if (hasEnded) return;
      hasEnded = true;
      cancel();
      this.#look = undefined;
      this.#note(up, message, error, this.#clock.now() - startedMs);
      resolve();
    };
    const cancel = this.#clock.after(this.#timeoutMs, () => {
      const text = `did not end within ${this.#timeoutMs} ms`;
      const error = new QuorateError('ERR_TIMEOUT', `the health check '${this.name}' ${text}`);
      end(false, text, error);
      controller.abort(error);
    });
    void this.#run(controller.signal).then(({ up, message, error }) => {
      this.#busySinceMs = undefined;
      end(up, message, error);
    });
    return promise;
  }

  /** Never rejects. */
  async #run(signal: AbortSignal): Promise<Look> {
    try {
      const result = await this.#check({ signal });
      if (!isCheckResult(result)) return { up: true, message: undefined, error: undefined };
      return { up: result.ok, message: result.message, error: undefined };
    } catch (error) {
      return { up: false, message: shownOf(error), error };
    }
  }

  #note(up: boolean, message: string | undefined, error: unknown, tookMs: number): void {
    const hasChanged = this.#seen?.up !== up;
    const shown = typeof message === 'string' ? message.slice(0, MAX_MESSAGE_LENGTH) : undefined;
    this.#seen = { up, message: shown, tookMs, atMs: this.#clock.now() };
    if (!hasChanged) return;
    try {
      this.#onChange({ check: this.name, status: up ? 'up' : 'down', message: shown, error });
    } catch (thrown) {
      // Who asks gets an answer all the same.
      process.emitWarning(thrown instanceof Error ? thrown : String(thrown), 'QuorateHealth');
    }
  }
}

function isCheckResult(value: unknown): value is CheckResult {
  return (
    typeof value === 'object' && value !== null && typeof (value as CheckResult).ok === 'boolean'
  );
}

/** What may be said in public of an error: see `Check`. */
function shownOf(error: unknown): string {
  try {
    if (isQuorateError(error)) return `${error.code}: ${error.message}`;
    if (typeof error !== 'object' || error === null) return 'failed';
    const { code, name } = error as { code?: unknown; name?: unknown };
    if (typeof code === 'string' && /^[A-Z0-9_]{2,60}$/.test(code)) return code;
    return typeof name === 'string' && /^\w{1,60}$/.test(name) ? name : 'failed';
  } catch {
    // Not even what it is can be read.
    return 'failed';
  }
}

/** Tenths of a millisecond are enough for who reads it. */
function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
