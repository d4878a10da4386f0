/** Limiters of many processes on one Redis: each question is one command, a script that goes by the time of the server. */
import {
  type Ask,
  KEY_NAMES,
  type LimitStore,
  type StoreRules,
  type Taken,
} from '../../resilience/cluster/limit-store.ts';
import {
  type ClusterLimiterOptions,
  DEFAULT_PREFIX,
  settingsOf,
} from '../../resilience/cluster/options.ts';
import { limiterOver } from '../../resilience/cluster/store-limiter.ts';
import type { ClusterLimiter, Usage } from '../../resilience/limiter.ts';
import { connectionOf, type RedisClient } from './clients.ts';
import { Commands } from './commands.ts';
import { FORGET, SCRIPTS } from './limiter-scripts.ts';
import { keyOf, prefixOf } from './names.ts';
import { nonsense } from './replies.ts';

/** How limits on one Redis behave. */
export interface RedisLimiterOptions extends ClusterLimiterOptions {}

/** Rounded against the caller, as `limit-algorithm.ts` does. */
const SLOWER_US = 2 ** -8;
const SLOWER = 1 + 2 ** -48;
const SLACK_US = 2 ** -9;
const SLACK = 1 + 2 ** -50;
/** Longer than anything may wait, in microseconds. */
const FOR_EVER_US = 2 ** 52;

/**
 * A limiter of all processes that share a Redis and a prefix, over a client that you made and connected: of the package `redis`
 * (node-redis) or of `ioredis`. `close` leaves your client open.
 *
 * Exact by the clock of the server, in every interval, as long as Redis forgets nothing: see docs/cluster-limits.md.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is no such client or option, `ERR_UNSUPPORTED` for a cluster.
 * @example
 * ```ts
 * const limiter = redisLimiter(client, { rate: '100/s', burst: 20 });
 * const { ok, retryAfterMs } = await limiter.allow(tenant);
 * ```
 */
export function redisLimiter(client: RedisClient, options: RedisLimiterOptions): ClusterLimiter {
  const settings = settingsOf(options, '250ms');
  const { clock, timeoutMs } = settings;
  const prefix = prefixOf(options.prefix, DEFAULT_PREFIX);
  const commands = new Commands(connectionOf(client), clock, timeoutMs);
  return limiterOver(new RedisStore(commands, prefix), settings);
}

/** What the server's reply to a question holds: texts, as numbers would lose their fractions. */
type Reply = readonly unknown[];

/** How to give it back. */
interface Receipt {
  readonly words: readonly string[];
}

export class RedisStore implements LimitStore {
  readonly #commands: Pick<Commands, 'ask'>;
  readonly #prefix: string;
  /** Those that were asked by last, as a script takes them. */
  #rules: StoreRules | undefined;
  #words: readonly string[];

  constructor(commands: Pick<Commands, 'ask'>, prefix: string) {
    this.#commands = commands;
    this.#prefix = prefix;
    this.#rules = undefined;
    this.#words = [];
  }

  async take(rules: StoreRules, key: string, ask: Ask): Promise<Taken> {
    const longest = Math.min(FOR_EVER_US, Math.floor(ask.maxWaitMs * 1000));
    const words = [`${ask.cost}`, `${ask.most}`, `${longest}`];
    const reply = await this.#ask(rules, key, ['take', ...this.#wordsOf(rules), ...words]);
    const delayMs = numberOf(reply[1]) / 1000;
    return { amount: numberOf(reply[0]), delayMs, receipt: receiptOf(rules, reply) };
  }

  async undo(rules: StoreRules, key: string, receipt: unknown): Promise<boolean> {
    const [answer] = await this.#ask(rules, key, ['undo', ...(receipt as Receipt).words]);
    return numberOf(answer) === 1;
  }

  async usage(rules: StoreRules, key: string): Promise<Usage> {
    const words = ['usage', ...this.#wordsOf(rules), '1', '1', '0'];
    const [remaining, resetUs] = await this.#ask(rules, key, words);
    const { limit } = rules;
    return { limit, remaining: numberOf(remaining), resetMs: numberOf(resetUs) / 1000 };
  }

  async forget(rules: StoreRules, key: string): Promise<void> {
    await this.#commands.ask(FORGET, this.#keyOf(rules, key), []);
  }

  #ask(rules: StoreRules, key: string, words: readonly string[]): Promise<Reply> {
    return this.#commands.ask(SCRIPTS[rules.kind], this.#keyOf(rules, key), words);
  }

  /** To write fractions as text takes longer than all the rest. */
  #wordsOf(rules: StoreRules): readonly string[] {
    if (this.#rules !== rules) {
      this.#rules = rules;
      this.#words = wordsOf(rules);
    }
    return this.#words;
  }

  #keyOf({ kind }: StoreRules, key: string): string {
    return keyOf(`${this.#prefix}${KEY_NAMES[kind]}:`, key);
  }
}

/** The rate as a script takes it. */
function wordsOf({ kind, limit, perPeriod, periodUs }: StoreRules): readonly string[] {
  if (kind !== 'token-bucket') return [`${limit}`, `${periodUs}`, '0'];
  const interval = (periodUs / perPeriod) * SLOWER + SLOWER_US;
  return [`${limit}`, `${interval}`, `${limit * interval * SLACK + SLACK_US}`];
}

function receiptOf({ kind, limit }: StoreRules, reply: Reply): Receipt | undefined {
  if (reply.length === 2) return undefined;
  const values = reply.slice(2).map(String);
  return { words: kind === 'sliding-window' ? [`${limit}`, ...values] : values };
}

function numberOf(value: unknown): number {
  const number =
    typeof value === 'string' || typeof value === 'number' ? Number(value) : Number.NaN;
  if (Number.isFinite(number)) return number;
  throw nonsense(value);
}
