/**
 * Which rules of each kind of policy can be changed. New rules of a pipeline come from outside, such as a file: nobody's compiler
 * has seen them, and a rule that is misspelt would be one that is left out, so that its default were in force.
 */
import type { AdaptiveRules } from './adaptive.ts';
import type { BreakerRules } from './breaker/options.ts';
import type { BulkheadRules } from './bulkhead.ts';
import type { DeadlineRules } from './deadline.ts';
import type { DegradeRules } from './degrade.ts';
import type { FallbackRules } from './fallback.ts';
import type { HedgeRules } from './hedge.ts';
import type { LimitRules } from './limiter.ts';
import type { PolicyKind } from './policy.ts';
import type { RetryRules } from './retry.ts';
import type { ShedRules } from './shed.ts';
import type { TimeoutRules } from './timeout.ts';

/** All of them, or it does not compile. */
function all<Rules>(names: Readonly<Record<keyof Rules, 1>>): readonly string[] {
  return Object.keys(names);
}

/** What is not here takes what it likes. */
export const RULE_NAMES: { readonly [Kind in PolicyKind]?: readonly string[] } = {
  adaptive: all<AdaptiveRules>({ min: 1, max: 1, queue: 1, isOverload: 1 }),
  breaker: all<BreakerRules>({
    consecutive: 1,
    window: 1,
    failureRate: 1,
    slow: 1,
    mean: 1,
    minCalls: 1,
    open: 1,
    trial: 1,
    isFailure: 1,
    isBadValue: 1,
  }),
  bulkhead: all<BulkheadRules>({ max: 1, queue: 1 }),
  deadline: all<DeadlineRules>({ after: 1, least: 1 }),
  degrade: all<DegradeRules>({
    errorRate: 1,
    mean: 1,
    minCalls: 1,
    open: 1,
    trial: 1,
    isFailure: 1,
    isBadValue: 1,
    on: 1,
  }),
  fallback: all<FallbackRules>({ answer: 1, on: 1 }),
  hedge: all<HedgeRules>({ after: 1, max: 1, budget: 1 }),
  limit: all<LimitRules>({ rate: 1, burst: 1 }),
  retry: all<RetryRules>({
    attempts: 1,
    backoff: 1,
    retryOn: 1,
    isBadValue: 1,
    maxRetryAfter: 1,
    budget: 1,
  }),
  shed: all<ShedRules>({ max: 1, queue: 1, probe: 1, target: 1, interval: 1 }),
  timeout: all<TimeoutRules>({ after: 1 }),
};
