/**
 * Which other nodes are on probation (`probation.ts`), as far as this one knows: they acknowledge perhaps, and
 * give no vote. Such a node asks all voters how they stand, again and again, and tells them when that is over. A
 * leader that counted on it for a change of the members might leave a cluster in which no majority votes,
 * and in which none of those that wait for a leader ever gets one.
 */
import type { Clock } from '../../core/clock.ts';
import type { NodeId } from '../types.ts';

/**
 * Election timeouts after which one that asked no more is taken for a voter: the end was told, and did not get
 * here. A question is given up after one of them, and a node that is gone counts as connected for two.
 */
const LAPSE_ELECTIONS = 4;

/** More than this many are not remembered; the one that asked longest ago is forgotten first. */
const MAX_REMEMBERED = 64;

export class PeersOnProbation {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #lapseMs: number;
  /** When each asked last, in that order. */
  readonly #askedMs: Map<NodeId, number>;

  constructor(clock: Pick<Clock, 'now'>, electionMs: number) {
    this.#clock = clock;
    this.#lapseMs = LAPSE_ELECTIONS * electionMs;
    this.#askedMs = new Map();
  }

  /** `peer` asked how this node stands: it is on probation. */
  asked(peer: NodeId): void {
    this.#askedMs.delete(peer);
    this.#askedMs.set(peer, this.#clock.now());
    if (this.#askedMs.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#askedMs.keys()) {
      this.#askedMs.delete(oldest);
      return;
    }
  }

  /** `peer` says that it votes again. */
  over(peer: NodeId): void {
    this.#askedMs.delete(peer);
  }

  has(peer: NodeId): boolean {
    const askedMs = this.#askedMs.get(peer);
    return askedMs !== undefined && this.#clock.now() - askedMs < this.#lapseMs;
  }
}
