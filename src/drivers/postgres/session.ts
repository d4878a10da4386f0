/**
 * One connection to PostgreSQL that holds session-level advisory locks, or waits for one.
 *
 * PostgreSQL frees its locks when the connection ends; this end must stop believing in them earlier. It
 * does at once where the socket says so. For the rest there is a heartbeat: what was confirmed lasts three
 * intervals from when the question was *sent*, and the server is told to give the connection up after
 * four without a sign of life (TCP keepalive and user timeout), so it is the holder who stops first.
 */
import { orAborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, type Outcome, QuorateError } from '../../core/errors.ts';
import { systemRandom } from '../../core/random.ts';
import { type Gone, RenewedLife, withinTime } from '../../locks/life.ts';
import {
  answeredError,
  connectError,
  isAnswer,
  messageOf,
  type PostgresConnection,
  type PostgresPool,
  type PostgresQuery,
  pooled,
} from './client.ts';
import type { AdvisoryKey } from './key.ts';
import { MARK } from './statements.ts';

/** How sessions are opened. */
export interface SessionOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly connectTimeoutMs: number;
  readonly owner: string;
}

/** Heartbeats without an answer until a holder stops to believe. */
const VERDICT_BEATS = 3;
/** ... and until the server gives the connection up: later, whatever comes. */
const SERVER_BEATS = 4;
/** How often the server looks whether who waits is still connected. */
const CHECK_WAITERS_MS = 1000;

/** For queries: what a pool has set must not end a wait, and heartbeats bound the rest. */
const NO_TIMEOUT = 2 ** 31 - 1;
/** More queries than that do not wait for one connection. */
const MAX_IN_LINE = 10_000;

/** `$3`: the connection's mark, see `MARK`. One that has a mark was given to others before. */
const SETTINGS = `with before as materialized (select current_setting('${MARK}', true) as mark)
select pg_backend_pid() as pid, before.mark, set_config('${MARK}', $3, false),
  (select count(set_config(s.name, w.value, false)) from pg_settings s join (
    select unnest($1::text[]) as name, unnest($2::text[]) as value
    union all
    select 'synchronous_commit', 'on' where current_setting('synchronous_commit') in ('off', 'local')
  ) w using (name))
from before`;

const BEAT = { name: 'quorate-beat', text: `select current_setting('${MARK}', true) as mark` };

export class Session {
  /** The server's process behind it. */
  readonly pid: number;
  /** A setting of the server's process that is this connection's alone. */
  readonly mark: string;
  /** What it holds or asks for. Each once: PostgreSQL lets a session have its own lock again at once. */
  readonly keys: Set<AdvisoryKey>;
  readonly #connection: PostgresConnection;
  readonly #options: SessionOptions;
  readonly #onEnd: (session: Session) => void;
  #life: RenewedLife | undefined;
  #ended: QuorateError | undefined;
  /** Ends when the queries so far have: node-postgres wants one at a time. */
  #line: Promise<void>;
  #lineLength: number;

  private constructor(
    connection: PostgresConnection,
    options: SessionOptions,
    { pid, mark }: Opened,
    onEnd: (session: Session) => void,
  ) {
    this.pid = pid;
    this.mark = mark;
    this.keys = new Set();
    this.#connection = connection;
    this.#options = options;
    this.#onEnd = onEnd;
    this.#life = undefined;
    this.#ended = undefined;
    this.#line = Promise.resolve();
    this.#lineLength = 0;
    connection.on('end', () => this.end('ended'));
    connection.on('error', (error) => this.end(`broke: ${messageOf(error)}`));
  }

  /** Takes a connection from the pool and sets it up. `onEnd` is called when it is gone. */
  static async open(
    pool: PostgresPool,
    options: SessionOptions,
    onEnd: (session: Session) => void,
  ): Promise<Session> {
    const connection = await connected(pool, options);
    // Nobody else listens while it is out of the pool, and an error without a listener ends the process.
    connection.on('error', () => undefined);
    try {
      const opened = await inTime(options, () => configure(connection, options));
      return new Session(connection, options, opened, onEnd);
    } catch (error) {
      destroy(connection);
      throw connectError(error);
    }
  }

  /** Why it ended; `undefined` while it lasts. */
  get ended(): QuorateError | undefined {
    return this.#ended;
  }

