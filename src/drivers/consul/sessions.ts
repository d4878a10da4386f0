/** The session that claims share: opened when first needed, renewed while it lasts, and anew after it ended. */
import type { Clock } from '../../core/clock.ts';
import type { QuorateError } from '../../core/errors.ts';
import { type Gone, type Life, type OnEnd, RenewedLife, withinTime } from '../../locks/life.ts';
import type { ConsulApi, NewSession } from './api.ts';

const GONE: Gone = {
  why: 'is gone in Consul (run out, destroyed by an operator, or its node left the cluster)',
  loss: 'session',
};

/** What its claims live on. Consul ends it after up to twice its time to live without a renewal. */
export class Session implements Life {
  readonly id: string;
  readonly #api: ConsulApi;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #life: RenewedLife;
  #users: number;
  #retired: boolean;
  #ended: Promise<void> | undefined;

  private constructor(api: ConsulApi, clock: Clock, id: string, ttlMs: number, sentMs: number) {
    this.id = id;
    this.#api = api;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#users = 0;
    this.#retired = false;
    this.#ended = undefined;
    const renew = async (signal: AbortSignal): Promise<number | Gone> =>
      (await api.renewSession(id, signal)) ? ttlMs : GONE;
    this.#life = new RenewedLife({ clock, what: 'the session behind it', ttlMs, sentMs, renew });
    this.#life.join(() => {
      this.#retired = true;
      // Consul may count it alive for a while yet: nobody should have to wait for that.
      this.#ended = this.#endThere();
    });
  }

  static async open(api: ConsulApi, clock: Clock, options: NewSession): Promise<Session> {
    const sentMs = clock.now();
    const id = await api.openSession(options);
    return new Session(api, clock, id, options.ttlMs, sentMs);
  }

  /** Whether new users are welcome. */
  get usable(): boolean {
    return !this.#retired && this.endReason() === undefined;
  }

  endReason(): QuorateError | undefined {
    return this.#life.endReason();
  }

  remainingMs(): number {
    return this.#life.remainingMs();
  }

  /** Calls `onEnd` when it ends, and does not keep it: `join` is for those for whom it lasts. */
  onEnd(onEnd: OnEnd): () => void {
    return this.#life.join(onEnd);
  }

  join(onEnd: OnEnd): () => void {
    const leaveLife = this.#life.join(onEnd);
    let isIn = true;
    this.#users += 1;
    return () => {
      leaveLife();
      if (!isIn) return;
      isIn = false;
      this.#users -= 1;
      if (this.#retired && this.#users === 0) void this.close();
    };
  }

  /**
   * Takes no new users, and ends with its last one. After a write whose outcome is unknown: it may still
   * arrive, and only the end of the session makes sure that it leaves nothing behind.
   */
  retire(): void {
    this.#retired = true;
    if (this.#users === 0) void this.close();
  }

  /** Consul says that it has no such session. */
  gone(): void {
    this.#life.end(GONE.why, GONE.loss);
  }

  /** Looks whether Consul still has it; where not all that live on it hear of it. Never rejects. */
  async check(signal: AbortSignal | undefined): Promise<void> {
    const isThere = await this.#api.hasSession(this.id, signal).catch(() => true);
    if (!isThere) this.gone();
  }

  /** Ends it here and in Consul. Never rejects: one that cannot be ended there runs out. */
  close(): Promise<void> {
    this.#life.end('was closed', 'session');
    return this.#ended!;
  }

  async #endThere(): Promise<void> {
    try {
      // As patient as a renewal: a store that is out of reach holds up no shutdown for longer.
      await withinTime(this.#clock, this.#ttlMs / 3, undefined, (signal) =>
        this.#api.endSession(this.id, signal),
      );
    } catch {
      // It runs out by itself.
    }
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
