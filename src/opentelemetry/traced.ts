/** A span of OpenTelemetry around calls. */
import { invalid, isQuorateError } from '../core/errors.ts';
import type { Call, CallWatcher } from '../resilience/call.ts';
import { Rejection } from '../resilience/outcome.ts';
import { Alone, type Policy } from '../resilience/policy.ts';
import type { Section, Wrap } from '../resilience/section.ts';
import type { AttributesLike, SpanLike, TracerLike } from './api.ts';

/** What a span says of itself; as in OpenTelemetry. */
export type SpanKindName = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

const KINDS: readonly SpanKindName[] = ['internal', 'server', 'client', 'producer', 'consumer'];
const STATUS_ERROR = 2;

/** What spans are made of. */
export interface TracedOptions {
  /** What the span is called: of few values, such as `'stock.read'`. */
  readonly span: string;
  /** @defaultValue `'internal'` */
  readonly kind?: SpanKindName | undefined;
  /** Of every span, from its beginning. @defaultValue none */
  readonly attributes?: AttributesLike | undefined;
  /** Of the policy. @defaultValue `'traced'` */
  readonly name?: string | undefined;
}

/**
 * Makes a span around each call, which is the active one while the call runs: spans that the work makes are its children. Put
 * it first in a pipeline for one span a call, with an event for each further attempt; or behind a retry for one span an attempt.
 *
 * A span has `quorate.outcome`, as figures have it. One of a call that failed or was refused has the status ERROR and
 * `error.type`, and `quorate.policy` names who refused it. Where a caller gave up, that is no error. It ends with the work.
 * Of calls that are not sampled nothing is noted.
 *
 * @param tracer - a `Tracer` of `@opentelemetry/api`; the SDK's context manager makes spans active
 * @throws `ERR_INVALID_ARGUMENT` for no name of spans, or a kind that there is not.
 * @example
 * ```ts
 * const stock = pipeline('stock', [traced(trace.getTracer('shop'), { span: 'stock.read' }), retry(), circuitBreaker()]);
 * ```
 */
export function traced(tracer: TracerLike, options: TracedOptions): Policy {
  return new Traced(tracer, { ...options });
}

class Traced extends Alone implements Wrap {
  readonly #tracer: TracerLike;
  readonly #span: string;
  readonly #options: { kind: number; attributes: AttributesLike };

  constructor(tracer: TracerLike, options: TracedOptions) {
    const { span, kind = 'internal', attributes = {}, name = 'traced' } = options;
    super(name);
    if (typeof tracer?.startActiveSpan !== 'function') {
      throw invalid('tracer: one of OpenTelemetry is needed');
    }
    if (typeof span !== 'string' || span === '') throw invalid('span: a name is needed');
    if (!KINDS.includes(kind)) throw invalid(`kind: ${kind}; there are ${KINDS.join(', ')}`);
    this.#tracer = tracer;
    this.#span = span;
    this.#options = { kind: KINDS.indexOf(kind), attributes: { ...attributes } };
  }

  around(call: Call, inner: Section): Promise<unknown> {
    return this.#tracer.startActiveSpan(this.#span, this.#options, (span) => {
      if (span.isRecording()) return recorded(span, call, inner);
      span.end();
      return inner.result(call);
    }) as Promise<unknown>;
  }
}

async function recorded(span: SpanLike, call: Call, inner: Section): Promise<unknown> {
  // A call of its own: who looks on at the one around it looks on there.
  const inside = call.fork(call.attempt);
  inside.watcher = new SpanWatcher(span);
  if (call.attempt > 1) span.setAttributes({ 'quorate.attempt': call.attempt });
  try {
    const result = await inner.result(inside);
    if (result instanceof Rejection) noteRejection(span, result);
    else span.setAttributes({ 'quorate.outcome': 'success' });
    return result;
  } catch (error) {
    noteError(span, inside, error);
    throw error;
  } finally {
    span.end();
  }
}

class SpanWatcher implements CallWatcher {
  readonly #span: SpanLike;

  constructor(span: SpanLike) {
    this.#span = span;
  }

  retries(policy: string, attempt: number, pauseMs: number, reason: string, error: unknown): void {
    this.#span.addEvent('quorate.retry', {
      'quorate.policy': policy,
      'quorate.attempt': attempt,
      'quorate.pause_ms': pauseMs,
      'quorate.reason': reason,
      ...(reason === 'failed' && { 'error.type': typeOf(error) }),
    });
  }

  hedges(policy: string, attempt: number): void {
    this.#span.addEvent('quorate.hedge', {
      'quorate.policy': policy,
      'quorate.attempt': attempt,
    });
  }
}

function noteRejection(span: SpanLike, { reason, policy }: Rejection): void {
  span.setAttributes({
    'quorate.outcome': reason,
    'quorate.policy': policy,
    'error.type': reason,
  });
  span.setStatus({ code: STATUS_ERROR, message: `${policy}: ${reason}` });
}

function noteError(span: SpanLike, call: Call, error: unknown): void {
  if (call.isAborted && call.abortedAs === 'ignored') {
    span.setAttributes({ 'quorate.outcome': 'aborted' });
    return;
  }
  const message = error instanceof Error ? error.message : typeof error;
  span.setAttributes({ 'quorate.outcome': 'failed', 'error.type': typeOf(error) });
  span.recordException(error instanceof Error ? error : message);
  span.setStatus({ code: STATUS_ERROR, message });
}

/** Of few values, as the convention for `error.type` has it. */
function typeOf(error: unknown): string {
  if (isQuorateError(error)) return error.code;
  return error instanceof Error ? error.name : '_OTHER';
}
