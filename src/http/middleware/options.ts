/** What a guard of requests takes, and how it is checked. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs, durationWithin } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { numberAbove } from '../../core/numbers.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import type { Adaptive } from '../../resilience/adaptive.ts';
import type { Bulkhead } from '../../resilience/bulkhead.ts';
import { Deadlines } from '../../resilience/deadlines.ts';
import type { ClusterLimiter, Limiter } from '../../resilience/limiter.ts';
import { Alone } from '../../resilience/policy.ts';
import type { Gate } from '../../resilience/section.ts';
import type { Shed } from '../../resilience/shed.ts';
import { fieldName, wholeSeconds } from './rate-limit-headers.ts';
import type { Refusal } from './refusal.ts';

/** How requests are limited. */
export interface GuardLimit<R> {
  /** Of this process, or of all that share a store. */
  readonly limiter: Limiter | ClusterLimiter;
  /**
   * Whose request it is: a tenant, the owner of a token. An address is a poor key: behind a proxy all have the same one,
   * and whoever has many is not limited. What is no text fails the request with 500, and so does an error.
   */
  readonly key: (request: R) => string;
  /** What the request takes. @defaultValue 1 */
  readonly cost?: ((request: R) => number) | undefined;
  /** What it is called in headers: 1 to 64 printable ASCII characters. @defaultValue `'default'` */
  readonly name?: string | undefined;
  /** How much `RateLimit-Policy` says there is. @defaultValue what a limiter of this process allows at once; nothing else is said */
  readonly quota?: number | undefined;
  /** In what time, as `RateLimit-Policy` says: whole seconds. @defaultValue it does not say */
  readonly window?: Duration | undefined;
}

/** How requests get deadlines. */
export interface GuardDeadline {
  /** A request may take so long, or as long as its `grpc-timeout` header says, if that is less. @defaultValue only that */
  readonly max?: Duration | undefined;
  /** A request with less than this left is not begun. @defaultValue 0 */
  readonly least?: Duration | undefined;
}

/** What a guard of requests takes; each part is left out where it is not given, but for ids and trace context. */
export interface RequestGuardOptions<R> {
  /** Refused with 429 where it is used up. */
  readonly limit?: GuardLimit<R> | undefined;
  /** Who is let in while there is much to do; the others are refused with 503. The response is part of the work. */
  readonly shed?: Shed | Bulkhead | Adaptive | undefined;
  /** How much a request matters to `shed`: 0 matters most. @defaultValue 1 */
  readonly priority?: ((request: R) => number) | undefined;
  /** Answered with 504 where the time is over before the response has begun. @defaultValue none, and the header is not read */
  readonly deadline?: GuardDeadline | undefined;
  /** Ids of requests, which are in their responses as well. */
  readonly requestId?:
    | {
        /** @defaultValue `'x-request-id'` */
        readonly header?: string | undefined;
        /** Whether those of clients are used, if they are harmless: 128 letters, digits, and `_.:+/=@~-` at most. @defaultValue `true` */
        readonly accept?: boolean | undefined;
      }
    | undefined;
  /** Whether a trace that begins here, as the request is of none, asks others to record it. @defaultValue `true` */
  readonly sampled?: boolean | undefined;
  /** The template of the route, for `stats`. @defaultValue what the framework says; `node:http` knows none */
  readonly route?: ((request: R) => string | undefined) | undefined;
  /** Called for each request that gets an answer of the guard. What it throws goes to `onError`. */
  readonly onRefuse?: ((refusal: Refusal, request: R) => void) | undefined;
  /**
   * Called with what a function of these options threw, or the limiter, or a handler of `guardNode`; the client sees
   * nothing of it. @defaultValue a warning of the process
   */
  readonly onError?: ((error: unknown, request: R) => void) | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** @defaultValue the system's */
  readonly random?: Random | undefined;
}

export interface LimitSettings<R> {
  readonly limiter: Limiter | ClusterLimiter;
  readonly key: (request: R) => string;
  readonly cost: ((request: R) => number) | undefined;
  readonly name: string;
  /** As it is in headers. */
  readonly field: string;
  readonly quota: number | undefined;
  readonly windowSeconds: number | undefined;
}

export interface DeadlineSettings {
  readonly maxMs: number;
  readonly leastMs: number;
  /** Of the requests that have all of `maxMs`. */
  readonly deadlines: Deadlines | undefined;
}

