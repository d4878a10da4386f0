/**
 * What happens, for those who want to know: events on Node's `node:diagnostics_channel`. While nobody listens an event is
 * not even made; who publishes asks `hasSubscribers` first.
 */
import { channel as channelOf } from 'node:diagnostics_channel';

/** A circuit breaker, or the one in a degradation, changed its state. */
export interface BreakerChangeEvent {
  /** Name of the breaker. */
  readonly name: string;
  readonly from: 'closed' | 'open' | 'half-open' | 'isolated';
  readonly to: 'closed' | 'open' | 'half-open' | 'isolated';
  /** The rule that was met, `trial`, `time`, `manual` or `hints`. */
  readonly reason: string;
  /** Milliseconds for which it is open now; `undefined` for other states. */
  readonly openMs: number | undefined;
}

/** A policy refused a call or an attempt, or ended it. */
export interface CallRejectedEvent {
  /** Name of the policy. */
  readonly policy: string;
  /** As in outcomes: `limited`, `open`, `full`, `shed`, `timeout`, `deadline`. */
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  /** The work had begun. */
  readonly hadBegun: boolean;
}

/** A call of a pipeline has ended, however. */
export interface CallEndEvent {
  readonly pipeline: string;
  /** `success`, or the reason of the outcome: `failed`, `aborted`, `limited`, `open` and so on. */
  readonly outcome: string;
  readonly durationMs: number;
}

/** A request to a server of this process has ended, or its client has gone. */
export interface RequestEndEvent {
  readonly method: string;
  /** The template of the route, or `other`. */
  readonly route: string;
  readonly status: number;
  readonly durationMs: number;
}

/** A call is tried again, after a pause. */
export interface RetryAttemptEvent {
  /** Name of the policy. */
  readonly policy: string;
  /** Number of the attempt that comes: 2 for the first one that is made again. */
  readonly attempt: number;
  readonly pauseMs: number;
  /** Why: `failed`, a rejection's reason, or `bad-value`. */
  readonly reason: string;
  /** What the work threw, where it did. */
  readonly error: unknown;
}

/** Another attempt of a call is begun beside those that run. */
export interface HedgeAttemptEvent {
  /** Name of the policy. */
  readonly policy: string;
  readonly attempt: number;
}

/** A task was not run: its pool was full, or closed, or had to make room for a newer one. */
export interface PoolDroppedEvent {
  /** Name of the pool. */
  readonly pool: string;
  readonly label: string | undefined;
  readonly key: string | undefined;
  /** What the task rejects with. */
  readonly error: unknown;
}

/** A degradation was switched by hand. */
export interface DegradeSwitchEvent {
  /** Name of the degradation. */
  readonly name: string;
  readonly from: 'auto' | 'on' | 'off';
  readonly to: 'auto' | 'on' | 'off';
}

/** The store of a cluster limiter does not answer; or it does again. */
export interface LimiterStoreEvent {
  /** Name of the limiter: its prefix. */
  readonly limiter: string;
  /** Why it does not, or did not. */
  readonly error: unknown;
}

/** Something is held, or was given back: a lock, a place in a barrier, or the leadership of an election. */
export interface HeldEvent {
  readonly what: 'lock' | 'leadership' | 'place in the barrier';
  readonly name: string;
}

/** Something that was held is no more. */
export interface LostEvent extends HeldEvent {
  /** Why: `expired`, `session`, `stolen` and so on. */
  readonly loss: string;
}

/** A node of the quorum sees another leader than before, or none. */
export interface LeaderChangeEvent {
  /** Of the node that says so, in hexadecimal as etcd's tools have it. */
  readonly member: string;
  /** `undefined` while none is known. */
  readonly leader: string | undefined;
  readonly term: number;
}

/** All events by their channels. */
export interface QuorateEvents {
  'quorate:breaker:change': BreakerChangeEvent;
  'quorate:call:end': CallEndEvent;
  'quorate:call:rejected': CallRejectedEvent;
  'quorate:request:end': RequestEndEvent;
  'quorate:retry:attempt': RetryAttemptEvent;
  'quorate:hedge:attempt': HedgeAttemptEvent;
  'quorate:degrade:switch': DegradeSwitchEvent;
  'quorate:pool:dropped': PoolDroppedEvent;
  'quorate:limiter:down': LimiterStoreEvent;
  'quorate:limiter:up': LimiterStoreEvent;
  'quorate:election:elected': HeldEvent;
  'quorate:election:resigned': HeldEvent;
  'quorate:election:lost': LostEvent;
  'quorate:leader:change': LeaderChangeEvent;
  'quorate:lock:acquired': HeldEvent;
  'quorate:lock:released': HeldEvent;
  'quorate:lock:lost': LostEvent;
}

/** Where events of one kind are published. */
export interface EventChannel<Event> {
  readonly hasSubscribers: boolean;
  publish(event: Event): void;
}

function channel<Name extends keyof QuorateEvents>(name: Name): EventChannel<QuorateEvents[Name]> {
  return channelOf(name);
}

export const breakerChange = channel('quorate:breaker:change');
export const callEnd = channel('quorate:call:end');
export const callRejected = channel('quorate:call:rejected');
export const requestEnd = channel('quorate:request:end');
export const retryAttempt = channel('quorate:retry:attempt');
export const hedgeAttempt = channel('quorate:hedge:attempt');
export const degradeSwitch = channel('quorate:degrade:switch');
export const poolDropped = channel('quorate:pool:dropped');
export const limiterDown = channel('quorate:limiter:down');
export const limiterUp = channel('quorate:limiter:up');
export const electionElected = channel('quorate:election:elected');
export const electionResigned = channel('quorate:election:resigned');
export const electionLost = channel('quorate:election:lost');
export const leaderChange = channel('quorate:leader:change');
export const lockAcquired = channel('quorate:lock:acquired');
export const lockReleased = channel('quorate:lock:released');
export const lockLost = channel('quorate:lock:lost');
