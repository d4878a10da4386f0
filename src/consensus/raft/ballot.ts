/** An election from the candidate's side (Raft §5.2): who was asked, who answered, how long to wait. */
import type { Random } from '../../core/random.ts';
import type { MessageType } from '../messages.ts';
import type { NodeId } from '../types.ts';
import { draft } from './draft.ts';
import { ElectionTimeout } from './election-timeout.ts';
import type { RaftLog } from './log.ts';
import type { Membership } from './membership.ts';
import type { Outbox } from './outbox.ts';
import type { Verdict } from './quorum.ts';

export class Ballot {
  readonly #id: NodeId;
  readonly #log: RaftLog;
  readonly #outbox: Outbox;
  readonly #answers: Map<NodeId, boolean>;
  readonly timeout: ElectionTimeout;

  constructor(id: NodeId, electionTicks: number, random: Random, log: RaftLog, outbox: Outbox) {
    this.#id = id;
    this.#log = log;
    this.#outbox = outbox;
    this.#answers = new Map();
    this.timeout = new ElectionTimeout(electionTicks, random);
  }

  /** Forgets the answers and draws a new timeout. */
  begin(): void {
    this.#answers.clear();
    this.timeout.draw();
  }

  request(type: MessageType, voters: readonly NodeId[], term: number, force: boolean): void {
    const { lastIndex, lastTerm, commit } = this.#log;
    const commitTerm = this.#log.termAt(commit);
    for (const voter of voters) {
      if (voter === this.#id) continue;
      const request = draft(type, this.#id, voter, term);
      request.index = lastIndex;
      request.logTerm = lastTerm;
      request.hintIndex = commit;
      request.hintTerm = commitTerm;
      request.force = force;
      this.#outbox.send(request);
    }
  }

  /** Counts an answer; only the first of each node counts, and only a voter's. */
  record(membership: Membership, from: NodeId, isGranted: boolean): Verdict {
    if (!this.#answers.has(from)) this.#answers.set(from, isGranted);
    return membership.verdict(this.#answers);
  }
}
