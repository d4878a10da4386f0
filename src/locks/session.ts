/**
 * A session: one lease, kept alive, under which locks and candidacies live. When it ends they end.
 *
 * Its life is counted from when the last renewal that was confirmed was *sent*, on the monotonic
 * clock: the store counts from later, so it cannot hand a lock on while this session still counts
 * itself alive. Whoever asks compares the clock first; timers only make the end known earlier.
 */
import { sleep } from '../core/abort.ts';
import type { Cancel, Clock } from '../core/clock.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { Kv } from '../kv/kv.ts';

/** Told once, synchronously, why the session ended. */
type OnEnd = (reason: QuorateError) => void;

export class Session {
  readonly lease: bigint;
  readonly #kv: Kv;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #users: Set<OnEnd>;
  readonly #keysInUse: Set<string>;
  readonly #stop: AbortController;
  #deadlineMs: number;
  #cancelDeadline: Cancel;
  #keyNumber: number;
  #retired: boolean;
  #ended: QuorateError | undefined;
  #revoked: Promise<void> | undefined;

  private constructor(kv: Kv, clock: Clock, lease: bigint, ttlMs: number, sentMs: number) {
    this.lease = lease;
    this.#kv = kv;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#users = new Set();
    this.#keysInUse = new Set();
    this.#stop = new AbortController();
    this.#deadlineMs = sentMs + ttlMs;
    this.#cancelDeadline = () => undefined;
    this.#keyNumber = 0;
    this.#retired = false;
    this.#ended = undefined;
    this.#revoked = undefined;
    this.#watchDeadline();
    void this.#renew();
  }

  /** Grants a lease of `ttlMs`, or of what the store makes of it. */
  static async open(kv: Kv, clock: Clock, ttlMs: number): Promise<Session> {
    const sentMs = clock.now();
    const lease = await kv.grantLease(ttlMs);
    return new Session(kv, clock, lease.id, lease.ttlMs, sentMs);
  }

  /** Whether new users are welcome. */
  get usable(): boolean {
    return !this.#retired && this.endReason() === undefined;
  }

  /** Why it ended; `undefined` while it lasts. Compares the clock. */
  endReason(): QuorateError | undefined {
    if (this.#ended === undefined && this.#clock.now() >= this.#deadlineMs) {
      this.#end('was not renewed within its time to live (paused process, or store out of reach)');
    }
    return this.#ended;
  }

  remainingMs(): number {
    return this.endReason() === undefined ? this.#deadlineMs - this.#clock.now() : 0;
  }

  /** Joins; the returned function leaves. */
  join(onEnd: OnEnd): () => void {
    this.#users.add(onEnd);
    return () => {
      if (this.#users.delete(onEnd) && this.#retired && this.#users.size === 0) void this.close();
    };
  }

  /**
   * A key under `name` for one claim: etcd's own layout, `name/lease in hex`. Several claims of one
   * session on one name get a number added, since they exclude each other here (in etcd's clients
   * they would share the lock).
   */
  reserveKey(name: string): string {
    const plain = `${name}/${BigInt.asUintN(64, this.lease).toString(16)}`;
    let key = plain;
    while (this.#keysInUse.has(key)) key = `${plain}-${++this.#keyNumber}`;
    this.#keysInUse.add(key);
    return key;
  }

  freeKey(key: string): void {
    this.#keysInUse.delete(key);
  }

  /**
   * Takes no new users, and ends with its last one. After a write whose outcome is unknown: it may
   * still arrive, and only the end of the lease makes sure that it leaves nothing behind.
   */
  retire(): void {
    this.#retired = true;
    if (this.#users.size === 0) void this.close();
  }

  /** Ends it and revokes the lease. Never rejects: a lease that cannot be revoked runs out. */
  close(): Promise<void> {
    this.#end('was closed');
    return this.#revoked!;
  }

  #end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#retired = true;
    this.#ended = new QuorateError('ERR_LOCK_LOST', `the session behind it ${why}`);
    this.#cancelDeadline();
    this.#stop.abort(this.#ended);
    // The store may count it alive for a while yet: nobody should have to wait for that.
    this.#revoked = this.#revoke();
    for (const onEnd of [...this.#users]) onEnd(this.#ended);
    this.#users.clear();
  }

  #watchDeadline(): void {
    // Over already where the grant took longer than it lasts. Less than a millisecond may be lost in the clock's fractions.
    const leftMs = Math.max(1, this.#deadlineMs - this.#clock.now());
    this.#cancelDeadline = this.#clock.after(leftMs, () => {
      if (this.endReason() === undefined) this.#watchDeadline();
    });
  }

  async #renew(): Promise<void> {
    let delayMs = this.#ttlMs / 3;
    try {
      while (this.#ended === undefined) {
        await sleep(this.#clock, delayMs, this.#stop.signal);
        const renewed = await this.#renewOnce();
        delayMs = renewed ? this.#ttlMs / 3 : Math.min(this.#ttlMs / 12, 500);
      }
    } catch (error) {
      // Only the stop of the sleep ends up here.
      if (this.#ended === undefined) throw error;
    }
  }

  async #renewOnce(): Promise<boolean> {
    const sentMs = this.#clock.now();
    try {
      const ttlMs = await this.#within(this.#ttlMs / 3, this.#stop.signal, (signal) =>
        this.#kv.keepAlive(this.lease, { signal }),
      );
      if (ttlMs <= 0) this.#end('has run out or was revoked in the store');
      else if (this.endReason() === undefined) this.#deadlineMs = sentMs + ttlMs;
      return true;
    } catch (error) {
      if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) this.#end('is gone from the store');
      return false;
    }
  }

