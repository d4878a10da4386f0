/**
 * What the lock is there for: something that is written to, in one copy that looks at fencing tokens and in
 * one that does not. And the judge, who knows more than either: when each lock was asked for and had.
 *
 * What counts as wrong in the copy that looks, each by itself:
 * - a holder's write is accepted, then another's, then the first one's again;
 * - a holder's write is accepted after that of one who asked for the lock only when the former had it;
 * - two holds have one token;
 * - one who asked for the lock when another had it got a lower token than that one.
 * None of these is possible where tokens grow and are checked, whatever is paused, lost or late.
 */
import type { Hold } from './messages.ts';

export interface Counts {
  grants: number;
  writes: number;
  /** Holds that wrote to the copy that does not look after a later one had written: two worked at once. */
  overlaps: number;
  /** Writes that the token kept out of the copy that looks. */
  refused: number;
  /** What must not be, see above. */
  violations: number;
}

export interface ResourceOptions {
  /** `false`: a resource that forgot to compare. For tests of the judge. @defaultValue `true` */
  readonly checksTokens?: boolean;
}

export class Resource {
  readonly counts: Counts = { grants: 0, writes: 0, overlaps: 0, refused: 0, violations: 0 };
  /** In words. */
  readonly violations: string[] = [];
  readonly #checksTokens: boolean;
  readonly #grants: Hold[] = [];
  readonly #byToken = new Map<bigint, Hold>();
  /** Of those that wrote the one that had the lock last. */
  #newestWriter: Hold | undefined;
  readonly #overlapping = new Set<string>();
  readonly #accepted = new Set<string>();
  #lastAccepted: Hold | undefined;
  /** Of those that were accepted the one that asked last. */
  #latestAsked: Hold | undefined;
  #highest: bigint | undefined;

  constructor({ checksTokens = true }: ResourceOptions = {}) {
    this.#checksTokens = checksTokens;
  }

  granted(hold: Hold): void {
    this.counts.grants += 1;
    if (hold.token !== undefined) this.#judgeToken(hold, hold.token);
    this.#grants.push(hold);
  }

  /** In the order in which writes arrive. Returns whether the copy that looks took it. */
  write(hold: Hold): boolean {
    this.counts.writes += 1;
    this.#writeUnchecked(hold);
    if (hold.token === undefined) return true;
    const isStale = this.#highest !== undefined && hold.token < this.#highest;
    if (isStale && this.#checksTokens) {
      this.counts.refused += 1;
      return false;
    }
    if (!isStale) this.#highest = hold.token;
    this.#judgeAccepted(hold);
    return true;
  }

  #writeUnchecked(hold: Hold): void {
    const newest = this.#newestWriter;
    if (newest === undefined || newest.grantedNs < hold.grantedNs) this.#newestWriter = hold;
    else if (newest.id !== hold.id && !this.#overlapping.has(hold.id)) {
      this.#overlapping.add(hold.id);
      this.counts.overlaps += 1;
    }
  }

  #judgeAccepted(hold: Hold): void {
    const last = this.#lastAccepted;
    const later = this.#latestAsked;
    if (last !== undefined && last.id !== hold.id && this.#accepted.has(hold.id)) {
      this.#violation(`${name(hold)} wrote, then ${name(last)}, then ${name(hold)} again`);
    } else if (later !== undefined && isAfter(later, hold)) {
      this.#violation(`${name(hold)} wrote after the later ${name(later)}`);
    }
    this.#accepted.add(hold.id);
    this.#lastAccepted = hold;
    if (later === undefined || later.calledNs < hold.calledNs) this.#latestAsked = hold;
  }

  #judgeToken(hold: Hold, token: bigint): void {
    const twin = this.#byToken.get(token);
    if (twin !== undefined) this.#violation(`${name(twin)} and ${name(hold)} have one token`);
    this.#byToken.set(token, hold);
    for (const other of this.#grants) {
      if (other.token === undefined || other.token === token) continue;
      const isWrong = isAfter(hold, other)
        ? token < other.token
        : isAfter(other, hold) && other.token < token;
      if (!isWrong) continue;
      this.#violation(`the tokens of ${name(other)} and ${name(hold)} go against their order`);
      return;
    }
  }

  #violation(what: string): void {
    this.counts.violations += 1;
    if (this.violations.length < MAX_TEXTS) this.violations.push(what);
  }
}

const MAX_TEXTS = 20;

/** Whether `hold` was only asked for when `other` was had. */
const isAfter = (hold: Hold, other: Hold): boolean => hold.calledNs > other.grantedNs;

const name = ({ id, token }: Hold): string => `${id} (token ${token})`;
