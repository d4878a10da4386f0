/** Where a node stands: role, term, vote and leader (Raft figure 2), and the record of it to persist. */
import { assert } from '../../core/assert.ts';
import type { Effects } from '../core.ts';
import { type HardState, NO_NODE, type NodeId, type Role } from '../types.ts';
import type { Durability } from './durability.ts';
import type { RaftLog } from './log.ts';
import type { Reads } from './reads.ts';

const NOTHING: readonly never[] = Object.freeze([]);

export class Standing {
  readonly #log: RaftLog;
  readonly #durability: Durability;
  readonly #reads: Reads;
  role: Role;
  term: number;
  vote: NodeId;
  leader: NodeId;
  /** Role, term or leader changed since this was last reset. */
  isChanged: boolean;
  /** The commit index that the newest write holds. */
  #offeredCommit: number;

  constructor(hardState: HardState, log: RaftLog, durability: Durability, reads: Reads) {
    this.#log = log;
    this.#durability = durability;
    this.#reads = reads;
    this.role = 'learner';
    this.term = hardState.term;
    this.vote = hardState.vote;
    this.leader = NO_NODE;
    this.isChanged = true;
    this.#offeredCommit = hardState.commit;
    // A crash may have kept entries and lost the state written with them. Nothing was promised in
    // their term then, so it can be taken up anew.
    if (this.term < log.lastTerm) this.setTerm(log.lastTerm, NO_NODE);
  }

  setRole(role: Role): void {
    if (role === this.role) return;
    this.role = role;
    this.isChanged = true;
  }

  /** Term and vote are one record: never is one durable without the other. */
  setTerm(term: number, vote: NodeId): void {
    if (term === this.term && vote === this.vote) return;
    if (term === this.term) {
      assert(this.vote === NO_NODE, 'one vote a term');
    } else {
      assert(term > this.term, 'terms never fall');
      this.#reads.abandon();
      this.isChanged = true;
    }
    this.term = term;
    this.vote = vote;
    this.#durability.stateDirty = true;
  }

  setLeader(leader: NodeId): void {
    if (leader === this.leader) return;
    this.#reads.abandon();
    this.leader = leader;
    this.isChanged = true;
  }

  /** Has the commit index written even if nothing else is to be. */
  writeCommit(): void {
    if (this.#log.commit > this.#offeredCommit) this.#durability.stateDirty = true;
  }

  /** What has to be written since the last time: one numbered write for state and entries together. */
  takePersist(): Effects['persist'] {
    const { offeredIndex, stateDirty } = this.#durability;
    const { commit, lastIndex } = this.#log;
    const hasEntries = lastIndex > offeredIndex;
    if (!hasEntries && !stateDirty) return undefined;
    const withState = stateDirty || commit > this.#offeredCommit;
    const sequence = this.#durability.begin(lastIndex);
    if (withState) this.#offeredCommit = commit;
    return {
      sequence,
      hardState: withState ? { term: this.term, vote: this.vote, commit } : undefined,
      entries: hasEntries ? this.#log.slice(offeredIndex + 1, lastIndex, Infinity) : NOTHING,
    };
  }
}
