/**
 * The end of a process that others rely on, in the one order in which nobody notices:
 *
 *   readiness off → leave discovery → wait → stop accepting → finish requests → drain pools →
 *   resign and release locks → flush → exit code
 *
 * First nobody is to come any more, then who came is served, then what served them is let go: a lock that is released while a
 * request still works under it protects nothing, and a log that is flushed before the last line misses it.
 */
import { Server } from 'node:net';
import { constants } from 'node:os';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import type { HealthChecks } from './health-checks.ts';
import { ServerDrain } from './server-drain.ts';
import {
  type ShutdownPhaseReport,
  type ShutdownReport,
  shutdownText,
  worstOf,
} from './shutdown-report.ts';
import {
  type NamedStep,
  type PhasePlan,
  runPhase,
  type ShutdownFunction,
  stepsOf,
} from './shutdown-steps.ts';

/** A server that knows itself how to end: `serveEtcd` makes one. */
export interface ClosableServer {
  /** Takes no more, waits for what is in progress for so long at most, and cuts the rest. */
  close(options: { readonly graceMs: number }): Promise<unknown>;
}

/** A pool that can be drained: those of Quorate. */
export interface DrainablePool {
  drain(options: { readonly deadline: number }): Promise<unknown>;
}

/** How long each phase may take. What has not ended then is abandoned, and the next phase begins. */
export interface ShutdownDeadlines {
  /** @defaultValue `'2s'` */
  readonly leave?: Duration | undefined;
  /** For requests in progress. @defaultValue `'10s'` */
  readonly finish?: Duration | undefined;
  /** @defaultValue `'5s'` */
  readonly pools?: Duration | undefined;
  /** @defaultValue `'3s'` */
  readonly release?: Duration | undefined;
  /** @defaultValue `'2s'` */
  readonly flush?: Duration | undefined;
}

