/** Commands and scripts on one Redis, each within a time limit. */
import { createHash } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { type Connection, whenReady } from './clients.ts';
import { fromClient, isNoScript } from './replies.ts';

/** A script of Redis. May be run twice with the same arguments: clients may send again what had no reply. */
export interface Script {
  readonly source: string;
  readonly sha: string;
}

export function script(source: string): Script {
  return { source, sha: createHash('sha1').update(source).digest('hex') };
}

export class Commands {
  readonly clock: Clock;
  readonly limitMs: number;
  readonly #connection: Connection;

  /** @param limitMs - how long each command may take */
  constructor(connection: Connection, clock: Clock, limitMs: number) {
    this.clock = clock;
    this.limitMs = limitMs;
    this.#connection = connection;
  }

  /** Rejects with `ERR_TIMEOUT` or `ERR_UNAVAILABLE`, outcome `unknown` once it was sent. */
  async send(args: readonly string[]): Promise<unknown> {
    if (!this.#connection.isReady()) await whenReady(this.#connection, this.clock, this.limitMs);
    return this.#sendNow(args);
  }

  /** One command; where the server does not know the script yet, another one with its source. */
  async run(code: Script, key: string, args: readonly string[]): Promise<unknown> {
    if (!this.#connection.isReady()) await whenReady(this.#connection, this.clock, this.limitMs);
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

function late(command: string, limitMs: number): QuorateError {
  return new QuorateError(
    'ERR_TIMEOUT',
    `Redis did not answer ${command} within ${Math.round(limitMs)} ms`,
    { outcome: 'unknown', retryable: true },
  );
}
