/** What happens inside, as events: `quorate/telemetry`. */
import '../core/runtime.ts';

export type {
  BreakerChangeEvent,
  CallEndEvent,
  CallRejectedEvent,
  DegradeSwitchEvent,
  HedgeAttemptEvent,
  HeldEvent,
  LeaderChangeEvent,
  LimiterStoreEvent,
  LostEvent,
  PoolDroppedEvent,
  QuorateEvents,
  RequestEndEvent,
  RetryAttemptEvent,
} from './channels.ts';
export { onEvent } from './on-event.ts';
