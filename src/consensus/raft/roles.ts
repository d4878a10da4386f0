/** How a node changes its role (Raft figure 4), and the ticks that it counts in each. */
import { assert } from '../../core/assert.ts';
import type { NodeId } from '../types.ts';
import { NO_NODE } from '../types.ts';
import type { Ballot } from './ballot.ts';
import type { Durability } from './durability.ts';
import type { Leadership } from './leadership.ts';
import type { Membership } from './membership.ts';
import type { Standing } from './standing.ts';

export class Roles {
  readonly #id: NodeId;
  readonly #self: Standing;
  readonly #ballot: Ballot;
  readonly #leadership: Leadership;
  readonly #durability: Durability;
  readonly #membership: Membership;
  /** Ticks since: contact with a leader or a vote given; as leader, since the last quorum check. */
  electionElapsed: number;
  heartbeatElapsed: number;

  constructor(
    id: NodeId,
    self: Standing,
    ballot: Ballot,
    leadership: Leadership,
    durability: Durability,
    membership: Membership,
  ) {
    this.#id = id;
    this.#self = self;
    this.#ballot = ballot;
    this.#leadership = leadership;
    this.#durability = durability;
    this.#membership = membership;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.rest();
  }

  /** The role of who neither leads nor wants to. */
  rest(): void {
    this.#self.setRole(this.#membership.isVoter ? 'follower' : 'learner');
  }

  becomeFollower(term: number, leader: NodeId): void {
    assert(term >= this.#self.term, 'terms never fall');
    if (term > this.#self.term) this.#self.setTerm(term, NO_NODE);
    // The timer runs on unless there is a leader to wait for: a candidate whose log is behind must
    // not keep the others from campaigning.
    if (this.#self.role === 'leader' || leader !== NO_NODE) this.electionElapsed = 0;
    this.#ballot.begin();
    this.rest();
    this.#self.setLeader(leader);
  }

  becomeLeader(): void {
    assert(this.#self.role === 'candidate', 'only a candidate becomes leader');
    assert(this.#durability.stateDurable, "a leader's own vote is durable");
    // In its own haste it would let itself be disturbed.
    this.#ballot.timeout.calm();
    this.#self.setRole('leader');
    this.#self.setLeader(this.#id);
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.#leadership.begin(this.#self.term);
  }
}