/** What `gracefulShutdown` takes. The functions of a phase, by name, run at the same time. */
export interface ShutdownOptions {
  /**
   * Servers of `node:http`, `node:https` and `node:http2`, also those under Express, Fastify (`app.server`) and Hono
   * (what `serve` returns); or others that can be closed.
   */
  readonly servers?: readonly (Server | ClosableServer)[] | undefined;
  /** Its readiness is turned off first. */
  readonly health?: Pick<HealthChecks, 'drain'> | undefined;
  /** Leaves discovery; tells clients of WebSockets and streams to go. */
  readonly leave?: Readonly<Record<string, ShutdownFunction>> | undefined;
  /** Drained when the last request is answered. */
  readonly pools?: Readonly<Record<string, DrainablePool>> | undefined;
  /** Resigns and releases locks. */
  readonly release?: Readonly<Record<string, ShutdownFunction>> | undefined;
  /** Writes what is still to be written, and closes what it is written to. */
  readonly flush?: Readonly<Record<string, ShutdownFunction>> | undefined;
  /**
   * How long requests are served as ever after readiness is off: longer than load balancers take to notice. Every response
   * says `Connection: close` meanwhile. @defaultValue `'5s'`; 0 without servers
   */
  readonly delay?: Duration | undefined;
  /**
   * Nothing came on a connection for so long: it is closed after the delay. @defaultValue the server's `keepAliveTimeout`, or 5 s where
   * that is longer
   */
  readonly idle?: Duration | undefined;
  readonly deadlines?: ShutdownDeadlines | undefined;
  /** What starts it, and then ends the process with `exit`. @defaultValue `['SIGTERM', 'SIGINT']` */
  readonly signals?: readonly NodeJS.Signals[] | undefined;
  /** Told what became of it, before `exit`. @defaultValue writes it to stderr where a signal started it */
  readonly onReport?: ((report: ShutdownReport) => void) | undefined;
  /** @defaultValue `process.exit` */
  readonly exit?: ((code: 0 | 1) => void) | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** A shutdown that waits for its time. */
export interface GracefulShutdown extends Disposable {
  /** Aborted when it begins: for loops that take up work by themselves. */
  readonly signal: AbortSignal;
  /** Milliseconds that it takes at most: less than the orchestrator waits before it kills. */
  readonly longestMs: number;
  /** Begins it, or joins the one that has begun. Never rejects, and does not end the process. */
  run(reason?: string): Promise<ShutdownReport>;
  /** Takes back what waits for signals and watches servers, where it has not begun. */
  [Symbol.dispose](): void;
}

/** Terminals and supervisors send a signal to a group and to each of it: twice within this time is once. */
const SAME_SIGNAL_MS = 1_000;
/** What has been told that its time is over may still say what it left behind. */
const GRACE_MS = 1_000;

/**
 * Prepares to end this process gracefully. Make it before the servers listen, so that it knows their connections from the first on.
 *
 * Each phase has its time; one that throws or hangs does not keep the next from running. After the last the process ends: with 0,
 * or with 1 where something failed or was abandoned. A second signal, a second or more after the first, ends it at once.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const server = createServer(app);
 * gracefulShutdown({
 *   servers: [server],
 *   health,
 *   leave: { discovery: () => registration.close() },
 *   pools: { mails },
 *   release: { leadership: () => candidate.resign() },
 *   flush: { database: () => database.end() },
 * });
 * server.listen(8080);
 * ```
 */
export function gracefulShutdown(options: ShutdownOptions = {}): GracefulShutdown {
  return new Shutdown(options);
}

type Deadlines = Readonly<Record<keyof ShutdownDeadlines, number>>;

class Shutdown implements GracefulShutdown {
  readonly longestMs: number;
  readonly #options: ShutdownOptions;
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #deadlines: Deadlines;
  readonly #drains: readonly ServerDrain[];
  readonly #closable: readonly ClosableServer[];
  /** The ends of those, from when they were asked to close. */
  readonly #closing: Map<ClosableServer, Promise<unknown>>;
  readonly #begun: AbortController;
  readonly #hurry: AbortController;
  readonly #signals: readonly NodeJS.Signals[];
  readonly #onSignal: (signal: NodeJS.Signals) => void;
  #signalledAtMs: number | undefined;
  #report: Promise<ShutdownReport> | undefined;

