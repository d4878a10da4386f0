/** The queues of names in one Redis: what the scripts do, as calls. */
import { QuorateError } from '../../core/errors.ts';
import type { Commands, Script } from './commands.ts';
import { fromWord, keyOf } from './names.ts';
import { listOf, nonsense, tokenOf, type Values } from './replies.ts';
import {
  CLAIM,
  EVICT,
  FAR,
  FULL,
  GONE,
  HOLDS,
  INSPECT,
  PROCLAIM,
  RELEASE,
  TOUCH,
} from './scripts.ts';

export interface QueueSettings {
  readonly prefix: string;
  readonly ttlMs: number;
  /** Whether grants are numbered. */
  readonly fenced: boolean;
  /** Whether changes are told to those who observe a leader. */
  readonly observed: boolean;
}

/** A claim that is asked for. Its id begins with that of its client and a dot. */
export interface Wanted {
  readonly id: string;
  readonly name: string;
  readonly permits: number;
  /** One word. */
  readonly value: string;
}

/** Where a claim stands now. */
export interface Standing {
  readonly status: 'holds' | 'waits' | 'gone';
  readonly token: bigint;
  /** Of who waits first: until somebody who holds must have been renewed. */
  readonly leftMs: number | undefined;
  /** Of who waits: its turn may come soon. */
  readonly near: boolean;
}

export interface QueueEntry {
  readonly id: string;
  readonly token: bigint;
  readonly revision: number;
  readonly value: Buffer;
  readonly leftMs: number;
  readonly waiting: boolean;
}

/** Called for each claim of this client that was served with another's call. */
export type OnServed = (id: string, token: bigint) => void;

/** Who is served by another and does not show up is gone after this. */
const FIRST_LIFE_MS = 3000;
/** For so long after the last grant numbers grow even where the server's clock is set back. */
const LEAST_KEPT_MS = 600_000;
/** The waiting of one name together, about 2,500 of them: a script reads and writes it as a whole. */
const MAX_STATE_BYTES = 256 * 1024;
/** For those who may hold without limit; more than any number of permits. */
const SHARED = 1_000_000_000;

export class Queue {
  readonly settings: QueueSettings;
  /** How long a grant lasts first that was told by a message. */
  readonly firstMs: number;
  readonly #commands: Commands;
  readonly #onServed: OnServed;
  readonly #common: readonly string[];

  constructor(commands: Commands, settings: QueueSettings, onServed: OnServed) {
    this.settings = settings;
    this.firstMs = Math.min(settings.ttlMs, FIRST_LIFE_MS);
    this.#commands = commands;
    this.#onServed = onServed;
    const keptMs = Math.max(LEAST_KEPT_MS, 3 * settings.ttlMs);
    this.#common = [this.channelOf(''), ms(keptMs)];
  }

  keyOf(name: string): string {
    return keyOf(this.settings.prefix, name);
  }

  /** Where a client is told. */
  channelOf(clientId: string): string {
    return `${this.settings.prefix}client:${clientId}`;
  }

  /** Where those who observe the leader of a name are told. */
  observersOf(name: string): string {
    return `${this.keyOf(name)}:leader`;
  }

  /** Whether `claimFree` can be used. */
  get mayClaimFree(): boolean {
    return !this.settings.fenced && this.#commands.isTrusted;
  }

  /** One command, where nobody has the name and no number is asked for. */
  async claimFree({ id, name, permits, value }: Wanted): Promise<boolean> {
    const state = `0\nH ${id} ${permitsText(permits)} 0 0 0 ${value}\n`;
    const { ttlMs } = this.settings;
    const args = ['SET', this.keyOf(name), state, 'NX', 'PX', ms(ttlMs)];
    const reply = await this.#commands.send(args);
    if (reply === 'OK') return true;
    if (reply === null) return false;
    throw nonsense(reply);
  }

  /** Holds where it can at once; else waits, or, told to `try`, leaves nothing behind (`waits`). */
  claim({ id, name, permits, value }: Wanted, mode: 'wait' | 'try'): Promise<Standing> {
    const { ttlMs, fenced } = this.settings;
    return this.#run(CLAIM, id, name, [
      mode,
      permitsText(permits),
      ms(ttlMs),
      ms(this.firstMs),
      fenced ? '1' : '0',
      value,
      `${MAX_STATE_BYTES}`,
    ]);
  }

  release(id: string, name: string): Promise<Standing> {
    return this.#run(RELEASE, id, name, []);
  }

  /** Renews it, and says where it stands. */
  touch(id: string, name: string): Promise<Standing> {
    return this.#run(TOUCH, id, name, [ms(this.settings.ttlMs)]);
  }

  proclaim(id: string, name: string, value: string): Promise<Standing> {
    return this.#run(PROCLAIM, id, name, [value]);
  }

  /** Takes the name from those who hold it. */
  async evict(clientId: string, name: string): Promise<QueueEntry[]> {
    const reply = listOf(await this.#call(EVICT, `${clientId}.`, name, []));
    const count = Number(reply[2]);
    this.#tellServed(reply.slice(3 + 3 * count));
    return Array.from({ length: count }, (_, i) => {
      const [id, token, value] = reply.slice(3 + 3 * i, 6 + 3 * i);
      return {
        id: String(id),
        token: tokenOf(token),
        revision: 0,
        value: fromWord(value),
        leftMs: 0,
        waiting: false,
      };
    });
  }

  /** Everybody in order. */
  async inspect(name: string): Promise<QueueEntry[]> {
    const reply = listOf(await this.#call(INSPECT, '-', name, []));
    return Array.from({ length: reply.length / 6 }, (_, i) => {
      const [id, token, revision, value, leftMs, waits] = reply.slice(6 * i, 6 * i + 6);
      return {
        id: String(id),
        token: tokenOf(token),
        revision: Number(revision),
        value: fromWord(value),
        leftMs: Number(leftMs),
        waiting: Number(waits) === 1,
      };
    });
  }

  async #run(code: Script, id: string, name: string, args: readonly string[]): Promise<Standing> {
    const reply = listOf(await this.#call(code, id, name, args));
    if (reply.length === 0) return DONE;
    const [status, token, leftMs] = [Number(reply[0]), reply[1], Number(reply[2])];
    this.#tellServed(reply.slice(3));
    if (status === FULL) throw full(name);
    return {
      status: status === HOLDS ? 'holds' : status === GONE ? 'gone' : 'waits',
      token: tokenOf(token),
      leftMs: leftMs >= 0 ? leftMs : undefined,
      near: leftMs !== FAR,
    };
  }

  #call(
    code: Script,
    id: string,
    name: string,
    args: readonly string[],
  ): Promise<readonly unknown[]> {
    const observers = this.settings.observed ? this.observersOf(name) : '';
    const key = this.keyOf(name);
    return this.#commands.ask(code, key, [id, ...this.#common, observers, ...args]);
  }

  #tellServed(served: Values): void {
    for (let i = 0; i + 1 < served.length; i += 2) {
      this.#onServed(String(served[i]), tokenOf(served[i + 1]));
    }
  }
}

/** Given back, and there is no more to say. */
const DONE: Standing = { status: 'holds', token: 0n, leftMs: undefined, near: true };

function full(name: string): QuorateError {
  return new QuorateError(
    'ERR_BUSY',
    `so many wait for '${name}' that Redis would be held up by its queue; try again later`,
    { retryable: true },
  );
}

function permitsText(permits: number): string {
  return `${Math.min(permits, SHARED)}`;
}

function ms(duration: number): string {
  return `${Math.max(1, Math.round(duration))}`;
}