export interface GuardSettings<R> {
  readonly limit: LimitSettings<R> | undefined;
  readonly gate: Gate | undefined;
  readonly priority: ((request: R) => number) | undefined;
  readonly deadline: DeadlineSettings | undefined;
  readonly idHeader: string;
  readonly acceptId: boolean;
  readonly sampled: boolean;
  readonly route: ((request: R) => string | undefined) | undefined;
  readonly onRefuse: ((refusal: Refusal, request: R) => void) | undefined;
  readonly onError: (error: unknown, request: R) => void;
  readonly clock: Clock;
  readonly random: Random;
}

/** @throws ERR_INVALID_ARGUMENT */
export function settingsOf<R>(options: RequestGuardOptions<R>): GuardSettings<R> {
  const { limit, shed, deadline, requestId = {}, clock = systemClock } = options;
  const idHeader = requestId.header ?? 'x-request-id';
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(idHeader))
    throw invalid(`requestId.header: ${JSON.stringify(idHeader)} is no name of a header`);
  if (shed !== undefined && !isGate(shed)) {
    const what = 'a policy that shed, bulkhead or adaptive of this copy of the package made';
    throw invalid(`shed: ${what} is needed`);
  }
  requireObject('limit', limit, '{ limiter, key }');
  requireObject('deadline', deadline, "{ max: '10s' }");
  for (const name of ['priority', 'route', 'onRefuse', 'onError'] as const) {
    const given = options[name];
    if (given !== undefined && typeof given !== 'function')
      throw invalid(`${name}: a function is needed, not ${typeof given}`);
  }
  return {
    limit: limit && limitOf(limit),
    gate: shed as Gate | undefined,
    priority: options.priority,
    deadline: deadline && deadlineOf(deadline, clock),
    idHeader: idHeader.toLowerCase(),
    acceptId: requestId.accept ?? true,
    sampled: options.sampled ?? true,
    route: options.route,
    onRefuse: options.onRefuse,
    onError: options.onError ?? warn,
    clock,
    random: options.random ?? systemRandom,
  };
}

function limitOf<R>(given: GuardLimit<R>): LimitSettings<R> {
  const { limiter, key, cost, name = 'default', quota, window } = given;
  if (typeof limiter?.allow !== 'function') throw invalid('limit.limiter: a limiter is needed');
  if (typeof key !== 'function')
    throw invalid('limit.key: a function is needed that says whose request it is');
  if (cost !== undefined && typeof cost !== 'function')
    throw invalid(`limit.cost: a function is needed, not ${typeof cost}`);
  if (quota !== undefined) numberAbove('limit.quota', quota, 0);
  const windowMs =
    window === undefined ? undefined : durationWithin(window, 'limit.window', 1, MAX_MS);
  const windowSeconds = windowMs && wholeSeconds(windowMs);
  return { limiter, key, cost, name, field: fieldName(name), quota, windowSeconds };
}

const MAX_MS = 366 * 86_400_000;

function deadlineOf({ max, least = 0 }: GuardDeadline, clock: Clock): DeadlineSettings {
  const leastMs = durationMs(least, 'deadline.least');
  if (max === undefined) return { maxMs: Number.POSITIVE_INFINITY, leastMs, deadlines: undefined };
  const maxMs = durationMs(max, 'deadline.max');
  if (maxMs <= leastMs) {
    throw invalid(
      `deadline.max: ${maxMs} ms, not above least (${leastMs} ms), so that every request would be too late`,
    );
  }
  return { maxMs, leastMs, deadlines: new Deadlines(clock, maxMs) };
}

/** One of another copy of the package would let everybody in: what it refuses with is not known here as a refusal. */
function isGate(given: unknown): boolean {
  return given instanceof Alone && 'enter' in given;
}

function requireObject(name: string, given: unknown, example: string): void {
  if (given !== undefined && (typeof given !== 'object' || given === null))
    throw invalid(`${name}: an object is needed, such as ${example}`);
}

/** For what is made of a guard. @throws ERR_INVALID_ARGUMENT */
export function requireGuard(given: { readonly begin?: unknown }): void {
  if (typeof given?.begin !== 'function') throw invalid('guard: requestGuard({ … }) makes one');
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}
