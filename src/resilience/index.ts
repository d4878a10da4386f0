/** Limits, breakers, retries, and what composes them: `quorate/resilience`. */
import '../core/runtime.ts';

export {
  type Adaptive,
  type AdaptiveOptions,
  type AdaptiveRules,
  type AdaptiveStats,
  adaptive,
} from './adaptive.ts';
export {
  type Backoff,
  type BackoffRules,
  type ConstantBackoffOptions,
  constantBackoff,
  type DecorrelatedBackoffOptions,
  decorrelatedBackoff,
  type ExponentialBackoffOptions,
  exponentialBackoff,
} from './backoff.ts';
export {
  type BreakerStats,
  type CircuitBreaker,
  circuitBreaker,
  type Isolation,
} from './breaker/circuit-breaker.ts';
export type { BreakerHints } from './breaker/hints.ts';
export { type KvHints, type KvHintsOptions, kvHints } from './breaker/kv-hints.ts';
export type {
  BreakerChange,
  BreakerOptions,
  BreakerReason,
  BreakerRules,
  BreakerState,
  BreakerWindow,
  OpenTime,
  TrialOptions,
} from './breaker/options.ts';
export type { Permit } from './breaker/permit.ts';
export {
  type Bulkhead,
  type BulkheadOptions,
  type BulkheadRules,
  type BulkheadStats,
  bulkhead,
} from './bulkhead.ts';
export type { CallContext, CallOptions, Work } from './call.ts';
export { type KvLimiterOptions, kvLimiter } from './cluster/kv-limiter.ts';
export type {
  ClusterLimiterOptions,
  LimitLease,
  WhenDown,
} from './cluster/options.ts';
export {
  type DeadlineOptions,
  type DeadlinePolicy,
  type DeadlineRules,
  type DeadlineStats,
  deadline,
  deadlineFrom,
  deadlineHeaders,
  remainingTimeMs,
  withDeadline,
} from './deadline.ts';
export {
  type Degradation,
  type DegradeMode,
  type DegradeOptions,
  type DegradeRules,
  type DegradeStats,
  degrade,
} from './degrade.ts';
export {
  type Fallback,
  type FallbackFunction,
  type FallbackOn,
  type FallbackOptions,
  type FallbackRules,
  type FallbackStats,
  fallback,
} from './fallback.ts';
export {
  type Hedge,
  type HedgeOptions,
  type HedgePercentile,
  type HedgeRules,
  type HedgeStats,
  hedge,
} from './hedge.ts';
export type { DurationHistogram } from './histogram.ts';
export { type LatencyOptions, LatencyWindow } from './latency.ts';
export { type Limit, type LimitOptions, type LimitStats, limit } from './limit.ts';
export type * from './limiter.ts';
export {
  fixedWindow,
  slidingCounter,
  slidingWindow,
  type TokenBucketOptions,
  tokenBucket,
  type WindowOptions,
} from './limiters.ts';
export { type LoopDelay, type LoopDelayOptions, loopDelay } from './loop-delay.ts';
export type { PipelineStats } from './meter.ts';
export type { Outcome, Rejection, RejectionReason } from './outcome.ts';
export {
  type Pipeline,
  type PipelineChanges,
  type PipelineOptions,
  type PipelineRegistry,
  pipeline,
  pipelineRegistry,
} from './pipeline.ts';
export type { Policy, PolicyKind } from './policy.ts';
export type { DrainOptions, DrainReport } from './pools/drain.ts';
export type { PoolStats, TaskTimes } from './pools/pool-meter.ts';
export type { FullRule, PoolQueue, WorkerPoolOptions } from './pools/pool-options.ts';
export type { Task, TaskOptions, TaskState } from './pools/task.ts';
export { type WorkerPool, workerPool } from './pools/worker-pool.ts';
export type { LimiterOptions } from './process-limiter.ts';
export {
  type Failure,
  type Retry,
  type RetryOn,
  type RetryOptions,
  type RetryRules,
  type RetryStats,
  retry,
} from './retry.ts';
export {
  type LocalRetryBudget,
  type RetryBudget,
  type RetryBudgetOptions,
  type RetryBudgetStats,
  retryBudget,
} from './retry-budget.ts';
export { type Shed, type ShedOptions, type ShedRules, type ShedStats, shed } from './shed.ts';
export { moved } from './threads/moved.ts';
export type {
  RecycleRules,
  ThreadPoolOptions,
  ThreadPoolQueue,
  ThreadTaskOptions,
} from './threads/options.ts';
export {
  type ThreadExport,
  type ThreadExports,
  type ThreadPool,
  type ThreadPoolStats,
  type ThreadRun,
  type ThreadTask,
  threadPool,
} from './threads/thread-pool.ts';
export type { ThreadCounts } from './threads/threads.ts';
export {
  type Timeout,
  type TimeoutOptions,
  type TimeoutRules,
  type TimeoutStats,
  timeout,
} from './timeout.ts';
