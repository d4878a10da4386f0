/** The session that claims share: opened when first needed, renewed while it lasts, and anew after it ended. */
import type { Clock } from '../../core/clock.ts';
import type { Gone } from '../../locks/life.ts';
import { SharedLife } from '../../locks/shared-life.ts';
import type { ConsulApi, NewSession } from './api.ts';

const GONE: Gone = {
  why: 'is gone in Consul (run out, destroyed by an operator, or its node left the cluster)',
  loss: 'session',
};

/** What its claims live on. Consul ends it after up to twice its time to live without a renewal. */
export class Session extends SharedLife {
  readonly id: string;
  readonly #api: ConsulApi;

  private constructor(api: ConsulApi, clock: Clock, id: string, ttlMs: number, sentMs: number) {
    super({
      clock,
      ttlMs,
      sentMs,
      renew: async (signal) => ((await api.renewSession(id, signal)) ? ttlMs : GONE),
      endThere: (signal) => api.endSession(id, signal),
    });
    this.id = id;
    this.#api = api;
  }

  static async open(api: ConsulApi, clock: Clock, options: NewSession): Promise<Session> {
    const sentMs = clock.now();
    const id = await api.openSession(options);
    return new Session(api, clock, id, options.ttlMs, sentMs);
  }

  /** Consul says that it has no such session. */
  gone(): void {
    this.end(GONE.why, GONE.loss);
  }

  /** Looks whether Consul still has it; where not all that live on it hear of it. Never rejects. */
  async check(signal: AbortSignal | undefined): Promise<void> {
    const isThere = await this.#api.hasSession(this.id, signal).catch(() => true);
    if (!isThere) this.gone();
  }
}

export class Sessions {
  readonly #api: ConsulApi;
  readonly #clock: Clock;
  readonly #options: NewSession;
  readonly #open: Set<Session>;
  readonly #assertOpen: () => void;
  #current: Session | undefined;
  #opening: Promise<Session> | undefined;

  /** @param assertOpen - throws once no more may be opened */
  constructor(api: ConsulApi, clock: Clock, options: NewSession, assertOpen: () => void) {
    this.#api = api;
    this.#clock = clock;
    this.#options = options;
    this.#open = new Set();
    this.#assertOpen = assertOpen;
    this.#current = undefined;
    this.#opening = undefined;
  }

  async current(): Promise<Session> {
    if (this.#current?.usable) return this.#current;
    this.#assertOpen();
    this.#opening ??= this.#openOne();
    return this.#opening;
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    await Promise.all([...this.#open].map((session) => session.close()));
  }

  async #openOne(): Promise<Session> {
    try {
      const session = await Session.open(this.#api, this.#clock, this.#options);
      for (const old of this.#open) if (old.endReason() !== undefined) this.#open.delete(old);
      this.#open.add(session);
      this.#current = session;
      return session;
    } finally {
      this.#opening = undefined;
    }
  }
}