  constructor(options: ShutdownOptions) {
    const { servers = [], clock = systemClock } = options;
    checkFunctions(options);
    this.#options = options;
    this.#clock = clock;
    this.#delayMs = durationMs(options.delay ?? (servers.length > 0 ? 5_000 : 0), 'delay');
    this.#deadlines = deadlinesFrom(options.deadlines);
    const { leave, finish, pools, release, flush } = this.#deadlines;
    this.longestMs = this.#delayMs + leave + finish + pools + release + flush + 2 * GRACE_MS;
    const idleMs = options.idle === undefined ? undefined : durationMs(options.idle, 'idle');
    const native: Server[] = [];
    const closable: ClosableServer[] = [];
    for (const server of servers) {
      if (server instanceof Server) native.push(server);
      else closable.push(server);
    }
    this.#closable = closable;
    this.#closing = new Map();
    this.#begun = new AbortController();
    this.#hurry = new AbortController();
    this.#signals = signalsFrom(options.signals);
    this.#signalledAtMs = undefined;
    this.#report = undefined;
    // What can throw is above: from here on others are touched.
    this.#drains = native.map((server) => new ServerDrain(server, clock, idleMs));
    this.#onSignal = (signal) => this.#signalled(signal);
    for (const signal of this.#signals) process.on(signal, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#begun.signal;
  }

  run(reason = 'asked to'): Promise<ShutdownReport> {
    this.#report ??= this.#run(reason);
    return this.#report;
  }

  [Symbol.dispose](): void {
    if (this.#report !== undefined) return;
    for (const drain of this.#drains) drain.release();
    this.#forgetSignals();
  }

  #signalled(signal: NodeJS.Signals): void {
    const nowMs = this.#clock.now();
    if (this.#signalledAtMs !== undefined) {
      const isSame = nowMs - this.#signalledAtMs < SAME_SIGNAL_MS;
      if (!isSame) this.#hurry.abort(new Error(`${signal} came a second time`));
      return;
    }
    this.#signalledAtMs = nowMs;
    const { exit = (code) => process.exit(code) } = this.#options;
    void this.run(signal).then(({ exitCode }) => exit(exitCode));
  }

  async #run(reason: string): Promise<ShutdownReport> {
    const startedMs = this.#clock.now();
    this.#begun.abort(new QuorateError('ERR_CLOSED', `shutting down: ${reason}`));
    const phases: ShutdownPhaseReport[] = [];
    for (const plan of this.#plans()) {
      phases.push(await runPhase(plan, this.#clock, this.#hurry.signal));
    }
    // A signal that comes now means the process, not what is over.
    if (this.#signalledAtMs === undefined) this.#forgetSignals();
    for (const drain of this.#drains) drain.release();
    const exitCode = worstOf(phases) === 'done' ? 0 : 1;
    const tookMs = this.#clock.now() - startedMs;
    const report: ShutdownReport = { reason, exitCode, tookMs, phases };
    this.#tell(report);
    return report;
  }

  #plans(): readonly PhasePlan[] {
    const { health, leave = {}, pools = {}, release = {}, flush = {} } = this.#options;
    const deadlines = this.#deadlines;
    const plan = (
      phase: PhasePlan['phase'],
      withinMs: number,
      steps: readonly NamedStep[],
      graceMs = 0,
    ): PhasePlan => ({ phase, withinMs, graceMs, steps });
    const unready = health === undefined ? [] : stepsOf({ health: () => health.drain() });
    return [
      plan('unready', 1_000, unready),
      plan('leave', deadlines.leave, stepsOf(leave)),
      plan('wait', this.#delayMs, this.#waiting(), GRACE_MS),
      plan('stop', 1_000, this.#stopping()),
      plan('finish', deadlines.finish, this.#finishing(), GRACE_MS),
      plan('pools', deadlines.pools, this.#draining(pools), GRACE_MS),
      plan('release', deadlines.release, stepsOf(release)),
      plan('flush', deadlines.flush, stepsOf(flush)),
    ];
  }

  #waiting(): readonly NamedStep[] {
    // Also without a delay: what is in progress is told that its connection ends.
    const run = async (isOver: AbortSignal) => {
      for (const drain of this.#drains) drain.begin();
      if (this.#delayMs > 0 && !isOver.aborted) {
        await new Promise((resolve) => isOver.addEventListener('abort', resolve, { once: true }));
      }
      return { outcome: this.#hurry.signal.aborted ? 'skipped' : 'done' } as const;
    };
    return this.#drains.length > 0 || this.#delayMs > 0 ? [{ name: 'delay', run }] : [];
  }

  #stopping(): readonly NamedStep[] {
    const graceMs = this.#deadlines.finish;
    const native = this.#drains.map((drain) => ({ name: drain.name, run: () => drain.stop() }));
    const closable = this.#closable.map((server, index) => ({
      name: `server ${index + 1}`,
      run: () => {
        const closing = Promise.resolve(server.close({ graceMs }));
        closing.catch(ignore);
        this.#closing.set(server, closing);
      },
    }));
    return [...native, ...closable].map(({ name, run }) => ({
      name,
      run: async () => {
        run();
        return { outcome: 'done' } as const;
      },
    }));
  }

  #finishing(): readonly NamedStep[] {
    const native = this.#drains.map((drain) => ({
      name: drain.name,
      run: async (cut: AbortSignal) => {
        const { finished, abandoned, names } = await drain.finish(cut);
        if (abandoned === 0) return { outcome: 'done', finished, abandoned } as const;
        return { outcome: 'abandoned', finished, abandoned, message: names.join(', ') } as const;
      },
    }));
    const closable = this.#closable.map((server, index) => ({
      name: `server ${index + 1}`,
      run: async () => {
        await this.#closing.get(server);
        return { outcome: 'done' } as const;
      },
    }));
    return [...native, ...closable];
  }

  #draining(pools: Readonly<Record<string, DrainablePool>>): readonly NamedStep[] {
    const deadline = this.#deadlines.pools;
    return Object.entries(pools).map(([name, pool]) => ({
      name,
      run: async () => {
        const report = (await pool.drain({ deadline })) as Record<string, unknown> | undefined;
        const finished = countOf(report?.['finished']);
        const abandoned = countOf(report?.['abandoned']) + countOf(report?.['cancelled']);
        const outcome = abandoned > 0 ? 'abandoned' : 'done';
        return { outcome, finished, abandoned } as const;
      },
    }));
  }

  #tell(report: ShutdownReport): void {
    const { onReport } = this.#options;
    try {
      if (onReport !== undefined) onReport(report);
      else if (this.#signalledAtMs !== undefined) process.stderr.write(`${shutdownText(report)}\n`);
    } catch (error) {
      // The process ends all the same.
      process.emitWarning(error instanceof Error ? error : String(error), 'QuorateShutdown');
    }
  }

  #forgetSignals(): void {
    for (const signal of this.#signals) process.removeListener(signal, this.#onSignal);
  }
}

