/** Where a node stands: role, promised ballot and leader, and the record of it to persist. */
import { assert } from '../../core/assert.ts';
import type { Effects } from '../core.ts';
import type { Reads } from '../raft/reads.ts';
import { type HardState, NO_NODE, type NodeId, type Role } from '../types.ts';
import type { Acceptor } from './acceptor.ts';
import type { PaxosDurability } from './durability.ts';
import type { PaxosLog } from './log.ts';

export class Standing {
  readonly #log: PaxosLog;
  readonly #durability: PaxosDurability;
  readonly #acceptor: Acceptor;
  readonly #reads: Reads;
  role: Role;
  /** The promised ballot: nothing older is accepted any more. */
  term: number;
  /** Who owns it, where that is known. */
  owner: NodeId;
  leader: NodeId;
  /** Role, ballot or leader changed since this was last reset. */
  isChanged: boolean;
  #offeredCommit: number;

  constructor(
    hardState: HardState,
    log: PaxosLog,
    durability: PaxosDurability,
    acceptor: Acceptor,
    reads: Reads,
  ) {
    this.#log = log;
    this.#durability = durability;
    this.#acceptor = acceptor;
    this.#reads = reads;
    this.role = 'learner';
    this.term = hardState.term;
    this.owner = hardState.vote;
    this.leader = NO_NODE;
    this.isChanged = true;
    this.#offeredCommit = hardState.commit;
    acceptor.resume(this.term);
    // A crash may have kept slots and lost the promise written with them. To accept is to promise.
    for (let index = log.firstIndex; index <= log.lastIndex; index++) {
      if (log.ballotAt(index) > this.term) this.promise(log.ballotAt(index), NO_NODE);
    }
  }

  setRole(role: Role): void {
    if (role === this.role) return;
    this.role = role;
    this.isChanged = true;
  }

  /** Promises `ballot`: durable before anything is said in it. */
  promise(ballot: number, owner: NodeId): void {
    if (ballot === this.term) return;
    assert(ballot > this.term, 'promises only rise');
    this.#reads.abandon();
    this.term = ballot;
    this.owner = owner;
    this.isChanged = true;
    this.#acceptor.beginBallot(ballot);
  }

  setLeader(leader: NodeId): void {
    if (leader === this.leader) return;
    this.#reads.abandon();
    this.leader = leader;
    this.isChanged = true;
  }

  /** What has to be written since the last time: one numbered write for promise and slots together. */
  takePersist(): Effects['persist'] {
    if (!this.#durability.isDirty) return undefined;
    const { commit } = this.#log;
    const withState = this.#durability.stateDirty || commit > this.#offeredCommit;
    const sequence = this.#durability.begin(this.term, this.#acceptor.match);
    if (withState) this.#offeredCommit = commit;
    return {
      sequence,
      hardState: withState ? { term: this.term, vote: this.owner, commit } : undefined,
      entries: this.#log.takeUnwritten(),
    };
  }
}
