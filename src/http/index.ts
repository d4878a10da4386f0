/** What a service that is reached over HTTP needs around its routes: `quorate/http`. */
import '../core/runtime.ts';

export type {
  Check,
  CheckContext,
  CheckOptions,
  CheckReport,
  CheckResult,
  HealthChange,
  HealthScope,
} from './check.ts';
export {
  type ClosableServer,
  type DrainablePool,
  type GracefulShutdown,
  gracefulShutdown,
  type ShutdownDeadlines,
  type ShutdownOptions,
} from './graceful-shutdown.ts';
export type {
  HealthAnswer,
  HealthReport,
  HealthRequest,
  HealthResponse,
} from './health-answer.ts';
export {
  type HealthChecks,
  type HealthOptions,
  healthChecks,
} from './health-checks.ts';
export * from './middleware/index.ts';
export {
  breakerCheck,
  loopDelayCheck,
  type PoolCheckOptions,
  poolCheck,
  quorumCheck,
} from './ready-made-checks.ts';
export {
  type ResponseFailureOptions,
  type ResponseLike,
  requireAnswer,
} from './response-failure.ts';
export {
  type ShutdownOutcome,
  type ShutdownPhase,
  type ShutdownPhaseReport,
  type ShutdownReport,
  type ShutdownStep,
  shutdownText,
} from './shutdown-report.ts';
export type { ShutdownContext, ShutdownFunction } from './shutdown-steps.ts';
