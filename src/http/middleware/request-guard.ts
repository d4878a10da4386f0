/**
 * What every request passes on its way in, and its answer on its way out: limit, overload, deadline, id, trace, figures.
 * It knows no framework; an adapter tells it of a request and does what it says.
 */
import type { Cancel, Clock } from '../../core/clock.ts';
import { invalid, isQuorateError, type QuorateError } from '../../core/errors.ts';
import { headerOf, type RequestHeaders } from '../../core/headers.ts';
import type { CallOptions } from '../../resilience/call.ts';
import { deadlineFrom } from '../../resilience/deadline.ts';
import { Deadline } from '../../resilience/deadlines.ts';
import type { ClusterDecision } from '../../resilience/limiter.ts';
import { Rejection } from '../../resilience/outcome.ts';
import type { Ticket } from '../../resilience/section.ts';
import {
  type BeginOptions,
  type GuardCore,
  GuardedCall,
  type GuardedRequest,
  type TraceContext,
} from './guarded-request.ts';
import { type GuardSettings, type RequestGuardOptions, settingsOf } from './options.ts';
import { leftField, policyField, usedUpField, wholeSeconds } from './rate-limit-headers.ts';
import { problemOf, type Refusal, type RefusalReason } from './refusal.ts';
import { isRequestId, RequestIds } from './request-id.ts';
import { type RequestGuardStats, RequestMeter } from './stats.ts';
import { newParentId, newTraceId, parseTraceParent, parseTraceState } from './trace-context.ts';

/** Guards the requests of a server. */
export interface RequestGuard<R> {
  /** A request has come. For adapters: `guardNode`, `guardExpress`, `guardFastify` and `guardHono` do it. */
  // No method, so that a guard of Express's requests is no guard for others.
  readonly begin: (
    request: R,
    method: string,
    headers: RequestHeaders,
    options?: BeginOptions<R>,
  ) => GuardedRequest;
  stats(): RequestGuardStats;
}

/**
 * A guard for the requests of a server; `guardNode`, `guardExpress`, `guardFastify` or `guardHono` puts it in their way.
 *
 * A request that has come gets its id and its deadline, takes from the limit, and then waits to be let in by `shed`, in
 * this order. One that is refused is answered with problem details (RFC 9457) before anything of its body is read, and what
 * it took from the limit is not given back. Who is let in keeps its place until the response is sent to the end.
 *
 * What goes wrong in the guard lets nobody in: an error of `key` or `cost` is a 500, a limiter whose store is down a 503
 * unless its own `whenDown` admits.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const guard = requestGuard({
 *   limit: { limiter: tokenBucket({ rate: '100/m' }), key: (request) => tenantOf(request), window: '1m' },
 *   shed: shed({ max: 200 }),
 *   deadline: { max: '10s' },
 * });
 * createServer(guardNode(guard, (request, response) => response.end('hello')));
 * ```
 */
export function requestGuard<R>(options: RequestGuardOptions<R> = {}): RequestGuard<R> {
  return new Guard(options);
}

const NO_OPTIONS: CallOptions = Object.freeze({});
const NOTHING_KNOWN = Object.freeze({});

class Guard<R> implements RequestGuard<R>, GuardCore {
  readonly #settings: GuardSettings<R>;
  readonly #ids: RequestIds;
  readonly #meter: RequestMeter;
  readonly clock: Clock;
  readonly idHeader: string;
  #quota: number | undefined;
  policy: string | undefined;

  constructor(options: RequestGuardOptions<R>) {
    const settings = settingsOf(options);
    this.#settings = settings;
    this.#ids = new RequestIds(settings.random);
    this.#meter = new RequestMeter();
    this.clock = settings.clock;
    this.idHeader = settings.idHeader;
    this.#quota = undefined;
    this.policy = undefined;
    if (settings.limit?.quota !== undefined) this.#setPolicy(settings.limit.quota);
  }

  begin(
    request: R,
    method: string,
    headers: RequestHeaders,
    known: BeginOptions<R> = NOTHING_KNOWN,
  ): GuardedRequest {
    this.#meter.begin();
    const options = this.#settings.priority === undefined ? NO_OPTIONS : { priority: 1 };
    const id = known.outer === undefined ? this.#idOf(headers) : known.outer.requestId;
    const guarded = new GuardedCall(this, request, method, headers, id, options, known);
    // Within another guard the earlier deadline counts.
    if (known.outer instanceof GuardedCall) guarded.dueMs = known.outer.dueMs;
    return guarded;
  }

  stats(): RequestGuardStats {
    return this.#meter.stats();
  }

