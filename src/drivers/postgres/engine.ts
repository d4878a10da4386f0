/** Claims on PostgreSQL: how a lock is tried, waited for, given back and taken away. */
import { orAborted, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { ClaimRequest, LockEngine } from '../../locks/engine.ts';
import { withinTime } from '../../locks/life.ts';
import type { LockGuarantees, LockHolder } from '../../locks/locks.ts';
import { requireEncodable } from '../../locks/names.ts';
import { Gate } from '../../locks/signals.ts';
import { withdraw } from './cancel.ts';
import { PostgresClaim } from './claim.ts';
import { type PostgresPool, pooled } from './client.ts';
import { takeAway } from './evict.ts';
import { type AdvisoryKey, advisoryKey, halvesOf, tagOf } from './key.ts';
import type { Session } from './session.ts';
import { Sessions } from './sessions.ts';
import * as sql from './statements.ts';
import { WaitWatch } from './wait-watch.ts';

export interface EngineOptions {
  readonly clock: Clock;
  readonly owner: string;
  readonly namespace: string;
  readonly sequence: string;
  readonly maxConnections: number;
  readonly heartbeatMs: number;
  readonly connectTimeoutMs: number;
}

/** `pg_cancel_backend`. */
const CANCELLED = '57014';
/** Two that create the sequence at once: one of them is told that it exists. */
const ALREADY_THERE = /\((23505|42P07)\)/;

interface Grant {
  readonly token: string;
  /** When the question was sent that this is the answer of. */
  readonly sentMs: number;
}

interface GrantRow {
  readonly same: boolean;
  readonly token: string | null;
}

interface HolderRow {
  readonly pid: number;
  readonly granted: boolean;
  readonly owner: string;
  readonly token: string | null;
}

export class PostgresEngine implements LockEngine<'monotonic'> {
  readonly guarantees: LockGuarantees<'monotonic'> = {
    fencing: 'monotonic',
    waiters: 'fifo',
    expiry: 'connection',
    shared: true,
    permits: false,
  };
  readonly clock: Clock;
  readonly #namespace: string;
  readonly #heartbeatMs: number;
  readonly #sql: sql.Statements;
  readonly #sessions: Sessions;
  readonly #watch: WaitWatch;
  /** By what they are called. */
  readonly #held: Map<
    string,
    { readonly claim: PostgresClaim; readonly free: () => Promise<void> }
  >;
  readonly #waits: Set<Gate>;
  readonly #background: Set<Promise<void>>;
  #closing: Promise<void> | undefined;

  constructor(pool: PostgresPool, options: EngineOptions) {
    this.clock = options.clock;
    this.#namespace = options.namespace;
    this.#heartbeatMs = options.heartbeatMs;
    this.#sql = sql.statementsFor(options.sequence);
    this.#sessions = new Sessions(pool, {
      ...options,
      prepare: async (hub) => {
        await this.#findSequence(hub);
        await hub.listen(sql.CHANNEL, (holder) => this.#taken(holder));
      },
    });
    this.#watch = new WaitWatch(this.clock, this.#sessions, options.heartbeatMs);
    this.#held = new Map();
    this.#waits = new Set();
    this.#background = new Set();
    this.#closing = undefined;
  }

  requireName(name: string): void {
    requireEncodable(name);
  }

  claim(request: ClaimRequest): Promise<PostgresClaim> {
    const claim = this.#claim(request);
    this.#inBackground(claim);
    return claim;
  }

  tryClaim(request: ClaimRequest): Promise<PostgresClaim | undefined> {
    const claim = this.#tryClaim(request);
    this.#inBackground(claim);
    return claim;
  }

  async #claim(request: ClaimRequest): Promise<PostgresClaim> {
    const gate = new Gate(this.clock, request);
    this.#waits.add(gate);
    try {
      throwIfAborted(request.signal);
      const key = advisoryKey(this.#namespace, request.name);
      const hub = await orAborted(this.#sessions.hub(), gate.signal);
      const claim = hub.keys.has(key)
        ? undefined
        : await this.#tryOn(hub, key, request, gate.signal);
      return claim ?? (await this.#waitFor(key, request, gate.signal));
    } finally {
      this.#waits.delete(gate);
      gate.close();
    }
  }

  async #tryClaim(request: ClaimRequest): Promise<PostgresClaim | undefined> {
    const { signal } = request;
    const key = advisoryKey(this.#namespace, request.name);
    const hub = await orAborted(this.#sessions.hub(), signal);
    if (!hub.keys.has(key)) return this.#tryOn(hub, key, request, signal);
    // Held or asked for here: busy, unless both are shared.
    if (!isShared(request)) return undefined;
    const session = await this.#further(signal);
    const claim = await this.#tryOn(session, key, request, signal);
    if (claim === undefined) this.#sessions.giveBack(session);
    return claim;
  }

  async holders(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const hub = await orAborted(this.#sessions.hub(), options.signal);
    return orAborted(this.#lookFor(hub, name), options.signal);
  }

  async evict(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const hub = await orAborted(this.#sessions.hub(), options.signal);
    const lookFor = async (): Promise<readonly LockHolder[]> => {
      const all = await orAborted(this.#lookFor(hub, name), options.signal);
      return all.filter(({ waiting }) => !waiting);
    };
    const halves = halvesOf(advisoryKey(this.#namespace, name));
    return takeAway(this.clock, hub, { name, halves, lookFor, signal: options.signal });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const opened = this.#sessions.stopOpening();
    for (const gate of this.#waits) {
      gate.abort(new QuorateError('ERR_CLOSED', 'these locks were closed'));
    }
    await opened;
    while (this.#background.size > 0) await Promise.all(this.#background);
    // In PostgreSQL they are free when this resolves, not only a moment later with the connection.
    await withinTime(this.clock, this.#heartbeatMs, undefined, (signal) => {
      const all = this.#sessions.all.map((one) => one.query('close', { text: sql.UNLOCK_ALL }));
      return orAborted(Promise.allSettled(all), signal);
    }).catch(() => undefined);
    this.#sessions.endAll();
  }

  async #findSequence(hub: Session): Promise<void> {
    const doing = 'the sequence of fencing tokens';
    const find = { text: this.#sql.findSequence };
    const [row] = await hub.query<{ readonly found: boolean }>(doing, find);
    if (row?.found === true) return;
    try {
      await hub.query(doing, { text: this.#sql.createSequence });
    } catch (error) {
      if (!isQuorateError(error) || !ALREADY_THERE.test(error.message)) throw error;
    }
  }

  async #lookFor(hub: Session, name: string): Promise<readonly LockHolder[]> {
    const key = advisoryKey(this.#namespace, name);
    const values = [...halvesOf(key)];
    const query = { name: 'quorate-holders', text: this.#sql.holders, values };
    const rows = await hub.query<HolderRow>(`holders of '${name}'`, query);
    return rows.map(({ pid, granted, owner, token }) => ({
      holder: holderName(pid, key),
      fencingToken: token === null ? undefined : BigInt(token),
      owner,
      waiting: !granted,
    }));
  }

  /** A further connection; one that comes too late for the caller is kept for the next. */
  #further(signal: AbortSignal | undefined): Promise<Session> {
    return orAborted(this.#sessions.further(), signal, (late) => this.#sessions.giveBack(late));
  }

  /** Takes the lock on `session` if it is free and nobody waits for it: one round trip. */
  async #tryOn(
    session: Session,
    key: AdvisoryKey,
    request: ClaimRequest,
    signal: AbortSignal | undefined,
  ): Promise<PostgresClaim | undefined> {
    session.keys.add(key);
    const shared = isShared(request);
    const query = shared
      ? { name: 'quorate-try-shared', text: this.#sql.tryShared }
      : { name: 'quorate-try', text: this.#sql.tryExclusive };
    const asked = this.#grant(session, key, request, {
      ...query,
      values: [session.mark, tagOf(key), key],
    });
    const grant = await orAborted(asked, signal, (late) => {
      if (late === undefined) this.#sessions.giveBack(session);
      else this.#inBackground(this.#unlock(session, key, request, late.token));
    });
    return grant === undefined ? undefined : this.#claimed(session, key, request, grant);
  }

  /** Stands in PostgreSQL's queue, on a connection that does nothing else meanwhile. */
  async #waitFor(
    key: AdvisoryKey,
    request: ClaimRequest,
    signal: AbortSignal,
  ): Promise<PostgresClaim> {
    const session = await this.#further(signal);
    session.keys.add(key);
    const query = isShared(request)
      ? { name: 'quorate-wait-shared', text: sql.WAIT_SHARED }
      : { name: 'quorate-wait', text: sql.WAIT_EXCLUSIVE };
    const granted = this.#watch.during(
      session,
      session.query<{ readonly same: boolean }>(`waiting for '${request.name}'`, {
        ...query,
        values: [session.mark, key],
      }),
    );
    try {
      const [row] = await orAborted(granted, signal);
      if (row?.same !== true) throw pooled();
    } catch (error) {
      this.#inBackground(
        signal.aborted ? this.#leaveQueue(session, key, granted) : this.#emptied(session, key),
      );
      throw signal.aborted ? error : whyNotGranted(request, session, error);
    }
    // When the lock was granted nobody knows here, the reply may have lain about: so the token's question
    // is the one that its life is counted from.
    const asked = this.#grant(session, key, request, {
      name: 'quorate-token',
      text: this.#sql.token,
      values: [session.mark, tagOf(key)],
    });
    const giveBack = (late: Grant | undefined): void =>
      this.#inBackground(this.#unlock(session, key, request, late?.token));
    const grant = await orAborted(asked, signal, giveBack);
    if (grant === undefined) throw pooled();
    return this.#claimed(session, key, request, grant);
  }

  /**
   * Asks for a token, with or without the lock. The lock is not held where this rejects, or resolves with
   * nothing.
   */
  async #grant(
    session: Session,
    key: AdvisoryKey,
    request: ClaimRequest,
    query: { readonly name: string; readonly text: string; readonly values: unknown[] },
  ): Promise<Grant | undefined> {
    const sentMs = this.clock.now();
    try {
      const [row] = await session.query<GrantRow>(`the lock '${request.name}'`, query);
      if (row?.same === false) throw pooled();
      if (row?.token != null) return { token: row.token, sentMs };
      session.keys.delete(key);
      return undefined;
    } catch (error) {
      // An error does not give back what a session has locked.
      await this.#unlock(session, key, request).catch(() => undefined);
      throw error;
    }
  }

  #claimed(session: Session, key: AdvisoryKey, request: ClaimRequest, grant: Grant): PostgresClaim {
    const life = session.beat(grant.sentMs);
    const why = life.endReason();
    if (why !== undefined) throw lostPlace(request, why);
    const holder = holderName(session.pid, key);
    const granted = { holder, token: BigInt(grant.token), life };
    const free = (): Promise<void> => this.#unlock(session, key, request, grant.token);
    const ended = (): void => void this.#held.delete(holder);
    const claim = new PostgresClaim(request, granted, free, ended);
    this.#held.set(holder, { claim, free });
    return claim;
  }

  /** An operator wants a lock back. */
  #taken(holder: string): void {
    const held = this.#held.get(holder);
    if (held === undefined) return;
    held.claim.taken();
    this.#inBackground(held.free());
  }

  async #unlock(
    session: Session,
    key: AdvisoryKey,
    request: ClaimRequest,
    token?: string,
  ): Promise<void> {
    const query = isShared(request)
      ? { name: 'quorate-unlock-shared', text: sql.UNLOCK_SHARED }
      : { name: 'quorate-unlock', text: sql.UNLOCK_EXCLUSIVE };
    const values = [key, tagOf(key), token ?? null];
    const doing = `release of '${request.name}'`;
    const [row] = await session.query<{ readonly done: boolean }>(doing, { ...query, values });
    this.#rest(session, key);
    if (row?.done === true || token === undefined || this.#closing !== undefined) return;
    session.end('does not hold what it was granted');
    throw pooled();
  }

  async #leaveQueue(session: Session, key: AdvisoryKey, granted: Promise<unknown>): Promise<void> {
    const isOut = await withdraw(this.clock, this.#sessions, session, granted);
    if (!isOut) return session.end('was in doubt');
    await this.#emptied(session, key);
  }

  /**
   * After a wait that was refused: it may hold the lock all the same, where PostgreSQL granted it in the
   * same moment.
   */
  async #emptied(session: Session, key: AdvisoryKey): Promise<void> {
    await session.query('the end of a wait', { text: sql.UNLOCK_ALL });
    this.#rest(session, key);
  }

  #rest(session: Session, key: AdvisoryKey): void {
    session.keys.delete(key);
    this.#sessions.giveBack(session);
  }

  /** Work that nobody waits for but `close`. */
  #inBackground(work: Promise<unknown>): void {
    const done: Promise<void> = work.then(
      () => undefined,
      () => undefined,
    );
    this.#background.add(done);
    void done.then(() => this.#background.delete(done));
  }
}

/** How `pg_terminate_backend` calls its connection, and the key, of which that may hold many. */
function holderName(pid: number, key: AdvisoryKey): string {
  return `${pid}/${BigInt.asUintN(64, key).toString(16)}`;
}

function isShared(request: ClaimRequest): boolean {
  return request.permits !== 1;
}

/** Cancelled by an operator, or with its connection, it was in the queue; else it never was. */
function whyNotGranted(request: ClaimRequest, { ended }: Session, error: unknown): unknown {
  const wasCancelled = isQuorateError(error) && error.message.includes(`(${CANCELLED})`);
  return ended !== undefined || wasCancelled ? lostPlace(request, error) : error;
}

function lostPlace({ name }: ClaimRequest, cause: unknown): QuorateError {
  const why = cause instanceof Error ? cause.message : 'the connection ended';
  return new QuorateError(
    'ERR_LOCK_LOST',
    `the place in the queue for the lock '${name}' was lost: ${why}`,
    { retryable: true, loss: 'session', cause },
  );
}
