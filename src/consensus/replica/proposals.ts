/**
 * Proposals on their way: waiting for a leader, appended and waiting for their entry to be applied,
 * or forwarded to the leader and waiting for the place it gave them.
 *
 * A proposal is known by the index and term its entry got. When another entry is applied at that
 * index, or one of a newer term before it, it is certain that the proposal never will be: it may be
 * proposed again, and is. Nothing less will do: an entry that a newer leader wrote over may still be
 * in some log, and that log may win (Raft figure 8).
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { Fifo } from '../../core/fifo.ts';
import { notLeading } from './errors.ts';

/** One proposal and its proposer. */
export interface Proposal<Result> {
  readonly data: Uint8Array;
  readonly deadline: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
  /** `sent`: in the log or at the leader: it may be applied at any time. */
  state: 'waiting' | 'sent' | 'settled';
  /** May enter the log only while this node leads this term; 0: whoever leads. */
  readonly onlyInTerm: number;
  index: number;
  term: number;
  /** Another one that got the same index in another term. Not before that index is applied is it known which was cut off. */
  rival: Proposal<Result> | undefined;
}

/** A call to the leader that is under way. */
export interface Forward {
  /** What was applied up to here can be none of its proposals. */
  readonly appliedBefore: number;
}

/** Most entries kept of those applied while forwarded proposals have no answer yet; the oldest go. */
const MAX_RECENT = 65_536;

export class Proposals<Result> {
  /** Not in any log yet, oldest first. */
  #waiting: Proposal<Result>[] = [];
  #waitingBytes = 0;
  /** Whether one of `#waiting` may be bound to a term. */
  #hasBound = false;
  /** By the index their entry has. */
  readonly #placed = new Map<number, Proposal<Result>>();
  /** All unsettled ones in the order they came, which is the order of their deadlines. */
  readonly #byDeadline = new Fifo<Proposal<Result>>();
  /** Newest entry that the state machine holds. */
  #appliedIndex: number;
  #appliedTerm = 0;
  /** Calls to the leader that have not been answered, oldest first. */
  readonly #forwards = new Set<Forward>();
  /** What was applied since the oldest of them began: their entry may come before their answer. */
  readonly #recent = new Map<number, { term: number; result: Result | undefined }>();
  /** `#recent` holds nothing before this. */
  #recentFrom = 0;

  constructor(appliedIndex: number) {
    this.#appliedIndex = appliedIndex;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get unsettled(): number {
    return this.#waiting.length + this.#placed.size;
  }