  enter(request: GuardedCall): Refusal | undefined | Promise<Refusal | undefined> {
    const { deadline, limit } = this.#settings;
    try {
      if (deadline !== undefined && !this.#beginDeadline(request))
        return this.#refuse(request, 'deadline');
      if (limit === undefined) return this.#enterGate(request);
      const { limiter, key, cost } = limit;
      const whose = key(request.native as R);
      if (typeof whose !== 'string') throw noKey(whose);
      const takes = cost === undefined ? 1 : cost(request.native as R);
      if (limiter.scope === 'cluster')
        return this.#waitForLimit(request, limiter.allow(whose, takes));
      const { ok, retryAfterMs } = limiter.allow(whose, takes);
      const usage = limiter.usage(whose);
      if (limit.quota === undefined && this.#quota !== usage.limit) this.#setPolicy(usage.limit);
      if (!ok) return this.#refuse(request, 'limited', retryAfterMs, usage.remaining);
      request.rateLimit = leftField(limit.field, usage);
      return this.#enterGate(request);
    } catch (error) {
      return this.#broken(request, error);
    }
  }

  late(request: GuardedCall): Refusal {
    return this.#refuse(request, 'deadline');
  }

  failed(request: GuardedCall, error: unknown): Refusal | undefined {
    // To end when it is told to is no failure.
    if (!(request.isAborted && isAbort(error, request.abortReason))) this.#tell(error, request);
    if (request.isAborted) return undefined;
    return this.#refuse(request, 'failed', undefined, undefined, error);
  }

  ended(request: GuardedCall, status: number): void {
    const { timer, ticket } = request;
    if (timer !== undefined) this.#endDeadline(timer);
    if (request.isIn) {
      request.isIn = false;
      this.#settings.gate?.leave(ticket!, request.endOf(status), undefined);
    } else if (!request.isAborted) {
      // Where it waits to be let in, it waits no longer.
      request.abort(undefined);
    }
    const tookMs = this.clock.now() - request.begunMs;
    this.#meter.end(request.method, this.#routeOf(request), status, tookMs);
  }

  traceOf(request: GuardedCall): TraceContext {
    const { random, sampled } = this.#settings;
    const spanId = newParentId(random);
    const parent = parseTraceParent(headerOf(request.headers, 'traceparent'));
    if (parent !== undefined)
      return { ...parent, spanId, state: parseTraceState(headerOf(request.headers, 'tracestate')) };
    const traceId = newTraceId(random);
    return { traceId, parentId: spanId, isSampled: sampled, spanId, state: undefined };
  }

  #idOf(headers: RequestHeaders): string {
    const given = this.#settings.acceptId ? headerOf(headers, this.idHeader) : undefined;
    return isRequestId(given) ? given : this.#ids.next();
  }

  async #waitForLimit(
    request: GuardedCall,
    asked: Promise<ClusterDecision>,
  ): Promise<Refusal | undefined> {
    try {
      const decision = await Promise.race([asked, ended(request)]);
      request.onAbort(undefined);
      if (decision === undefined || request.isAborted) return this.#given(request);
      const { ok, retryAfterMs, down } = decision;
      if (ok) return await this.#enterGate(request);
      if (down !== undefined) {
        this.#tell(down, request);
        return this.#refuse(request, 'unavailable', retryAfterMs, undefined, down);
      }
      return this.#refuse(request, 'limited', retryAfterMs, 0);
    } catch (error) {
      return this.#broken(request, error);
    }
  }

