/**
 * Proposals on their way: waiting for a leader, appended and waiting for their entry to be applied,
 * or forwarded to the leader and waiting for the place it gave them.
 *
 * A proposal is known by the index and term its entry got. When another entry is applied at that
 * index, it is certain that the proposal never will be: it may be proposed again, and is.
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { Fifo } from '../../core/fifo.ts';

/** One proposal and its proposer. */
export interface Proposal<Result> {
  readonly data: Uint8Array;
  readonly deadline: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
  /** `sent`: in the log or at the leader: it may be applied at any time. */
  state: 'waiting' | 'sent' | 'settled';
  index: number;
  term: number;
}

/** What was applied while forwarded proposals had no answer yet: their entry may come before it. */
const MAX_RECENT = 65_536;

export class Proposals<Result> {
  /** Not in any log yet, oldest first. */
  #waiting: Proposal<Result>[] = [];
  #waitingBytes = 0;
  /** By the index their entry has. */
  readonly #placed = new Map<number, Proposal<Result>>();
  /** All unsettled ones in the order they came, which is the order of their deadlines. */
  readonly #byDeadline = new Fifo<Proposal<Result>>();
  /** Newest entry that the state machine holds. */
  #appliedIndex: number;
  /** Calls to the leader that have not been answered. */
  #forwards = 0;
  readonly #recent = new Map<number, { term: number; result: Result | undefined }>();

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

  /** Takes in a new proposal. */
  add(data: Uint8Array, deadline: number): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const proposal: Proposal<Result> = {
        data,
        deadline,
        resolve,
        reject,
        state: 'waiting',
        index: 0,
        term: 0,
      };
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
      this.#waitingBytes += proposal.data.length;
      kept.push(proposal);
    }
    this.#waiting = kept.length === 0 ? this.#waiting : kept.concat(this.#waiting);
  }

  /** `proposal` became the entry at `index` of `term`. */
  place(proposal: Proposal<Result>, index: number, term: number): void {
    if (proposal.state === 'settled') return;
    proposal.state = 'sent';
    proposal.index = index;
    proposal.term = term;
    if (index > this.#appliedIndex) {
      const before = this.#placed.get(index);
      // An older term's proposal at this index was cut off the log.
      if (before !== undefined && before.term < term) this.putBack([before]);
      this.#placed.set(index, proposal);
      return;
    }
    const recent = this.#recent.get(index);
    if (recent === undefined) this.#settleUnknown(proposal);
    else if (recent.term === term) this.#settle(proposal, recent.result);
    else this.putBack([proposal]);
  }

  forwardBegan(): void {
    this.#forwards += 1;
  }

  forwardEnded(): void {
    this.#forwards -= 1;
    assert(this.#forwards >= 0, 'a forward ended that never began');
    if (this.#forwards === 0) this.#recent.clear();
  }

  /** The entry at `index` was applied: its proposer gets the result, if it is ours. */
  applied(index: number, term: number, result: Result | undefined): void {
    this.#appliedIndex = index;
    const proposal = this.#placed.get(index);
    if (proposal !== undefined) {
      this.#placed.delete(index);
      if (proposal.term === term) this.#settle(proposal, result);
      else this.putBack([proposal]);
    } else if (this.#forwards > 0) {
      if (this.#recent.size >= MAX_RECENT) this.#recent.clear();
      this.#recent.set(index, { term, result });
    }
  }

  /** A snapshot replaced the entries up to `index`: what became of ours cannot be known. */
  skippedTo(index: number): void {
    this.#appliedIndex = index;
    for (const [at, proposal] of this.#placed) {
      if (at > index) continue;
      this.#placed.delete(at);
      this.#settleUnknown(proposal);
    }
  }

  /** Rejects what is past its deadline; `noLeader` says why what still waits was not sent. */
  expire(now: number, noLeader: boolean): void {
    for (;;) {
      const oldest = this.#byDeadline.peek();
      if (oldest === undefined || (oldest.state !== 'settled' && oldest.deadline > now)) break;
      this.#byDeadline.shift();
      if (oldest.state === 'waiting') {
        this.#drop(oldest);
        this.rejectUnsent(oldest, noLeader);
      } else if (oldest.state === 'sent') {
        if (this.#placed.get(oldest.index) === oldest) this.#placed.delete(oldest.index);
        this.#settleUnknown(oldest);
      }
    }
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

  #drop(proposal: Proposal<Result>): void {
    const at = this.#waiting.indexOf(proposal);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    this.#waitingBytes -= proposal.data.length;
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