  /** Takes in a new proposal; `onlyInTerm` binds it to our own leadership of that term. */
  add(data: Uint8Array, deadline: number, onlyInTerm = 0): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const proposal: Proposal<Result> = {
        data,
        deadline,
        resolve,
        reject,
        state: 'waiting',
        onlyInTerm,
        index: 0,
        term: 0,
        rival: undefined,
      };
      if (onlyInTerm > 0) this.#hasBound = true;
      this.#byDeadline.push(proposal);
      this.#waiting.push(proposal);
      this.#waitingBytes += data.length;
    });
  }

  /** Removes all waiting ones, to be placed, forwarded or put back. */
  takeWaiting(): Proposal<Result>[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return taken;
  }

  /** What could not be sent keeps its place before younger ones. */
  putBack(proposals: readonly Proposal<Result>[]): void {
    const kept: Proposal<Result>[] = [];
    for (const proposal of proposals) {
      if (proposal.state === 'settled') continue;
      proposal.state = 'waiting';
      if (proposal.onlyInTerm > 0) this.#hasBound = true;
      this.#waitingBytes += proposal.data.length;
      kept.push(proposal);
    }
    this.#waiting = kept.length === 0 ? this.#waiting : kept.concat(this.#waiting);
  }

  /** Rejects those that wait and are bound to another term than the one this node leads (0: none). */
  refuseBound(leadsTerm: number): void {
    if (!this.#hasBound) return;
    this.#hasBound = false;
    for (const proposal of this.#waiting) {
      if (proposal.onlyInTerm === 0) continue;
      if (proposal.onlyInTerm === leadsTerm) this.#hasBound = true;
      else this.reject(proposal, notLeading());
    }
    this.#sweepWaiting();
  }

  /** `proposal` became the entry at `index` of `term`; `forward` is the call that said so. */
  place(proposal: Proposal<Result>, index: number, term: number, forward?: Forward): void {
    if (proposal.state === 'settled') return;
    proposal.state = 'sent';
    proposal.index = index;
    proposal.term = term;
    if (index > this.#appliedIndex) {
      if (term < this.#appliedTerm) this.putBack([proposal]);
      else {
        proposal.rival = this.#placed.get(index);
        this.#placed.set(index, proposal);
      }
      return;
    }
    const recent = this.#recent.get(index);
    if (recent !== undefined) this.#decide(proposal, recent.term, recent.result);
    else if (forward !== undefined && index <= forward.appliedBefore) this.putBack([proposal]);
    else this.#settleUnknown(proposal);
  }

  forwardBegan(): Forward {
    const forward = { appliedBefore: this.#appliedIndex };
    this.#forwards.add(forward);
    return forward;
  }

  forwardEnded(forward: Forward): void {
    assert(this.#forwards.delete(forward), 'a forward ended that never began');
    const oldest = this.#forwards.values().next().value;
    if (oldest === undefined) this.#recent.clear();
    else this.#forgetTo(oldest.appliedBefore);
  }

  /** The entry at `index` was applied: its proposer gets the result, if it is ours. */
  applied(index: number, term: number, result: Result | undefined): void {
    this.#appliedIndex = index;
    if (term > this.#appliedTerm) this.#enterTerm(term);
    if (this.#forwards.size > 0) {
      if (this.#recent.size === 0) this.#recentFrom = index;
      else if (this.#recent.size >= MAX_RECENT) this.#forgetTo(this.#recentFrom);
      this.#recent.set(index, { term, result });
    }
    const proposal = this.#placed.get(index);
    if (proposal === undefined) return;
    this.#placed.delete(index);
    for (const each of withRivals(proposal)) this.#decide(each, term, result);
  }

  /** A snapshot replaced the entries up to `index`, of `term`: what became of ours cannot be known. */
  skippedTo(index: number, term: number): void {
    this.#appliedIndex = index;
    this.#recent.clear();
    for (const [at, proposal] of this.#placed) {
      if (at > index) continue;
      this.#placed.delete(at);
      for (const each of withRivals(proposal)) this.#settleUnknown(each);
    }
    if (term > this.#appliedTerm) this.#enterTerm(term);
  }

  /** Terms never fall along the log: what older terms placed further on will never be applied. */
  #enterTerm(term: number): void {
    this.#appliedTerm = term;
    const lost: Proposal<Result>[] = [];
    for (const [index, proposal] of this.#placed) {
      if (index <= this.#appliedIndex) continue;
      const all = withRivals(proposal);
      const kept = all.filter((each) => each.term >= term);
      if (kept.length === all.length) continue;
      this.#placeAll(index, kept);
      lost.push(...all.filter((each) => each.term < term));
    }
    this.putBack(lost.sort((a, b) => a.index - b.index));
  }

  /** Makes `proposals` the ones at `index`. */
  #placeAll(index: number, proposals: readonly Proposal<Result>[]): void {
    let head: Proposal<Result> | undefined;
    for (const proposal of proposals) {
      proposal.rival = head;
      head = proposal;
    }
    if (head === undefined) this.#placed.delete(index);
    else this.#placed.set(index, head);
  }

  /** The entry at the index of `proposal` turned out to be of `term`. */
  #decide(proposal: Proposal<Result>, term: number, result: Result | undefined): void {
    if (proposal.term === term) this.#settle(proposal, result);
    else this.putBack([proposal]);
  }

  #forgetTo(index: number): void {
    for (; this.#recentFrom <= index && this.#recent.size > 0; this.#recentFrom++) {
      this.#recent.delete(this.#recentFrom);
    }
  }

  /** Rejects what is past its deadline; `noLeader` says why what still waits was not sent. */
  expire(now: number, noLeader: boolean): void {
    let dropped = false;
    for (;;) {
      const oldest = this.#byDeadline.peek();
      if (oldest === undefined || (oldest.state !== 'settled' && oldest.deadline > now)) break;
      this.#byDeadline.shift();
      if (oldest.state === 'waiting') {
        dropped = true;
        this.rejectUnsent(oldest, noLeader);
      } else if (oldest.state === 'sent') {
        const all = withRivals(this.#placed.get(oldest.index));
        const kept = all.filter((each) => each !== oldest);
        if (kept.length < all.length) this.#placeAll(oldest.index, kept);
        this.#settleUnknown(oldest);
      }
    }
    // Once for all: many run out together, and each removal would move all the others.
    if (dropped) this.#sweepWaiting();
  }

  rejectUnsent(proposal: Proposal<Result>, noLeader: boolean): void {
    this.reject(
      proposal,
      noLeader
        ? new QuorateError(
            'ERR_NO_LEADER',
            'the cluster has had no leader for the whole request timeout; a majority of its members must be up and reach each other',
            { retryable: true },
          )
        : new QuorateError(
            'ERR_BUSY',
            'too many requests: the node is overloaded, try again later',
            {
              retryable: true,
            },
          ),
    );
  }

  reject(proposal: Proposal<Result>, error: Error): void {
    if (proposal.state === 'settled') return;
    proposal.state = 'settled';
    proposal.reject(error);
  }

  /** The node stops: nothing more will be answered. */
  rejectAll(why: (sent: boolean) => Error): void {
    for (let next = this.#byDeadline.shift(); next !== undefined; next = this.#byDeadline.shift()) {
      this.reject(next, why(next.state === 'sent'));
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#placed.clear();
    this.#recent.clear();
  }

  /** Takes the settled ones out of those that wait. */
  #sweepWaiting(): void {
    this.#waiting = this.#waiting.filter((proposal) => {
      if (proposal.state !== 'settled') return true;
      this.#waitingBytes -= proposal.data.length;
      return false;
    });
  }

  #settle(proposal: Proposal<Result>, result: Result | undefined): void {
    if (proposal.state === 'settled') return;
    proposal.state = 'settled';
    proposal.resolve(result as Result);
  }

  #settleUnknown(proposal: Proposal<Result>): void {
    this.reject(
      proposal,
      new QuorateError(
        'ERR_TIMEOUT',
        'the request timed out after it was handed to the log: it may have been applied, or may still be; read back before trying again',
        { outcome: 'unknown' },
      ),
    );
  }
}

function withRivals<Result>(proposal: Proposal<Result> | undefined): Proposal<Result>[] {
  const all: Proposal<Result>[] = [];
  for (let each = proposal; each !== undefined; each = each.rival) all.push(each);
  return all;
}
