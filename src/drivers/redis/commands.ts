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
import { fromClient, isNoScript, listOf, nonsense } from './replies.ts';

/** A script of Redis. May be run twice with the same arguments: clients may send again what had no reply. */
export interface Script {
  readonly source: string;
  readonly sha: string;
}

/** What a script replies. */
export type Values = readonly (string | number)[];

/** Names calls: several share a connection, perhaps with another copy of this module. */
const processName = systemRandom.id63().toString(36);
let calls = 0;

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
   * One command; where the server does not know the script yet, another one with its source. The last
   * argument, which is added here, must come back as the first value: it names the call.
   */
  async run(code: Script, key: string, args: readonly string[]): Promise<Values> {
    return listOf(await this.ask(code, key, args));
  }

  /** As `run`, for scripts whose values may be anything. */
  async ask(code: Script, key: string, args: readonly string[]): Promise<readonly unknown[]> {
    if (!this.#connection.isReady()) await whenReady(this.#connection, this.clock, this.limitMs);
    const { epoch } = this.#connection;
    const call = `${processName}.${++calls}`;
    const reply = await this.#evaluate(code, key, [...args, call]);
    if (!Array.isArray(reply)) throw nonsense(reply);
    const [answered, ...values] = reply as readonly unknown[];
    if (answered !== call) throw misdelivered();
    this.#trusted = epoch;
    return values;
  }

  async #evaluate(code: Script, key: string, args: readonly string[]): Promise<unknown> {
    try {
      return await this.#sendNow(['EVALSHA', code.sha, '1', key, ...args]);
    } catch (error) {
      if (!isNoScript((error as Error).cause)) throw error;
      return this.#sendNow(['EVAL', code.source, '1', key, ...args]);
    }
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