  #enterGate(request: GuardedCall): Refusal | undefined | Promise<Refusal | undefined> {
    const { gate, priority } = this.#settings;
    if (gate === undefined) {
      request.isIn = true;
      return undefined;
    }
    if (priority !== undefined)
      (request.options as { priority: number }).priority = priority(request.native as R);
    const ticket = gate.enter(request);
    if (ticket instanceof Promise) return this.#waitForGate(request, ticket);
    return this.#decided(request, ticket);
  }

  async #waitForGate(
    request: GuardedCall,
    entering: Promise<Ticket | Rejection>,
  ): Promise<Refusal | undefined> {
    try {
      const ticket = await entering;
      if (!request.isAborted) return this.#decided(request, ticket);
      // It was let in at the moment at which it gave up.
      if (!(ticket instanceof Rejection)) this.#settings.gate!.leave(ticket, 'ignored', undefined);
      return this.#given(request);
    } catch (error) {
      return request.isAborted ? this.#given(request) : this.#broken(request, error);
    }
  }

  #decided(request: GuardedCall, ticket: Ticket | Rejection): Refusal | undefined {
    if (ticket instanceof Rejection) return this.#refuse(request, 'shed', ticket.retryAfterMs);
    request.ticket = ticket;
    request.isIn = true;
    return undefined;
  }

  /** What it gets that nobody waits for any more. */
  #given(request: GuardedCall): Refusal {
    return this.#refuse(request, request.isLate ? 'deadline' : 'aborted');
  }

  #broken(request: GuardedCall, error: unknown): Refusal {
    this.#tell(error, request);
    const isAway = isQuorateError(error) && error.retryable;
    const retryAfterMs = isAway ? error.retryAfterMs : undefined;
    return this.#refuse(request, isAway ? 'unavailable' : 'failed', retryAfterMs, undefined, error);
  }

  #refuse(
    request: GuardedCall,
    reason: RefusalReason,
    retryAfterMs?: number,
    remaining?: number,
    error?: unknown,
  ): Refusal {
    this.#meter.refuse(reason);
    const { limit, onRefuse } = this.#settings;
    const { status, body } = problemOf(reason, limit?.name ?? '');
    const headers: Record<string, string> = {
      'content-type': 'application/problem+json',
      'content-length': String(body.length),
    };
    if (retryAfterMs !== undefined) {
      const seconds = wholeSeconds(retryAfterMs);
      headers['retry-after'] = String(seconds);
      if (remaining !== undefined)
        request.rateLimit = usedUpField(limit!.field, remaining, seconds);
    }
    request.eachHeader(headers, setIn);
    const refusal: Refusal = { reason, status, headers, body, retryAfterMs, error };
    try {
      onRefuse?.(refusal, request.native as R);
    } catch (thrown) {
      this.#tell(thrown, request);
    }
    return refusal;
  }

  /** Whether there is time enough. */
  #beginDeadline(request: GuardedCall): boolean {
    const { maxMs, leastMs, deadlines } = this.#settings.deadline!;
    // Most have none, and to know that costs less than to read it.
    const hasOwn = headerOf(request.headers, 'grpc-timeout') != null;
    const givenMs = hasOwn ? deadlineFrom(request.headers) : undefined;
    if (givenMs !== undefined && givenMs <= leastMs) return false;
    const outerMs = request.dueMs;
    const onDue = (): void => request.expire();
    if (givenMs !== undefined && givenMs < maxMs) {
      request.dueMs = request.begunMs + givenMs;
      request.timer = this.clock.after(givenMs, onDue);
    } else if (deadlines !== undefined) {
      request.dueMs = request.begunMs + maxMs;
      request.timer = deadlines.begin(onDue, request.begunMs);
    }
    request.dueMs = Math.min(request.dueMs, outerMs);
    return true;
  }

  #endDeadline(timer: Deadline | Cancel): void {
    if (timer instanceof Deadline) this.#settings.deadline!.deadlines!.end(timer);
    else timer();
  }

  #routeOf(request: GuardedCall): string | undefined {
    const { native, routeOf } = request;
    const { route } = this.#settings;
    try {
      return route === undefined ? routeOf?.(native as never) : route(native as R);
    } catch (error) {
      this.#tell(error, request);
      return undefined;
    }
  }

  #setPolicy(quota: number): void {
    const { field, windowSeconds } = this.#settings.limit!;
    this.#quota = quota;
    this.policy = policyField(field, quota, windowSeconds);
  }

  #tell(error: unknown, request: GuardedCall): void {
    try {
      this.#settings.onError(error, request.native as R);
    } catch (thrown) {
      process.emitWarning(thrown instanceof Error ? thrown : String(thrown));
    }
  }
}

/** Resolves when nobody waits for its answer any more. */
function ended(request: GuardedCall): Promise<undefined> {
  return new Promise((resolve) => request.onAbort(() => resolve(undefined)));
}

/** What `signal.throwIfAborted` throws, what functions of Node and the web make of it, or who reads a body that has no end. */
function isAbort(error: unknown, reason: unknown): boolean {
  if (error === reason) return true;
  if (!(error instanceof Error)) return false;
  const { name, message, code } = error as NodeJS.ErrnoException;
  return name === 'AbortError' || (code === 'ECONNRESET' && message === 'aborted');
}

function setIn(headers: Record<string, string>, name: string, value: string): void {
  headers[name] = value;
}

function noKey(given: unknown): QuorateError {
  return invalid(
    `limit.key: it said ${given === null ? 'null' : typeof given} for a request; text is needed, as no key would be everybody's`,
  );
}
