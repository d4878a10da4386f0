/** The messages of the protocol. One shape for all, so that V8 keeps one hidden class. */
import type { Entry, NodeId } from './types.ts';

/**
 * Kinds of message. Names follow the paper and etcd's raft: append is AppendEntries, vote is
 * RequestVote, snapshot is InstallSnapshot. The last four are Multi-Paxos's; it shares with Raft what
 * means the same: preVote (asks before a prepare), heartbeat, snapshot, readIndex, timeoutNow.
 */
export const MessageType = {
  append: 1,
  appendReply: 2,
  vote: 3,
  voteReply: 4,
  preVote: 5,
  preVoteReply: 6,
  heartbeat: 7,
  heartbeatReply: 8,
  snapshot: 9,
  readIndex: 10,
  readIndexReply: 11,
  timeoutNow: 12,
  prepare: 13,
  promise: 14,
  accept: 15,
  accepted: 16,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** A message between two nodes. Fields a kind does not use are zero, empty or false. */
export interface PeerMessage {
  readonly type: MessageType;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
  /**
   * append: index of the entry before `entries`. Votes: last index of the candidate's log.
   * appendReply: last index known to match, or (rejected) the probed index. snapshot: its index.
   * readIndexReply: the read index. timeoutNow: no entry up to it carries a lease (`raft/lease.ts`).
   * prepare: the first open slot; promise: the first slot of this page.
   * accept: the slot before `entries`. accepted: the last slot of the unbroken row that is held.
   */
  readonly index: number;
  /** append, votes, snapshot: term of the entry at `index`. appendReply, rejected: see `hintTerm`. */
  readonly logTerm: number;
  readonly entries: readonly Entry[];
  /** append, heartbeat: the leader's commit index (for a heartbeat at most what the peer matched). */
  readonly commit: number;
  readonly reject: boolean;
  /**
   * appendReply, rejected: where the logs may still agree: index and term (fast backtracking, Raft §5.3).
   * Votes, and replies to them: the newest entry that the sender knows to be committed.
   * promise: the newest slot accepted in; accepted, rejected: the last slot of the hole.
   */
  readonly hintIndex: number;
  readonly hintTerm: number;
  /**
   * heartbeat and its reply: the newest read round the sender waits for. readIndex and its reply:
   * the read's number at the asking node. Never used twice by one node in one process life.
   */
  readonly context: number;
  /**
   * vote, prepare: the candidate was told to campaign by the leader (leadership transfer): skip the lease check.
   * readIndex: not by a lease, the leader has to hear from a majority.
   */
  readonly force: boolean;
}
