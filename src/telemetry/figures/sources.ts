/** What figures are read of, and how: `stats()` of each, when somebody asks, so that calls pay nothing for it. */
import { invalid } from '../../core/errors.ts';
import type { HistogramValue } from '../../core/metric-text.ts';
import type { Adaptive } from '../../resilience/adaptive.ts';
import type { CircuitBreaker } from '../../resilience/breaker/circuit-breaker.ts';
import type { BreakerState } from '../../resilience/breaker/options.ts';
import type { Bulkhead } from '../../resilience/bulkhead.ts';
import type { DeadlinePolicy } from '../../resilience/deadline.ts';
import type { Degradation } from '../../resilience/degrade.ts';
import type { Fallback } from '../../resilience/fallback.ts';
import type { Hedge } from '../../resilience/hedge.ts';
import type { DurationHistogram } from '../../resilience/histogram.ts';
import type { Limit } from '../../resilience/limit.ts';
import type { Pipeline, PipelineRegistry } from '../../resilience/pipeline.ts';
import type { Policy } from '../../resilience/policy.ts';
import type { PoolStats } from '../../resilience/pools/pool-meter.ts';
import type { Retry } from '../../resilience/retry.ts';
import type { Shed } from '../../resilience/shed.ts';
import type { ThreadCounts } from '../../resilience/threads/threads.ts';
import type { Timeout } from '../../resilience/timeout.ts';
import type { Collection, Labels } from './collection.ts';
import { FIGURES, type Figure } from './families.ts';

/** A pool, as far as its figures go. */
export interface PoolSource {
  readonly name: string;
  /** Pools of threads know some more. */
  stats(): PoolStats & Partial<ThreadCounts>;
}

/** What became of the requests of a server, as `stats()` of the middleware of `quorate/http` has it. */
export interface HttpSource {
  stats(): {
    readonly active: number;
    readonly refused: Readonly<Record<string, number>>;
    readonly requests: readonly {
      readonly method: string;
      readonly route: string;
      readonly status: number;
      readonly durations: DurationHistogram;
    }[];
  };
}

/** What figures are read of. Lists are looked at anew each time: what is put into them later is read, too. */
export interface TelemetrySources {
  /** A registry, or single ones. Their policies come with them. */
  readonly pipelines?: PipelineRegistry | readonly Pipeline[] | undefined;
  /** Policies that are used outside pipelines. Give each a `name`: figures of one name are added up. */
  readonly policies?: readonly Policy[] | undefined;
  readonly pools?: readonly PoolSource[] | undefined;
  /** Guards of requests; those of several are added up. */
  readonly http?: readonly HttpSource[] | undefined;
}

/** Looked at before the first reading, which somebody else asks for. @throws ERR_INVALID_ARGUMENT */
export function requireSources(sources: TelemetrySources): void {
  if (typeof sources !== 'object' || sources === null)
    throw invalid('options: an object is needed, such as { pipelines }');
  const { pipelines } = sources as { pipelines?: { pipelines?: unknown } };
  const isFine = pipelines === undefined || Array.isArray(pipelines);
  if (!isFine && typeof pipelines?.pipelines !== 'function')
    throw invalid('pipelines: a registry, or a list of pipelines, is needed');
  for (const name of ['policies', 'pools', 'http'] as const)
    if (!Array.isArray(sources[name] ?? [])) throw invalid(`${name}: a list is needed`);
}

/** All there is to know now. */
export function read(sources: TelemetrySources, into: Collection): void {
  const { policies = [], pools = [], http = [] } = sources;
  for (const one of pipelinesOf(sources)) readPipeline(one, into);
  for (const one of policies) readPolicy(one, {}, into);
  for (const one of pools) readPool(one, into);
  for (const one of http) readHttp(one, into);
}

/** As they are now. */
export function pipelinesOf({ pipelines = [] }: TelemetrySources): readonly Pipeline[] {
  return 'pipelines' in pipelines ? pipelines.pipelines() : pipelines;
}

function readPipeline(one: Pipeline, into: Collection): void {
  const { calls, running, duration } = FIGURES.pipeline;
  const { successes, failures, aborted, rejections, ...stats } = one.stats();
  const labels = { pipeline: one.name };
  const outcomes = { success: successes, failed: failures, aborted, ...rejections };
  for (const [outcome, count] of Object.entries(outcomes)) {
    into.add(calls, { ...labels, outcome }, count);
  }
  into.add(running, labels, stats.running);
  into.add(duration, labels, inSeconds(stats.durations));
  for (const policy of one.policies) readPolicy(policy, labels, into);
}

/** Policies that have figures. */
type Known =
  | Adaptive
  | Bulkhead
  | CircuitBreaker
  | DeadlinePolicy
  | Degradation
  | Fallback
  | Hedge
  | Limit
  | Pipeline
  | Retry
  | Shed
  | Timeout;

type Readers = {
  readonly [Kind in Known['kind']]: (
    one: Extract<Known, { readonly kind: Kind }>,
    labels: Labels,
    into: Collection,
  ) => void;
};

