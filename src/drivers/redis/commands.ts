/**
 * Commands and scripts on one Redis, each within a time limit.
 *
 * node-redis (5.9 to 5.12 at least) gives replies to the wrong commands after a connection broke in the tick in
 * which something was sent. So replies of scripts name what they answer, and those of plain commands count
 * only on a connection on which a script's reply was the right one.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { systemRandom } from '../../core/random.ts';
import { type Connection, whenReady } from './clients.ts';
import { fromClient, isNoScript, nonsense } from './replies.ts';

/** A script of Redis. May be run twice with the same arguments: clients may send again what had no reply. */
export interface Script {
  readonly source: string;
  readonly sha: string;
}

/** Numbers calls: several share a connection, perhaps with another copy of this module. Below 2^53, as Lua's numbers. */
let calls = Number(systemRandom.id63() >> 12n);

export function script(source: string): Script {
  return { source, sha: createHash('sha1').update(source).digest('hex') };
}

export class Commands {
  readonly clock: Clock;
  readonly limitMs: number;
  readonly #connection: Connection;
  /** The epoch of the connection in which a reply was known to be the right one. */
  #trusted: number;

  /** @param limitMs - how long each command may take */
  constructor(connection: Connection, clock: Clock, limitMs: number) {
    this.clock = clock;
    this.limitMs = limitMs;
    this.#connection = connection;
    this.#trusted = -1;
  }

  /** Whether a reply can be taken for that to its command. */
  get isTrusted(): boolean {
    return this.#trusted === this.#connection.epoch;
  }

  /**
   * A plain command, to be used where `isTrusted`. Rejects with `ERR_TIMEOUT` or `ERR_UNAVAILABLE`, outcome
   * `unknown` once it was sent.
   */
  async send(args: readonly string[]): Promise<unknown> {
    if (!this.#connection.isReady()) await whenReady(this.#connection, this.clock, this.limitMs);
    const { epoch } = this.#connection;
    const reply = await this.#sendNow(args);
    if (epoch === this.#connection.epoch) return reply;
    throw new QuorateError(
      'ERR_UNAVAILABLE',
      `the connection to Redis was lost before it answered ${args[0]}`,
      { outcome: 'unknown', retryable: true },
    );
  }

  /**
   * One command; where the server does not know the script yet, another one with its source. What is added
   * to its arguments is a number that names the call. It must come back: alone where there is no more to say, else as the
   * first value of a list, of which the others are returned.
   */
  async ask(code: Script, key: string, args: readonly string[]): Promise<readonly unknown[]> {
    if (!this.#connection.isReady()) await whenReady(this.#connection, this.clock, this.limitMs);
    const { epoch } = this.#connection;
    const call = ++calls;
    const words = ['EVALSHA', code.sha, '1', key, ...args, `${call}`];
    let reply: unknown;
    try {
      reply = await this.#sendNow(words);
    } catch (error) {
      if (!isNoScript((error as Error).cause)) throw error;
      reply = await this.#sendNow(['EVAL', code.source, ...words.slice(2)]);
    }
    const isList = Array.isArray(reply);
    const answered: unknown = isList ? (reply as readonly unknown[])[0] : reply;
    // Clients can be told to give numbers as texts.
    if (Number(answered) !== call) {
      throw /^\d{1,16}$/.test(String(answered)) ? misdelivered() : nonsense(reply);
    }
    this.#trusted = epoch;
    return isList ? (reply as readonly unknown[]).slice(1) : NOTHING;
  }

  #sendNow(args: readonly string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(this.limitMs, () => reject(late(args[0]!, this.limitMs)));
      this.#connection.send(args).then(
        (reply) => {
          cancel();
          resolve(reply);
        },
        (error: unknown) => {
          cancel();
          reject(fromClient(error));
        },
      );
    });
  }
}

const NOTHING: readonly unknown[] = [];

function misdelivered(): QuorateError {
  return new QuorateError(
    'ERR_PROTOCOL',
    'the Redis client gave the reply to another command: open a new one (see docs/redis.md)',
    { outcome: 'unknown' },
  );
}

function late(command: string, limitMs: number): QuorateError {
  return new QuorateError(
    'ERR_TIMEOUT',
    `Redis did not answer ${command} within ${Math.round(limitMs)} ms`,
    { outcome: 'unknown', retryable: true },
  );
}