  async #revoke(): Promise<void> {
    try {
      // As patient as a renewal: a store that is out of reach holds up no shutdown for longer.
      await this.#within(this.#ttlMs / 3, undefined, (signal) =>
        this.#kv.revokeLease(this.lease, { signal }),
      );
    } catch {
      // It runs out by itself.
    }
  }

  /** Gives a call that long, less where `stop` comes first. */
  async #within<T>(
    limitMs: number,
    stop: AbortSignal | undefined,
    call: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const attempt = new AbortController();
    const giveUp = (): void => {
      attempt.abort(new QuorateError('ERR_TIMEOUT', 'the store did not answer in time'));
    };
    const cancel = this.#clock.after(limitMs, giveUp);
    stop?.addEventListener('abort', giveUp, { once: true });
    try {
      return await call(attempt.signal);
    } finally {
      cancel();
      stop?.removeEventListener('abort', giveUp);
    }
  }
}

/** The session that claims share, opened when first needed and anew after it ended. */
export class Sessions {
  readonly kv: Kv;
  readonly clock: Clock;
  readonly #ttlMs: number;
  readonly #open: Set<Session>;
  readonly #background: Set<Promise<void>>;
  #current: Session | undefined;
  #opening: Promise<Session> | undefined;
  #closed: boolean;

  constructor(kv: Kv, clock: Clock, ttlMs: number) {
    this.kv = kv;
    this.clock = clock;
    this.#ttlMs = ttlMs;
    this.#open = new Set();
    this.#background = new Set();
    this.#current = undefined;
    this.#opening = undefined;
    this.#closed = false;
  }

  async current(): Promise<Session> {
    this.#assertOpen();
    if (this.#current?.usable) return this.#current;
    this.#opening ??= this.#openOne();
    return this.#opening;
  }

  /** Work that nobody waits for but `close`. */
  inBackground(work: Promise<unknown>): void {
    const done: Promise<void> = work.then(
      () => undefined,
      () => undefined,
    );
    this.#background.add(done);
    void done.then(() => this.#background.delete(done));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening?.catch(() => undefined);
    await Promise.all([...this.#open].map((session) => session.close()));
    await Promise.all(this.#background);
  }

  async #openOne(): Promise<Session> {
    try {
      const session = await Session.open(this.kv, this.clock, this.#ttlMs);
      for (const old of this.#open) {
        if (old.endReason() === undefined) continue;
        this.#open.delete(old);
        this.inBackground(old.close());
      }
      this.#open.add(session);
      this.#current = session;
      this.#assertOpen();
      return session;
    } finally {
      this.#opening = undefined;
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new QuorateError('ERR_CLOSED', 'these locks were closed');
  }
}
