/** One address of the cluster: connects when asked, and waits longer after each failure. */
import type { Random } from '../../core/random.ts';
import { GrpcSession, type SessionSettings } from './grpc-session.ts';
import type { Target } from './options.ts';

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 5_000;
/** A member that does not serve is asked last for so long, twice as long each time it happens. */
const FIRST_PASS_OVER_MS = 1_000;
const LONGEST_PASS_OVER_MS = 10_000;

export interface EndpointSettings extends SessionSettings {
  /** How long a call may take: one that finds the server back has to live to see an attempt. */
  readonly timeoutMs: number;
}

/** What the channel is told of its endpoints. */
export interface EndpointEvents {
  ready(endpoint: GrpcEndpoint): void;
  failed(endpoint: GrpcEndpoint): void;
}

export class GrpcEndpoint {
  readonly target: Target;
  /** Why the last attempt to connect failed, or the last connection broke. */
  lastError: Error | undefined;
  /** Attempts that failed since the last connection that was of use. */
  failures: number;
  session: GrpcSession | undefined;
  readonly #settings: EndpointSettings;
  readonly #random: Random;
  readonly #events: EndpointEvents;
  readonly #old: Set<GrpcSession>;
  #keepaliveMs: number;
  #retryAt: number;
  #passOverUntil: number;
  /** How often in a row it did not serve. */
  #strikes: number;

  constructor(target: Target, settings: EndpointSettings, random: Random, events: EndpointEvents) {
    this.target = target;
    this.lastError = undefined;
    this.failures = 0;
    this.session = undefined;
    this.#settings = settings;
    this.#random = random;
    this.#events = events;
    this.#old = new Set();
    this.#keepaliveMs = settings.keepaliveMs;
    this.#retryAt = Number.NEGATIVE_INFINITY;
    this.#passOverUntil = Number.NEGATIVE_INFINITY;
    this.#strikes = 0;
  }

  /** It cannot serve, and said so or kept a call waiting: others come first for a while. */
  passOver(): void {
    const now = this.#settings.clock.now();
    // Calls that were under way together are one strike.
    if (now < this.#passOverUntil) return;
    const forMs = Math.min(LONGEST_PASS_OVER_MS, FIRST_PASS_OVER_MS * 2 ** this.#strikes);
    this.#strikes = Math.min(this.#strikes + 1, 10);
    this.#passOverUntil = now + forMs;
  }

  /** It has answered. */
  served(): void {
    this.#strikes = 0;
  }

  /** Whether others are preferred. */
  isDoubtful(now: number): boolean {
    return now < this.#passOverUntil || this.session?.suspect === true;
  }

  /** The connection, where calls can be sent on it now. */
  get usable(): GrpcSession | undefined {
    return this.session?.state === 'ready' ? this.session : undefined;
  }

  get connecting(): boolean {
    return this.session?.state === 'connecting';
  }

  /** Open streams, also on connections that take no new ones. */
  get streams(): number {
    let count = this.session?.streams ?? 0;
    for (const session of this.#old) count += session.streams;
    return count;
  }

  /** Starts to connect unless it is, or its back-off is not over. */
  wake(now: number): void {
    if (this.session !== undefined || now < this.#retryAt) return;
    const settings = { ...this.#settings, keepaliveMs: this.#keepaliveMs };
    const session: GrpcSession = new GrpcSession(this.target, settings, {
      ready: () => this.#events.ready(this),
      draining: () => this.#retire(session),
      ended: (cause) => this.#ended(session, cause),
    });
    this.session = session;
  }

  /** The server asked to go elsewhere: its old connection ends with its last call. */
  #retire(session: GrpcSession): void {
    if (this.session !== session) return;
    this.session = undefined;
    this.#old.add(session);
    this.#backOff(session, session.cause ?? new Error('the server is closing the connection'));
  }

  #ended(session: GrpcSession, cause: Error): void {
    // gRFC A8: a client that was told "too many pings" doubles its interval.
    if (session.pingedTooOften) this.#keepaliveMs *= 2;
    if (this.#old.delete(session) || this.session !== session) return;
    this.session = undefined;
    this.#backOff(session, cause);
  }

  #backOff(session: GrpcSession, cause: Error): void {
    this.lastError = cause;
    if (session.hasServed) this.failures = 0;
    const longest = Math.min(
      LONGEST_BACKOFF_MS,
      this.#settings.timeoutMs / 2,
      FIRST_BACKOFF_MS * 2 ** Math.min(this.failures, 10),
    );
    this.failures++;
    // Half of it at random, so that the clients of a restarted node do not all come at once.
    const waitMs = longest / 2 + this.#random.below(Math.ceil(longest / 2) + 1);
    this.#retryAt = this.#settings.clock.now() + waitMs;
    this.#events.failed(this);
  }

  check(now: number): void {
    this.session?.check(now);
    for (const session of this.#old) session.check(now);
  }

  close(): void {
    this.#retryAt = Number.POSITIVE_INFINITY;
    const cause = new Error('the client was closed');
    this.session?.destroy(cause);
    for (const session of this.#old) session.destroy(cause);
  }
}
