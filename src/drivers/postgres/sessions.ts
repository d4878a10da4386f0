/**
 * The connections of one `Locks`: the hub, which does all that does not wait and holds what it gets, and
 * further ones, each of which waits for one lock and then holds it. They are opened when first needed.
 */
import type { Cancel } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { PostgresPool } from './client.ts';
import { Session, type SessionOptions } from './session.ts';

export interface SessionsOptions extends SessionOptions {
  readonly maxConnections: number;
  /** Runs on every new hub. */
  readonly prepare: (hub: Session) => Promise<void>;
}

/** A connection that nobody needed for this long goes back. */
const IDLE_MS = 10_000;

export class Sessions {
  readonly #pool: PostgresPool;
  readonly #options: SessionsOptions;
  readonly #open: Set<Session>;
  /** Further ones that hold nothing and wait for nothing, with what gives them back. */
  readonly #idle: Map<Session, Cancel>;
  /** Further ones, and those that are being opened. */
  #furtherCount: number;
  #hub: Session | undefined;
  #openingHub: Promise<Session> | undefined;
  readonly #opening: Set<Promise<unknown>>;
  #closed: boolean;

  constructor(pool: PostgresPool, options: SessionsOptions) {
    this.#pool = pool;
    this.#options = options;
    this.#open = new Set();
    this.#idle = new Map();
    this.#furtherCount = 0;
    this.#hub = undefined;
    this.#openingHub = undefined;
    this.#opening = new Set();
    this.#closed = false;
  }

  /** The hub, also while these are being closed, when no new one is opened. */
  async hubUntilClosed(): Promise<Session | undefined> {
    return this.#closed ? this.#hub : this.hub();
  }

  /** All that are open. */
  get all(): readonly Session[] {
    return [...this.#open];
  }

  async hub(): Promise<Session> {
    this.#assertOpen();
    if (this.#hub !== undefined) return this.#hub;
    this.#openingHub ??= this.#openHub();
    return this.#openingHub;
  }

  /** One that holds nothing. @throws ERR_BUSY where all that there may be are taken */
  async further(): Promise<Session> {
    this.#assertOpen();
    for (const [session, cancel] of this.#idle) {
      cancel();
      this.#idle.delete(session);
      return session;
    }
    const most = this.#options.maxConnections - 1;
    if (this.#furtherCount >= most) {
      throw new QuorateError(
        'ERR_BUSY',
        `all ${most + 1} connections hold locks or wait for some; raise maxConnections, or come back later`,
        { retryable: true },
      );
    }
    this.#furtherCount += 1;
    try {
      return await this.#tracked(this.#openOne(() => this.#furtherCount--));
    } catch (error) {
      this.#furtherCount -= 1;
      throw error;
    }
  }

  /** It holds nothing any more and waits for nothing. */
  giveBack(session: Session): void {
    if (session === this.#hub || session.ended !== undefined) return;
    session.rest();
    const end = (): void => session.end('was not needed any more');
    if (this.#closed) end();
    else this.#idle.set(session, this.#options.clock.after(IDLE_MS, end));
  }

  /** No more are opened, and those that are being opened have been. */
  async stopOpening(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#opening);
  }

  endAll(): void {
    for (const session of [...this.#open]) session.end('was closed');
  }

  #openHub(): Promise<Session> {
    const opening = this.#openOne(() => {
      this.#hub = undefined;
    }).then(async (hub) => {
      const sentMs = this.#options.clock.now();
      await this.#options.prepare(hub).catch((error: unknown) => {
        hub.end('was not of use');
        throw error;
      });
      hub.beat(sentMs);
      this.#hub = hub;
      return hub;
    });
    return this.#tracked(opening).finally(() => {
      this.#openingHub = undefined;
    });
  }

  async #openOne(onEnd: () => void): Promise<Session> {
    const session = await Session.open(this.#pool, this.#options, (ended) => {
      this.#open.delete(ended);
      this.#idle.get(ended)?.();
      this.#idle.delete(ended);
      onEnd();
    });
    this.#open.add(session);
    return session;
  }

  #tracked<T>(opening: Promise<T>): Promise<T> {
    this.#opening.add(opening);
    const done = (): void => void this.#opening.delete(opening);
    opening.then(done, done);
    return opening;
  }

  #assertOpen(): void {
    if (this.#closed) throw new QuorateError('ERR_CLOSED', 'these locks were closed');
  }
}
