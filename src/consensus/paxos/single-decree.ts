/**
 * Single-decree Paxos: several nodes choose one value, once and for ever, while any minority of them
 * is down, slow or cut off. After Lamport, "Paxos Made Simple" (2001); § numbers are that paper's.
 *
 * - *Prepare / promise* (§2.2, phase 1): a proposer asks the acceptors to ignore every older ballot and
 *   to say what they have accepted so far.
 * - *Accept / accepted* (phase 2): with the promises of a majority it asks them to accept a value: that of
 *   the newest ballot it heard of, its own only where it heard of none (P2c).
 * - *Learn* (§2.3): a value that a majority accepted in one ballot is chosen; a learner counts.
 *
 * Everything here is pure: messages in, messages out. What an acceptor has to remember is plain data:
 * make it durable *before* its reply is sent, else a crash breaks a promise. No clock either: a
 * proposer that gets no answer, or was refused, calls `prepare` again after `backOff`.
 *
 * `PaxosCore` chooses a whole log this way, one value a slot, with one prepare for all slots.
 */
import { assert } from '../../core/assert.ts';
import type { Random } from '../../core/random.ts';
import { majority } from '../raft/quorum.ts';

/** The number of an attempt: `round * nodes + node`, so no two nodes ever use the same. 0 is none. */
export type SingleBallot = number;

/** A value with the ballot in which it was accepted. */
export interface Accepted<Value> {
  readonly ballot: SingleBallot;
  readonly value: Value;
}

/** What proposers ask of acceptors. */
export type PaxosRequest<Value> =
  | { readonly kind: 'prepare'; readonly ballot: SingleBallot }
  | { readonly kind: 'accept'; readonly ballot: SingleBallot; readonly value: Value };

/**
 * What acceptors answer. `accepted` also goes to every learner. `refused` tells the ballot that was
 * promised instead.
 */
export type PaxosReply<Value> =
  | {
      readonly kind: 'promise';
      readonly ballot: SingleBallot;
      readonly accepted: Accepted<Value> | undefined;
    }
  | { readonly kind: 'accepted'; readonly ballot: SingleBallot; readonly value: Value }
  | { readonly kind: 'refused'; readonly ballot: SingleBallot; readonly promised: SingleBallot };

/** What an acceptor must find again after a crash. */
export interface AcceptorState<Value> {
  /** Nothing below this ballot is accepted any more. */
  readonly promised: SingleBallot;
  readonly accepted: Accepted<Value> | undefined;
}

/** An acceptor that was never asked. */
export const newAcceptor: AcceptorState<never> = Object.freeze({
  promised: 0,
  accepted: undefined,
});

/**
 * What an acceptor does with a request (§2.2, phases 1b and 2b). Make `state` durable before `reply` is
 * sent. A request that arrives twice gets the same answer twice.
 */
export function answerAsAcceptor<Value>(
  state: AcceptorState<Value>,
  request: PaxosRequest<Value>,
): { readonly state: AcceptorState<Value>; readonly reply: PaxosReply<Value> } {
  const { ballot } = request;
  if (ballot < state.promised) {
    return { state, reply: { kind: 'refused', ballot, promised: state.promised } };
  }
  if (request.kind === 'prepare') {
    const { accepted } = state;
    return { state: { promised: ballot, accepted }, reply: { kind: 'promise', ballot, accepted } };
  }
  const { value } = request;
  return {
    state: { promised: ballot, accepted: { ballot, value } },
    reply: { kind: 'accepted', ballot, value },
  };
}

/** Who proposes, among how many. */
export interface ProposerOptions<Value> {
  /** This node's number, from 0 to `nodes - 1`: no other node may have it. */
  readonly node: number;
  /** How many acceptors there are. */
  readonly nodes: number;
  /** What to propose where the choice is still free. */
  readonly value: Value;
  /** The newest ballot this node used before it stopped (its acceptor has promised it). @defaultValue 0 */
  readonly newestBallot?: SingleBallot;
}

/** One node's attempts to get a value chosen: its own, or the one that others are about to choose. */
export class Proposer<Value> {
  readonly #node: number;
  readonly #nodes: number;
  readonly #value: Value;
  /** Who promised, and who accepted, in the present ballot. */
  readonly #promises: Set<number>;
  readonly #acceptances: Set<number>;
  #phase: 'idle' | 'prepare' | 'accept';
  #ballot: SingleBallot;
  /** The newest ballot heard of, anyone's. */
  #newest: SingleBallot;
  /** The acceptance of the newest ballot among the promises. */
  #adopted: Accepted<Value> | undefined;
  #chosen: Accepted<Value> | undefined;

