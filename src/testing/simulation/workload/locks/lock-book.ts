/**
 * What the history and the holders say of every lock, held against each other as both go on.
 *
 * The chosen history knows every queue: which claims stand in it, in the order of their create revisions. It is
 * never behind what a client was told. So a grant is judged when it is heard: its key is in the history with its
 * token, or its holder may not trust it; and those before it in the queue *now* are few enough, since a queue
 * only gets shorter in front of a claim.
 */
import type { Oracle, OracleEvent } from '../../checks/oracle.ts';
import type { World } from '../../types.ts';

/** Every key of these clients begins with one of these, and says by it what it is. */
export const QUEUE = 'L-';
export const ELECTION = 'E-';
export const TXN = 'T-';
/** What a leader proclaims begins so; what a candidate says does not. */
export const PROCLAIMED = 'proclaimed ';
/** The one election. */
export const LEADER = `${ELECTION}leader`;
export const LATCH = 'C-';
export const BARRIER = 'B-';

/** What is held, as far as it matters here. */
export interface Trusted {
  readonly fencingToken: bigint;
  readonly holder: string;
  remainingMs(): number;
}

/** One grant, until its holder has given it back or may trust it no more. */
export interface Grant {
  readonly name: string;
  readonly permits: number;
  readonly claim: Trusted;
  /** Its process does nothing now, so nobody acts on it: what it would say is asked when it goes on. */
  isPaused(): boolean;
}

/** A claim of the history. */
export interface Entry {
  readonly key: string;
  readonly token: number;
  readonly permits: number;
}

interface Queue {
  /** By key, in the order in which they were created. */
  readonly entries: Map<string, Entry>;
  readonly grants: Set<Grant>;
  readonly granted: Set<bigint>;
  /** Highest token of an exclusive grant that worked. */
  highest: bigint;
  /** An operator may have taken these away. */
  readonly evictable: Set<bigint>;
  evictions: number;
  /** Their keys were deleted before it was their turn. */
  readonly displaced: Set<bigint>;
}

export class LockBook {
  readonly #world: World;
  /** For so long a holder may trust its lock longer than it should, since clocks drift. */
  readonly marginMs: number;
  readonly #queues: Map<string, Queue>;

  /** @param maxDrift - of clocks, as a part of the time */
  constructor(world: World, oracle: Oracle, maxDrift: number) {
    this.#world = world;
    this.marginMs = 2 * LockBook.MAX_TTL_MS * maxDrift + 1;
    this.#queues = new Map();
    oracle.listen({ event: (event) => this.#onEvent(event, oracle) });
  }

  /** Longest time to live of a client. */
  static readonly MAX_TTL_MS = 3000;

  granted(grant: Grant): void {
    const { name, claim, permits } = grant;
    const queue = this.#queue(name);
    const { fencingToken: token } = claim;
    if (queue.granted.has(token))
      this.#violate('lock-token', `${name}: ${token} was granted twice`);
    queue.granted.add(token);
    if (queue.displaced.has(token)) {
      this.#violate('lock-place', `${name}: ${token} was granted, and had lost its place before`);
    }
    const isTrusted = this.#trusts(grant);
    const entry = queue.entries.get(claim.holder);
    const isThere = entry !== undefined && BigInt(entry.token) === token;
    if (isThere) this.#requireTurn(name, queue, entry);
    else if (isTrusted && !queue.evictable.has(token)) {
      this.#violate(
        'lock-exclusion',
        `${name}: ${token} was granted, and its key is not in the history; it may be trusted for ${left(grant)} ms`,
      );
    }
    if (!isTrusted || !isThere) return;
    queue.grants.add(grant);
    this.#requireFew(name, queue);
    if (permits === 1 && token < queue.highest) {
      this.#violate(
        'lock-token',
        `${name}: ${token} was granted after ${queue.highest} had worked`,
      );
    }
  }

  /** A holder that believes in its claim changes what it guards. */
  worked(grant: Grant): void {
    const { name, permits, claim } = grant;
    const { fencingToken: token, holder } = claim;
    const queue = this.#queue(name);
    if (permits === 1 && token > queue.highest) queue.highest = token;
    const isThere = BigInt(queue.entries.get(holder)?.token ?? -1) === token;
    if (isThere || queue.evictable.has(token) || !this.#trusts(grant)) return;
    this.#violate(
      'lock-exclusion',
      `${name}: the holder of ${token} works, and may trust it for ${left(grant)} ms; its key is gone`,
    );
  }

  /** Given back, lost, or its process is gone. */
  ended(grant: Grant): void {
    this.#queue(grant.name).grants.delete(grant);
  }

