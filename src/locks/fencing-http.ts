/**
 * Fencing over HTTP: the token travels in a header, and the server keeps the highest that it has seen of each
 * resource.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import { parseToken, staleToken, type TokenSource, tokenOf } from './fencing.ts';
import { localLocks } from './local.ts';
import type { Locks } from './locks.ts';
import { requireBytes } from './names.ts';

/** The header that carries a token, as decimal digits. */
export const FENCING_TOKEN_HEADER = 'fencing-token';

/**
 * The header of a request under a lock, for `fetch` and `http.request`.
 *
 * @example
 * ```ts
 * await fetch(url, { method: 'PUT', body, headers: { ...fencingHeaders(lock) }, signal: lock.lost });
 * ```
 * @throws `ERR_INVALID_ARGUMENT` where there is no token
 */
export function fencingHeaders(token: TokenSource): Record<string, string> {
  return { [FENCING_TOKEN_HEADER]: tokenOf(token).toString() };
}

/** Headers as `node:http` and as `fetch` have them. */
export type HeadersLike =
  | { get(name: string): string | null }
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/** The token of a request. @throws `ERR_INVALID_ARGUMENT` (answer 400) where it has none, or what is no number */
export function fencingTokenFrom(headers: HeadersLike): bigint {
  const given =
    typeof headers.get === 'function'
      ? headers.get(FENCING_TOKEN_HEADER)
      : (headers as Readonly<Record<string, unknown>>)[FENCING_TOKEN_HEADER];
  if (typeof given === 'string') return parseToken(given);
  throw invalid(`the header ${FENCING_TOKEN_HEADER} is needed once: the fencingToken of your lock`);
}

/** Where the highest token of each resource is kept. */
export interface HighestTokens {
  /**
   * Keeps the higher of `token` and what it has for the resource, in one step, and returns that. Where several
   * processes serve a resource they share one of these.
   */
  raise(resource: string, token: bigint): bigint | Promise<bigint>;
}

/** How the highest tokens are kept in memory. */
export interface MemoryTokensOptions {
  /** `ERR_BUSY` for one more, until one is old enough to be forgotten. @defaultValue 100,000 */
  readonly maxResources?: number;
  /**
   * How long a resource is remembered after its last write. A holder that was stopped for longer is not
   * refused any more. @defaultValue `'1d'`
   */
  readonly keep?: Duration;
  /** @defaultValue the system's */
  readonly clock?: Clock;
}

/** Keeps the highest tokens in this process: with it they are gone. */
export function memoryTokens(options: MemoryTokensOptions = {}): HighestTokens {
  return new MemoryTokens(options);
}

class MemoryTokens implements HighestTokens {
  readonly #max: number;
  readonly #keepMs: number;
  readonly #clock: Clock;
  /** In the order of the last write. */
  readonly #highest: Map<string, { token: bigint; atMs: number }>;

  constructor({ maxResources = 100_000, keep = '1d', clock = systemClock }: MemoryTokensOptions) {
    this.#max = wholeNumber('maxResources', maxResources, 1);
    this.#keepMs = durationMs(keep, 'keep');
    this.#clock = clock;
    this.#highest = new Map();
  }

  raise(resource: string, token: bigint): bigint {
    const atMs = this.#clock.now();
    this.#forget(atMs);
    const entry = this.#highest.get(resource) ?? { token, atMs };
    if (token > entry.token) entry.token = token;
    entry.atMs = atMs;
    if (!this.#highest.delete(resource) && this.#highest.size >= this.#max) {
      throw new QuorateError(
        'ERR_BUSY',
        `the tokens of ${this.#max} resources are kept, and one that is forgotten is not safe: raise maxResources, or bring a store`,
        { retryable: true },
      );
    }
    this.#highest.set(resource, entry);
    return entry.token;
  }

  #forget(nowMs: number): void {
    for (const [resource, { atMs }] of this.#highest) {
      if (nowMs - atMs < this.#keepMs) return;
      this.#highest.delete(resource);
    }
  }
}

/** Refuses tokens lower than the highest it has seen of a resource. */
export interface TokenFence {
  /**
   * Lets an equal or higher token pass. What you do after it is a step of its own: where another request can
   * come between, take `run`.
   *
   * @throws `ERR_LOCK_LOST` (answer 412): of an earlier holder
   */
  check(resource: string, token: TokenSource): Promise<void>;
  /** Runs `work` after the check, and no other `work` of this resource and this fence meanwhile. */
  run<T>(resource: string, token: TokenSource, work: () => Promise<T> | T): Promise<T>;
}

/**
 * The server's side: one for each kind of resource, for as long as the server runs.
 *
 * @param tokens - where the highest tokens are kept. `memoryTokens()` unless given: a server that starts again
 * has forgotten them, and another server knows nothing of them
 * @example
 * ```ts
 * const fence = tokenFence();
 * createServer(async (request, response) => {
 *   await fence.run(request.url, fencingTokenFrom(request.headers), () => write(request));
 * });
 * ```
 */
export function tokenFence(tokens: HighestTokens = memoryTokens()): TokenFence {
  return new Fence(tokens);
}

class Fence implements TokenFence {
  readonly #tokens: HighestTokens;
  readonly #queues: Locks<'monotonic'>;

  constructor(tokens: HighestTokens) {
    this.#tokens = tokens;
    this.#queues = localLocks();
  }

  async check(resource: string, source: TokenSource): Promise<void> {
    requireBytes(resource);
    const token = tokenOf(source);
    const highest = await this.#tokens.raise(resource, token);
    if (highest > token) throw staleToken(resource, token, highest);
  }

  run<T>(resource: string, token: TokenSource, work: () => Promise<T> | T): Promise<T> {
    return this.#queues.run(resource, async () => {
      await this.check(resource, token);
      return await work();
    });
  }
}
