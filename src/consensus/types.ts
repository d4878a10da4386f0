/**
 * The words that a consensus core, its storage, its transport and the replica share.
 * Types only: no behaviour lives here.
 */

/** A node's id: 16 lower-case hex digits, as etcd prints member ids. `''` is no node. */
export type NodeId = string;

/** The consensus algorithms, each with a core and a log of its own. */
export type Consensus = 'raft' | 'paxos';

/** No node: the vote not given, the leader not known. */
export const NO_NODE: NodeId = '';

/**
 * Kinds of log entry, numbered as in etcd's raft so that its tools read our log: `configChange` holds one
 * change, `configChangeV2` several at once, or the end of a joint configuration. `adopted` is Paxos's, in
 * its log and its promises only: a value that was accepted again in a newer ballot (`paxos/slot.ts`).
 */
export const EntryType = { normal: 0, configChange: 1, configChangeV2: 2, adopted: 3 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

/** One entry of the replicated log. Terms and indexes are whole numbers below 2^53. */
export interface Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  /** Empty for the no-op that a new leader appends (Raft §8). Never changed once appended. */
  readonly data: Uint8Array;
}

/** What a node must find again after a crash, besides its log (Raft figure 2, "persistent state"). */
export interface HardState {
  readonly term: number;
  readonly vote: NodeId;
  /** May lag behind what was committed; kept so that a restart applies at once. */
  readonly commit: number;
}

/** Who votes. Sorted by id. */
export interface Configuration {
  readonly voters: readonly NodeId[];
  /** Receive the log and do not vote. */
  readonly learners: readonly NodeId[];
  /** Between two sets of voters: elections and commits need a majority of each (Raft §6). */
  readonly joint?: JointConfiguration | undefined;
}

/** The part of a joint configuration that is being left. */
export interface JointConfiguration {
  /** The voters of the old configuration, sorted by id; `voters` are those of the new one. */
  readonly outgoing: readonly NodeId[];
  /** Of `outgoing`: become learners when the joint configuration ends. */
  readonly learnersNext: readonly NodeId[];
  /** The leader ends it by itself as soon as it is applied. */
  readonly autoLeave: boolean;
}

/** What a snapshot stands for: the log up to and including `index`. */
export interface SnapshotMetadata {
  readonly index: number;
  readonly term: number;
  readonly configuration: Configuration;
}

/** What must be durable, as one step, before what depends on it may be promised. */
export interface Persist {
  /** Only when it changed. */
  readonly hardState: HardState | undefined;
  /** Appended after cutting the log to before `entries[0].index`. */
  readonly entries: readonly Entry[];
}

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader' | 'learner';