function deadlinesFrom(given: ShutdownDeadlines = {}): Deadlines {
  const { leave = 2_000, finish = 10_000, pools = 5_000, release = 3_000, flush = 2_000 } = given;
  return {
    leave: durationMs(leave, 'deadlines.leave'),
    finish: durationMs(finish, 'deadlines.finish'),
    pools: durationMs(pools, 'deadlines.pools'),
    release: durationMs(release, 'deadlines.release'),
    flush: durationMs(flush, 'deadlines.flush'),
  };
}

/** Node takes any name and never calls its listener, or throws for those that cannot be caught. */
function signalsFrom(
  given: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'],
): readonly NodeJS.Signals[] {
  const isCaught = (name: NodeJS.Signals): boolean =>
    Object.hasOwn(constants.signals, name) && name !== 'SIGKILL' && name !== 'SIGSTOP';
  const wrong = Array.isArray(given) ? given.find((name) => !isCaught(name)) : given;
  if (wrong === undefined) return given;
  throw invalid(`signals: ${String(wrong)}; a list of signals is needed that a process can catch`);
}

function checkFunctions(options: ShutdownOptions): void {
  const refuse = (what: string): never => {
    throw invalid(what);
  };
  for (const phase of ['leave', 'release', 'flush', 'pools', 'deadlines'] as const) {
    const given: unknown = options[phase] ?? {};
    if (options[phase] === null || typeof given !== 'object')
      refuse(`${phase}: an object is needed`);
  }
  for (const phase of ['leave', 'release', 'flush'] as const) {
    for (const [name, step] of Object.entries(options[phase] ?? {})) {
      if (typeof step !== 'function') refuse(`${phase}.${name}: a function is needed`);
    }
  }
  for (const [name, pool] of Object.entries(options.pools ?? {})) {
    if (typeof pool?.drain !== 'function') refuse(`pools.${name}: has no function 'drain'`);
  }
  for (const [index, server] of (options.servers ?? []).entries()) {
    const { close, server: inner } = (server ?? {}) as { close?: unknown; server?: unknown };
    if (inner instanceof Server) refuse(`servers[${index}]: an application; give its server`);
    if (typeof close !== 'function') {
      refuse(`servers[${index}]: has no function 'close'; of Express give what listen() returns`);
    }
  }
}

/** Reports of pools give a number, or those that it is about. */
function countOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  return typeof value === 'number' ? value : 0;
}

function ignore(): void {
  // Whoever waits for it is told.
}