  /** @param doing - for errors: what it is that failed */
  async query<T>(doing: string, query: PostgresQuery): Promise<T[]> {
    if (this.#lineLength >= MAX_IN_LINE) {
      throw new QuorateError(
        'ERR_BUSY',
        `${doing}: ${MAX_IN_LINE} calls wait for PostgreSQL to answer; come back later`,
        { retryable: true },
      );
    }
    const before = this.#line;
    let next!: () => void;
    this.#line = new Promise((resolve) => {
      next = resolve;
    });
    this.#lineLength += 1;
    try {
      await before;
      return await this.#queryNow<T>(doing, query);
    } finally {
      this.#lineLength -= 1;
      next();
    }
  }

  /**
   * What its locks live on: heartbeats, from now on.
   * @param sentMs - when a question was sent that was answered since
   */
  beat(sentMs: number): RenewedLife {
    this.#life ??= this.#newLife(sentMs);
    if (this.#ended !== undefined) this.#life.end(this.#ended.message, 'session');
    return this.#life;
  }

  /** Calls `heard` with what others send to a channel. */
  async listen(channel: string, heard: (payload: string) => void): Promise<void> {
    this.#connection.on('notification', (message) => {
      if (message.channel === channel) heard(message.payload ?? '');
    });
    await this.query('listen', { text: `listen "${channel}"` });
  }

  /** No heartbeats: it holds nothing, and is idle or waits, when none would get through. */
  rest(): void {
    const life = this.#life;
    this.#life = undefined;
    life?.end('is at rest', 'session');
  }

  /** Closes the connection: with it goes in PostgreSQL what it holds. Idempotent. */
  end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = new QuorateError('ERR_LOCK_LOST', `the connection to PostgreSQL ${why}`, {
      loss: 'session',
    });
    this.#life?.end(why, 'session');
    destroy(this.#connection);
    this.#onEnd(this);
  }

  async #queryNow<T>(doing: string, query: PostgresQuery): Promise<T[]> {
    if (this.#ended !== undefined) throw this.#gone(doing, 'not-applied');
    try {
      const { rows } = await this.#connection.query({ ...query, query_timeout: NO_TIMEOUT });
      return rows as T[];
    } catch (error) {
      if (isAnswer(error)) throw answeredError(doing, error);
      this.end(`broke: ${messageOf(error)}`);
      throw this.#gone(doing, 'unknown');
    }
  }

  #newLife(sentMs: number): RenewedLife {
    const { clock, heartbeatMs } = this.#options;
    const ttlMs = heartbeatMs * VERDICT_BEATS;
    const life: RenewedLife = new RenewedLife({
      clock,
      what: 'the connection behind it',
      ttlMs,
      sentMs,
      renew: (signal) => this.#ask(ttlMs, signal),
    });
    life.join((reason) => {
      if (this.#life === life) this.end(`was given up: ${reason.message}`);
    });
    return life;
  }

  async #ask(ttlMs: number, signal: AbortSignal): Promise<number | Gone> {
    const rows = await orAborted(this.query<{ mark: string }>('heartbeat', BEAT), signal);
    if (rows[0]?.mark === this.mark) return ttlMs;
    return { why: 'is not ours alone: a pooler gave it to others', loss: 'session' };
  }

  #gone(doing: string, outcome: Outcome): QuorateError {
    const { message } = this.#ended!;
    return new QuorateError('ERR_UNAVAILABLE', `${doing}: ${message}; it is opened anew`, {
      outcome,
      retryable: true,
      cause: this.#ended,
    });
  }
}

async function connected(pool: PostgresPool, options: SessionOptions): Promise<PostgresConnection> {
  try {
    return await inTime(options, (signal) =>
      orAborted(pool.connect(), signal, (late) => late.release()),
    );
  } catch (error) {
    throw connectError(error);
  }
}

/** Neither a pool that is used up nor a server that is silent may hold callers up for ever. */
async function inTime<T>(
  { clock, connectTimeoutMs }: SessionOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await withinTime(clock, connectTimeoutMs, undefined, (signal) =>
      orAborted(work(signal), signal),
    );
  } catch (error) {
    if (!isQuorateError(error, 'ERR_TIMEOUT')) throw error;
    throw new QuorateError(
      'ERR_TIMEOUT',
      `no connection to PostgreSQL within ${connectTimeoutMs} ms: the pool is used up (give locks one of their own), or the server is out of reach`,
      { retryable: true, cause: error },
    );
  }
}

interface Opened {
  readonly pid: number;
  readonly mark: string;
}

async function configure(
  connection: PostgresConnection,
  { owner, heartbeatMs }: SessionOptions,
): Promise<Opened> {
  const seconds = (beats: number): string => `${Math.ceil((heartbeatMs * beats) / 1000)}`;
  const settings: Readonly<Record<string, string>> = {
    application_name: owner,
    // What a pool or a role has set for queries must not end a wait, or an idle holder.
    statement_timeout: '0',
    lock_timeout: '0',
    idle_session_timeout: '0',
    tcp_keepalives_idle: seconds(VERDICT_BEATS),
    tcp_keepalives_interval: seconds(1),
    tcp_keepalives_count: '3',
    tcp_user_timeout: `${heartbeatMs * SERVER_BEATS}`,
    client_connection_check_interval: `${CHECK_WAITERS_MS}`,
  };
  const mark = systemRandom.id63().toString(36);
  const values = [Object.keys(settings), Object.values(settings), mark];
  const { rows } = await connection.query({ text: SETTINGS, values });
  const before = rows[0] as { readonly pid: number; readonly mark: string | null };
  if (before.mark !== null && before.mark !== '') throw pooled();
  return { pid: before.pid, mark };
}

/** Ends a connection for good, also one whose other end does not answer any more. */
function destroy(connection: PostgresConnection): void {
  connection.release(true);
  // After the goodbye of `release`, which nobody may be there to answer.
  (connection as Partial<WithStream>).connection?.stream?.destroySoon?.();
}

interface WithStream {
  readonly connection: { readonly stream?: { destroySoon?(): void } };
}