const READERS: Readers = {
  adaptive(one, labels, into) {
    const { limit, running, queued, refused } = one.stats();
    addAll(into, labels, FIGURES.concurrency, { limit, running, queued, refused });
  },
  breaker: readBreaker,
  bulkhead(one, labels, into) {
    const { max, running, queued, refused } = one.stats();
    addAll(into, labels, FIGURES.concurrency, { limit: max, running, queued, refused });
  },
  deadline(one, labels, into) {
    const { refused, exceeded } = one.stats();
    addAll(into, labels, FIGURES.deadline, { refused, exceeded });
  },
  degrade: readDegrade,
  fallback(one, labels, into) {
    const { calls, fallbacks, failures } = one.stats();
    addAll(into, labels, FIGURES.fallback, { calls, answered: fallbacks, failures });
  },
  hedge(one, labels, into) {
    const { calls, hedges, won, overBudget } = one.stats();
    addAll(into, labels, FIGURES.hedge, { calls, hedges, won, overBudget });
  },
  limit: readLimit,
  pipeline: (one, _labels, into) => readPipeline(one, into),
  retry(one, labels, into) {
    const { calls, retries, exhausted, overBudget } = one.stats();
    addAll(into, labels, FIGURES.retry, { calls, retries, exhausted, overBudget });
  },
  shed: readShed,
  timeout(one, labels, into) {
    addAll(into, labels, FIGURES.timeout, { exceeded: one.stats().exceeded });
  },
};

function readPolicy(one: Policy, around: Labels, into: Collection): void {
  if (one.kind === 'other') return;
  const reader = READERS[one.kind] as (one: Policy, labels: Labels, into: Collection) => void;
  reader(one, { ...around, policy: one.name }, into);
}

function addAll<Name extends string>(
  into: Collection,
  labels: Labels,
  figures: Readonly<Record<Name, Figure>>,
  values: Readonly<Record<Name, number>>,
): void {
  for (const name of Object.keys(figures) as Name[]) into.add(figures[name], labels, values[name]);
}

const STATES: readonly BreakerState[] = ['closed', 'open', 'half-open', 'isolated'];

function readBreaker(one: CircuitBreaker, labels: Labels, into: Collection): void {
  const { breaker } = FIGURES;
  const stats = one.stats();
  for (const state of STATES) {
    into.add(breaker.state, { ...labels, state }, state === stats.state ? 1 : 0);
  }
  into.add(breaker.opened, labels, stats.opened);
  into.add(breaker.refused, labels, stats.refused);
  into.add(breaker.late, labels, stats.late);
  into.add(breaker.failures, labels, stats.failureRate);
  into.add(breaker.slow, labels, stats.slowRate);
}

function readLimit(one: Limit, labels: Labels, into: Collection): void {
  const { calls, waiting } = FIGURES.limit;
  const stats = one.stats();
  into.add(calls, { ...labels, result: 'allowed' }, stats.allowed);
  into.add(calls, { ...labels, result: 'refused' }, stats.refused);
  into.add(waiting, labels, stats.waiting);
}

function readShed(one: Shed, labels: Labels, into: Collection): void {
  const { shed, concurrency } = FIGURES;
  const { offered, shed: refused, running, queued, isOverloaded } = one.stats();
  for (const [priority, count] of offered.entries()) {
    const level = { ...labels, priority: `${priority}` };
    into.add(shed.offered, level, count);
    into.add(shed.refused, level, refused[priority]!);
  }
  into.add(shed.overloaded, labels, isOverloaded ? 1 : 0);
  into.add(concurrency.running, labels, running);
  into.add(concurrency.queued, labels, queued);
}

function readDegrade(one: Degradation, labels: Labels, into: Collection): void {
  const { degraded, errors, mean } = FIGURES.degrade;
  const { isDegraded, errorRate, meanMs } = one.stats();
  into.add(degraded, labels, isDegraded ? 1 : 0);
  into.add(errors, labels, errorRate);
  if (meanMs !== undefined) into.add(mean, labels, meanMs / 1000);
}

function readPool(one: PoolSource, into: Collection): void {
  const { pool } = FIGURES;
  const stats = one.stats();
  const labels = { pool: one.name };
  const { done, failed, timedOut, cancelled, refused } = stats;
  const ends = { done, failed, timed_out: timedOut, cancelled, refused };
  into.add(pool.size, labels, stats.size);
  into.add(pool.running, labels, stats.running);
  into.add(pool.queued, labels, stats.queued);
  into.add(pool.blocked, labels, stats.blocked);
  into.add(pool.submitted, labels, stats.submitted);
  for (const [end, count] of Object.entries(ends)) into.add(pool.tasks, { ...labels, end }, count);
  const { threads, started, crashed, recycled } = stats;
  if (threads !== undefined) into.add(pool.threads, labels, threads);
  if (started !== undefined) into.add(pool.started, labels, started);
  if (crashed !== undefined) into.add(pool.crashed, labels, crashed);
  if (recycled !== undefined) into.add(pool.recycled, labels, recycled);
  into.add(pool.waited, labels, inSeconds(stats.waitTime.durations));
  into.add(pool.ran, labels, inSeconds(stats.runTime.durations));
}

function readHttp(one: HttpSource, into: Collection): void {
  const { http } = FIGURES;
  const { active, refused, requests } = one.stats();
  into.add(http.active, {}, active);
  for (const [reason, count] of Object.entries(refused)) into.add(http.refused, { reason }, count);
  for (const { method, route, status, durations } of requests) {
    into.add(http.duration, requestLabels(method, route, status), inSeconds(durations));
  }
}

/** By the convention for this metric. */
export function requestLabels(method: string, route: string, status: number): Labels {
  return {
    http_request_method: method,
    http_route: route,
    http_response_status_code: `${status}`,
  };
}

function inSeconds({ boundsMs, counts, sumMs }: DurationHistogram): HistogramValue {
  return { bounds: boundsMs.map((ms) => ms / 1000), counts, sum: sumMs / 1000 };
}
