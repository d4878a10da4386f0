/**
 * What orchestrators and load balancers ask of a process: is it alive, has it started, may it be sent
 * requests? Three questions with three answers, as Kubernetes tells them apart: who mixes them up is
 * restarted because a database is down.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { invalid } from '../core/errors.ts';
import {
  CachedCheck,
  type Check,
  type CheckOptions,
  type HealthChange,
  type HealthScope,
} from './check.ts';
import {
  answerHealth,
  type HealthAnswer,
  type HealthReport,
  type HealthRequest,
  type HealthResponse,
  sendHealth,
} from './health-answer.ts';

/** What `healthChecks` takes. */
export interface HealthOptions {
  /** By name; a function alone is a critical one about readiness. @defaultValue none: the answers say that the process runs */
  readonly checks?: Readonly<Record<string, Check | CheckOptions>> | undefined;
  /** Told of the first result of each check, and when one begins to fail or is well again, with the whole error: for the log. What it throws becomes a warning. */
  readonly onChange?: ((change: HealthChange) => void) | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** Health checks. */
export interface HealthChecks {
  /**
   * The answer to one question. `startup` that was answered well once is so for ever; `ready` is `failed` until then, and
   * from when the process shuts down. Never rejects.
   */
  report(scope: HealthScope): Promise<HealthReport>;
  /**
   * The answer to `GET` or `HEAD` of `/livez`, `/readyz` or `/startupz`, as data, for any framework: 200, or 503 where
   * the report says `failed`; with `?verbose` the body has the checks. Another method gets 405.
   *
   * @returns `undefined` for every other path.
   */
  answer(request: HealthRequest): Promise<HealthAnswer> | undefined;
  /**
   * Answers on `node:http`.
   *
   * @returns whether the path was one of health; if not, nothing was done.
   * @example
   * ```ts
   * const server = createServer((request, response) => {
   *   if (health.handle(request, response)) return;
   *   app(request, response);
   * });
   * ```
   */
  handle(request: HealthRequest, response: HealthResponse): boolean;
  /** Turns readiness off, for good: this process is going to end. `gracefulShutdown` does it. Idempotent. */
  drain(): void;
  /** Whether it was turned off. */
  readonly draining: boolean;
}

/**
 * Makes health checks. Nothing runs until somebody asks, and no check runs twice at the same time.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const health = healthChecks({
 *   checks: {
 *     quorum: quorumCheck(node),
 *     database: { check: ({ signal }) => database.ping({ signal }), timeout: '500ms' },
 *     recommendations: { check: breakerCheck(recommendations), critical: false },
 *   },
 * });
 * ```
 */
export function healthChecks(options: HealthOptions = {}): HealthChecks {
  return new Health(options);
}

class Health implements HealthChecks {
  readonly #checks: readonly CachedCheck[];
  #hasStarted: boolean;
  #isDraining: boolean;

  constructor(options: HealthOptions) {
    const { checks = {}, onChange = ignore, clock = systemClock } = options;
    if (typeof onChange !== 'function') {
      throw invalid('onChange: a function is needed');
    }
    this.#checks = Object.entries(checks).map(([name, given]) => {
      const rules = typeof given === 'function' ? { check: given } : given;
      return new CachedCheck(name, rules, clock, onChange);
    });
    this.#hasStarted = this.#of('startup').length === 0;
    this.#isDraining = false;
  }

  get draining(): boolean {
    return this.#isDraining;
  }

  drain(): void {
    this.#isDraining = true;
  }

  async report(scope: HealthScope): Promise<HealthReport> {
    if (scope === 'live') return this.#reportOn(this.#of('live'), false);
    const mustStart = !this.#hasStarted;
    const starting = mustStart ? this.#of('startup') : [];
    const asked = scope === 'ready' ? [...starting, ...this.#of('ready')] : starting;
    const report = await this.#reportOn(asked, scope === 'ready');
    const isUp = ({ name, critical }: CachedCheck): boolean =>
      !critical || report.checks[name]?.status === 'up';
    if (mustStart && starting.every(isUp)) this.#hasStarted = true;
    return report;
  }

  answer(request: HealthRequest): Promise<HealthAnswer> | undefined {
    return answerHealth(this, request);
  }

  handle(request: HealthRequest, response: HealthResponse): boolean {
    const answer = this.answer(request);
    if (answer === undefined) return false;
    void answer.then((it) => sendHealth(it, request, response));
    return true;
  }

  #of(scope: HealthScope): readonly CachedCheck[] {
    return this.#checks.filter((check) => check.scope === scope);
  }

  async #reportOn(asked: readonly CachedCheck[], failsDraining: boolean): Promise<HealthReport> {
    const reports = await Promise.all(asked.map((check) => check.report()));
    const down = reports.filter(({ status }) => status === 'down');
    // Looked at last: it may have been turned off while the checks ran.
    const isOff = failsDraining && this.#isDraining;
    const isFailed = isOff || down.some(({ critical }) => critical);
    return {
      status: isFailed ? 'failed' : down.length > 0 ? 'degraded' : 'ok',
      draining: this.#isDraining,
      checks: Object.fromEntries(asked.map(({ name }, index) => [name, reports[index]!])),
    };
  }
}

function ignore(): void {
  // Nobody wants to know.
}
