/** A session: one lease, kept alive, under which locks and candidacies live. When it ends they end. */
import { sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { isQuorateError } from '../core/errors.ts';
import type { Kv } from '../kv/kv.ts';
import type { Gone } from './life.ts';
import { SharedLife } from './shared-life.ts';
import { closedError } from './signals.ts';

/** Between attempts to take a key away. */
const AGAIN_MS = 200;

const GONE: Gone = { why: 'has run out or was revoked in the store', loss: 'session' };

export class Session extends SharedLife {
  readonly lease: bigint;
  readonly #kv: Kv;
  readonly #clock: Clock;
  readonly #keysInUse: Set<string>;
  #keyNumber: number;

  private constructor(kv: Kv, clock: Clock, lease: bigint, ttlMs: number, sentMs: number) {
    super({
      clock,
      ttlMs,
      sentMs,
      renew: (signal) => renew(kv, lease, signal),
      endThere: (signal) => kv.revokeLease(lease, { signal }),
    });
    this.lease = lease;
    this.#kv = kv;
    this.#clock = clock;
    this.#keysInUse = new Set();
    this.#keyNumber = 0;
  }

  /** Grants a lease of `ttlMs`, or of what the store makes of it. */
  static async open(kv: Kv, clock: Clock, ttlMs: number): Promise<Session> {
    const sentMs = clock.now();
    const lease = await kv.grantLease(ttlMs);
    return new Session(kv, clock, lease.id, lease.ttlMs, sentMs);
  }

  /**
   * A key under `name` for one claim: etcd's own layout, `name/lease in hex`. Several claims of one
   * session on one name get a number added, since they exclude each other here (in etcd's clients
   * they would share the lock).
   */
  reserveKey(name: string, suffix: string): string {
    const plain = `${name}/${BigInt.asUintN(64, this.lease).toString(16)}`;
    let key = `${plain}${suffix}`;
    while (this.#keysInUse.has(key)) key = `${plain}-${++this.#keyNumber}${suffix}`;
    this.#keysInUse.add(key);
    return key;
  }

  freeKey(key: string): void {
    this.#keysInUse.delete(key);
  }

  /**
   * For a key that is not wanted any more, and of which a write that had no answer may still be on its way: runs
   * `remove` now and whenever the key is there, until this ends. Others may keep it alive for long, or even wait
   * behind that key themselves. Never rejects.
   */
  async keepAway(key: string, remove: () => Promise<unknown>): Promise<void> {
    const ended = new AbortController();
    const leave = this.onEnd((reason) => ended.abort(reason));
    const { signal } = ended;
    while (this.endReason() === undefined) {
      try {
        await using watch = this.#kv.watch(key, { without: 'delete', signal });
        await watch.created;
        await remove();
        for await (const { events } of watch) if (events.length > 0) await remove();
      } catch {
        // Out of reach, or this has ended.
      }
      await sleep(this.#clock, AGAIN_MS, signal).catch(() => undefined);
    }
    leave();
  }
}

async function renew(kv: Kv, lease: bigint, signal: AbortSignal): Promise<number | Gone> {
  try {
    const ttlMs = await kv.keepAlive(lease, { signal });
    return ttlMs > 0 ? ttlMs : GONE;
  } catch (error) {
    if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) return GONE;
    throw error;
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

  get isClosed(): boolean {
    return this.#closed;
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

  /**
   * Runs `remove`, which takes a key of `session` away. Where it fails it is tried again in the background
   * until it succeeds or the session ends: others may keep that alive for long, and the queue would stand still.
   *
   * Rejects with what `remove` rejected with first.
   */
  async takeAway(session: Session, remove: () => Promise<unknown>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      session.retire();
      this.inBackground(this.#takeAwayLater(session, remove));
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening?.catch(() => undefined);
    await Promise.all([...this.#open].map((session) => session.close()));
    await Promise.all(this.#background);
  }

  async #takeAwayLater(session: Session, remove: () => Promise<unknown>): Promise<void> {
    const ended = new AbortController();
    const leave = session.onEnd((reason) => ended.abort(reason));
    try {
      while (session.endReason() === undefined) {
        await sleep(this.clock, AGAIN_MS, ended.signal);
        const isGone = await remove().then(
          () => true,
          () => false,
        );
        if (isGone) return;
      }
    } finally {
      leave();
    }
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
    if (this.#closed) throw closedError();
  }
}