  /** An operator takes the claims that hold away; what it returns says that the operator is done. */
  evicts(name: string): () => void {
    const queue = this.#queue(name);
    queue.evictions += 1;
    for (const { token } of queue.entries.values()) queue.evictable.add(BigInt(token));
    return () => {
      queue.evictions -= 1;
    };
  }

  /** Claims that wait, in order. */
  waiting(name: string): readonly Entry[] {
    const { entries } = this.#queue(name);
    return [...entries.values()].filter((entry) => !hasTurn(entries, entry));
  }

  /** Whether a claim of the history stands before this one. */
  isFirst(name: string, token: bigint): boolean {
    for (const { token: other } of this.#queue(name).entries.values()) {
      if (BigInt(other) < token) return false;
    }
    return true;
  }

  /** Keys that the history still has. */
  left(): readonly string[] {
    return [...this.#queues.values()].flatMap(({ entries }) => [...entries.keys()]);
  }

  #onEvent(event: OracleEvent, oracle: Oracle): void {
    const name = nameOf(event.key);
    if (name === undefined) return;
    const queue = this.#queue(name);
    if (event.type === 'put') {
      if (event.version > 1) return;
      const { key, revision: token } = event;
      if (event.value.startsWith(PROCLAIMED)) {
        this.#violate('election-proclaim', `${name}: a leader without a key made ${key} anew`);
      }
      queue.entries.set(key, { key, token, permits: permitsOf(key) });
      if (queue.evictions > 0) queue.evictable.add(BigInt(token));
      return;
    }
    const held = oracle.valueAt(event.key, event.revision - 1);
    const entry = queue.entries.get(event.key);
    if (entry !== undefined && !hasTurn(queue.entries, entry)) {
      queue.displaced.add(BigInt(entry.token));
    }
    queue.entries.delete(event.key);
    if (held !== undefined) this.#freed(name, queue, BigInt(held.createRevision));
  }

  /** From now on others may get it. */
  #freed(name: string, queue: Queue, token: bigint): void {
    for (const grant of queue.grants) {
      if (grant.claim.fencingToken !== token || grant.isPaused()) continue;
      queue.grants.delete(grant);
      if (queue.evictable.has(token)) this.#world.reach('locks-stolen');
      else if (this.#trusts(grant)) {
        this.#violate(
          'lock-exclusion',
          `${name}: the key of ${token} is gone, and its holder may trust it for ${left(grant)} ms`,
        );
      }
    }
  }

  /** First come, first served: nobody before it in the queue keeps it from holding. */
  #requireTurn(name: string, { entries }: Queue, entry: Entry): void {
    if (hasTurn(entries, entry)) return;
    const queue = [...entries.keys()].join(', ');
    this.#violate('lock-order', `${name}: ${entry.key} was granted; in the queue stand ${queue}`);
  }

  /** Those that may trust their claims are no more than the smallest number of permits among them. */
  #requireFew(name: string, { grants }: Queue): void {
    const trusted = [...grants].filter((grant) => !grant.isPaused() && this.#trusts(grant));
    const least = Math.min(...trusted.map(({ permits }) => permits));
    if (trusted.length <= least) return;
    const tokens = trusted.map(({ claim }) => claim.fencingToken).join(', ');
    this.#violate('lock-exclusion', `${name}: ${tokens} are held together, and ${least} may be`);
  }

  #trusts({ claim }: Grant): boolean {
    return claim.remainingMs() > this.marginMs;
  }

  #queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = {
        entries: new Map(),
        grants: new Set(),
        granted: new Set(),
        highest: 0n,
        evictable: new Set(),
        evictions: 0,
        displaced: new Set(),
      };
      this.#queues.set(name, queue);
    }
    return queue;
  }

  #violate(property: string, message: string): void {
    this.#world.violate(property, message);
  }
}

/** Whether those before it let it hold. */
function hasTurn(entries: ReadonlyMap<string, Entry>, entry: Entry): boolean {
  let before = 0;
  let least = entry.permits;
  for (const other of entries.values()) {
    if (other.token >= entry.token) continue;
    before += 1;
    least = Math.min(least, other.permits);
  }
  return before < least;
}

function left({ claim }: Grant): number {
  return Math.round(claim.remainingMs());
}

/** The lock that a key stands for; `undefined` for what is no lock. */
function nameOf(key: string): string | undefined {
  if (key.startsWith(TXN)) return key;
  if (key.startsWith(QUEUE) || key.startsWith(ELECTION)) return key.slice(0, key.indexOf('/'));
  return undefined;
}

/** Read from the key, as its layout says, and not by the code under test. */
function permitsOf(key: string): number {
  const at = key.lastIndexOf('~');
  if (at < 0) return 1;
  const permits = key.slice(at + 1);
  return permits === 'shared' ? Number.POSITIVE_INFINITY : Number(permits);
}