  constructor(options: ProposerOptions<Value>) {
    const { node, nodes } = options;
    assert(Number.isSafeInteger(nodes) && nodes > 0, 'nodes is a whole number of at least 1');
    assert(Number.isSafeInteger(node) && node >= 0 && node < nodes, 'node is one of the nodes');
    this.#node = node;
    this.#nodes = nodes;
    this.#value = options.value;
    this.#promises = new Set();
    this.#acceptances = new Set();
    this.#phase = 'idle';
    this.#ballot = 0;
    this.#newest = options.newestBallot ?? 0;
    this.#adopted = undefined;
    this.#chosen = undefined;
  }

  /** The value that a majority accepted, once this proposer has heard of all of them. */
  get chosen(): Accepted<Value> | undefined {
    return this.#chosen;
  }

  /** Begins a new ballot, above all that this node has heard of: send the request to every acceptor. */
  prepare(): PaxosRequest<Value> {
    const round = Math.floor(this.#newest / this.#nodes) + 1;
    this.#ballot = round * this.#nodes + this.#node;
    assert(Number.isSafeInteger(this.#ballot), 'ballots are exact numbers');
    this.#newest = this.#ballot;
    this.#phase = 'prepare';
    this.#adopted = undefined;
    this.#promises.clear();
    this.#acceptances.clear();
    return { kind: 'prepare', ballot: this.#ballot };
  }

  /**
   * An answer of acceptor `from`, in whichever order they come. Returns what to send to every acceptor
   * next, if anything.
   */
  receive(from: number, reply: PaxosReply<Value>): PaxosRequest<Value> | undefined {
    if (reply.kind === 'refused' && reply.promised > this.#newest) this.#newest = reply.promised;
    // An answer to an earlier attempt counts for nothing.
    if (reply.ballot !== this.#ballot) return undefined;
    if (reply.kind === 'promise' && this.#phase === 'prepare') return this.#onPromise(from, reply);
    if (reply.kind === 'accepted' && this.#phase === 'accept') {
      this.#acceptances.add(from);
      const { ballot, value } = reply;
      if (this.#acceptances.size >= majority(this.#nodes)) this.#chosen = { ballot, value };
    }
    return undefined;
  }

  #onPromise(
    from: number,
    { accepted }: { readonly accepted: Accepted<Value> | undefined },
  ): PaxosRequest<Value> | undefined {
    this.#promises.add(from);
    if (accepted !== undefined && accepted.ballot > (this.#adopted?.ballot ?? 0)) {
      this.#adopted = accepted;
    }
    if (this.#promises.size < majority(this.#nodes)) return undefined;
    // Not before a majority has promised: until then an older value may still be missed (P2c). Once only:
    // a later promise must not change what was proposed in this ballot.
    this.#phase = 'accept';
    const value = this.#adopted === undefined ? this.#value : this.#adopted.value;
    return { kind: 'accept', ballot: this.#ballot, value };
  }
}

/** Finds out what was chosen, by counting who accepted what (§2.3). */
export class Learner<Value> {
  readonly #nodes: number;
  /** The newest acceptance of each acceptor: what it accepted before counts no more than that. */
  readonly #newest: Map<number, Accepted<Value>>;
  #chosen: Accepted<Value> | undefined;

  constructor(nodes: number) {
    assert(Number.isSafeInteger(nodes) && nodes > 0, 'nodes is a whole number of at least 1');
    this.#nodes = nodes;
    this.#newest = new Map();
    this.#chosen = undefined;
  }

  /** The chosen value, once it is known. */
  get chosen(): Accepted<Value> | undefined {
    return this.#chosen;
  }

  /** Acceptor `from` sent this. Returns the chosen value, once it is known. */
  receive(from: number, reply: PaxosReply<Value>): Accepted<Value> | undefined {
    if (reply.kind !== 'accepted' || this.#chosen !== undefined) return this.#chosen;
    const { ballot, value } = reply;
    if (ballot <= (this.#newest.get(from)?.ballot ?? 0)) return undefined;
    this.#newest.set(from, { ballot, value });
    let count = 0;
    for (const accepted of this.#newest.values()) if (accepted.ballot === ballot) count += 1;
    if (count >= majority(this.#nodes)) this.#chosen = { ballot, value };
    return this.#chosen;
  }
}

/**
 * How many ticks (of the caller's choosing: about one round trip) to wait before attempt `attempt`, from
 * 1. Two proposers that interrupt each other for ever (§2.4) draw from an ever larger range, until one
 * is left alone for long enough.
 */
export function backOff(attempt: number, random: Random): number {
  assert(Number.isSafeInteger(attempt) && attempt >= 1, 'attempts are counted from 1');
  return 1 + random.below(2 ** Math.min(attempt, 10));
}
