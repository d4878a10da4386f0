/** One lock on several independent masters: what is asked of all of them, and what a majority says. */
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Connection } from './clients.ts';
import { Commands, type Script, script } from './commands.ts';
import { keyOf } from './names.ts';

/**
 * KEYS: the name's; ARGV: what is there of this grant, its life in milliseconds, and what names the call and
 * comes back first. Then replies whether it was done.
 */
const TAKE = script(`
local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return { tonumber(ARGV[#ARGV]), taken and 1 or 0 }
`);
const RELEASE = script(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return { tonumber(ARGV[#ARGV]), 1 }
`);
/** Nothing is taken anew: that it was gone is to be noticed. */
const EXTEND = script(`
local mine = redis.call('GET', KEYS[1]) == ARGV[1]
return { tonumber(ARGV[#ARGV]), mine and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0 }
`);
/** What is there. */
const LOOK = script(`
local there = redis.call('GET', KEYS[1])
return { tonumber(ARGV[#ARGV]), there and 1 or 0, there or '' }
`);

/** What the nodes said by the time it was decided. */
export interface Vote {
  /** A majority did it. */
  readonly won: boolean;
  /** So many answered that they cannot: somebody else has it, or nobody any more. */
  readonly refused: number;
  readonly errors: readonly unknown[];
}

/** A request to all nodes. */
export interface Poll {
  /** As soon as a majority did it, or none can any more. */
  readonly decided: Promise<Vote>;
  /** Of each node. */
  readonly answers: readonly Promise<boolean>[];
}

export class RedlockNodes {
  readonly count: number;
  readonly quorum: number;
  readonly #nodes: readonly Commands[];
  readonly #prefix: string;
  readonly #ttlMs: number;

  constructor(
    connections: readonly Connection[],
    clock: Clock,
    options: { readonly prefix: string; readonly ttlMs: number; readonly nodeTimeoutMs: number },
  ) {
    const { prefix, ttlMs, nodeTimeoutMs } = options;
    this.#nodes = connections.map((connection) => new Commands(connection, clock, nodeTimeoutMs));
    this.count = connections.length;
    this.quorum = (connections.length >> 1) + 1;
    this.#prefix = prefix;
    this.#ttlMs = Math.round(ttlMs);
  }

  /** Puts `grant` where there is nothing. */
  take(name: string, grant: string): Poll {
    return this.#poll(TAKE, name, [grant, `${this.#ttlMs}`]);
  }

  extend(name: string, grant: string): Poll {
    return this.#poll(EXTEND, name, [grant, `${this.#ttlMs}`]);
  }

  release(name: string, grant: string): Poll {
    return this.#poll(RELEASE, name, [grant]);
  }

  /** The same on one of them; rejects where it did not confirm. */
  async releaseOn(node: number, name: string, grant: string): Promise<void> {
    await this.#run(this.#nodes[node]!, RELEASE, name, [grant]);
  }

  /** The grant that a majority has. */
  async grantOf(name: string): Promise<string | undefined> {
    const asked = this.#nodes.map((node) => this.#run(node, LOOK, name, []));
    const replies = await Promise.allSettled(asked);
    const answers = replies.filter((reply) => reply.status === 'fulfilled');
    const failures = replies.filter((reply) => reply.status === 'rejected');
    if (answers.length < this.quorum) throw tooFew(failures.map(({ reason }) => reason));
    const counts = new Map<string, number>();
    for (const { value } of answers) {
      const [there, grant] = value;
      if (Number(there) === 1) counts.set(String(grant), (counts.get(String(grant)) ?? 0) + 1);
    }
    return [...counts].find(([, count]) => count >= this.quorum)?.[0];
  }

  #poll(code: Script, name: string, args: readonly string[]): Poll {
    const answers = this.#nodes.map(
      async (node) => Number((await this.#run(node, code, name, args))[0]) === 1,
    );
    return { decided: this.#decide(answers), answers };
  }

  #run(
    node: Commands,
    code: Script,
    name: string,
    args: readonly string[],
  ): Promise<readonly unknown[]> {
    return node.ask(code, keyOf(this.#prefix, name), args);
  }

  #decide(answers: readonly Promise<boolean>[]): Promise<Vote> {
    let done = 0;
    let refused = 0;
    const errors: unknown[] = [];
    return new Promise((resolve) => {
      const count = (): void => {
        const open = answers.length - done - refused - errors.length;
        const won = done >= this.quorum;
        if (won || done + open < this.quorum) resolve({ won, refused, errors: [...errors] });
      };
      for (const answer of answers) {
        answer
          .then(
            (yes) => {
              if (yes) done += 1;
              else refused += 1;
            },
            (error: unknown) => void errors.push(error),
          )
          .then(count);
      }
    });
  }
}

/** When every node has answered or timed out: which did it, or perhaps did. */
export async function mayHaveDone(answers: readonly Promise<boolean>[]): Promise<number[]> {
  const ends = await Promise.allSettled(answers);
  return [...ends.keys()].filter((i) => {
    const end = ends[i]!;
    if (end.status === 'fulfilled') return end.value;
    return !isQuorateError(end.reason) || end.reason.outcome === 'unknown';
  });
}

/** Not enough nodes answered to know. */
export function tooFew(errors: readonly unknown[]): QuorateError {
  const mayBe = errors.some((error) => !isQuorateError(error) || error.outcome === 'unknown');
  const [first] = errors;
  const why = first instanceof Error ? `, one of them: ${first.message}` : '';
  return new QuorateError(
    'ERR_UNAVAILABLE',
    `${errors.length} of the Redis masters did not answer, so that no majority can${why}`,
    { outcome: mayBe ? 'unknown' : 'not-applied', retryable: true, cause: first },
  );
}
