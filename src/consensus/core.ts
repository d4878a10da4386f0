/**
 * The interface between a replica and a consensus core. A core decides and does nothing else: no
 * I/O, no timer, no clock. Inputs are method calls, outputs are collected and taken with `take`.
 */
import type { PeerMessage } from './messages.ts';
import type {
  Configuration,
  Entry,
  EntryType,
  NodeId,
  Persist,
  Role,
  SnapshotMetadata,
} from './types.ts';

/**
 * Why a proposal was not taken. It never entered the log. `changing`: another change of the
 * configuration is under way, or this core cannot change it.
 */
export type Refusal = 'no-leader' | 'not-leader' | 'busy' | 'transferring' | 'changing';

/** Where proposals are in the log: the index of the first one. */
export interface Appended {
  readonly index: number;
  readonly term: number;
}

/** A linearizable read may be served once the state machine has applied `index`. */
export interface ReadState {
  readonly context: number;
  readonly index: number;
}

/** What the core wants done, in this order of meaning. Empty lists and `undefined` where nothing is. */
export interface Effects {
  /** To be made durable in order; report `persisted(sequence)` when it is. */
  readonly persist: (Persist & { readonly sequence: number }) | undefined;
  /** May be sent at once: they promise nothing that is not durable yet. */
  readonly messages: readonly PeerMessage[];
  /** May be sent only when `persist` of this very object is durable (at once if there is none pending). */
  readonly messagesAfterPersist: readonly PeerMessage[];
  /** Committed entries not handed out before, in order: apply them. */
  readonly committed: readonly Entry[];
  readonly reads: readonly ReadState[];
  /** Reads (by context) that can no longer be answered: leadership was lost. */
  readonly droppedReads: readonly number[];
  /** A received snapshot was accepted: restore the state machine from it, then call `snapshotInstalled`. */
  readonly install: SnapshotMetadata | undefined;
  /** Peers that need the snapshot instead of entries: send it, then call `snapshotSent`. */
  readonly snapshotsWanted: readonly PeerMessage[];
  /** Role, term or leader changed since the last `take`. */
  readonly stateChanged: boolean;
}

/** How far the leader believes a peer to be. */
export interface PeerProgress {
  readonly id: NodeId;
  readonly match: number;
  readonly next: number;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly active: boolean;
}

export interface CoreStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  readonly leader: NodeId;
  readonly commit: number;
  /** Newest entry handed out in `committed`. */
  readonly handedOut: number;
  readonly lastIndex: number;
  /** First index still in the log. */
  readonly firstIndex: number;
  readonly peers: readonly PeerProgress[];
  /** Changes of the configuration that are in the log and not applied. @defaultValue none */
  readonly changes?: readonly Entry[];
  /** This core cannot change its members: every change is refused. @defaultValue `false` */
  readonly hasFixedMembers?: boolean;
}

export interface Core {
  /** One heartbeat interval has passed. */
  tick(): void;
  /** A message of a peer. */
  step(message: PeerMessage): void;
  /**
   * Appends to the log if this node leads. All of `data` or none.
   * @returns where they are, or why not.
   */
  propose(data: readonly Uint8Array[]): Appended | Refusal;
  /**
   * Appends a configuration change if this node leads and none is under way: at most one may be in the
   * log and not applied. `type` is one of the two of `EntryType`.
   */
  proposeChange(type: EntryType, data: Uint8Array): Appended | Refusal;
  /** Asks for a linearizable read point; answered in `reads` or `droppedReads` under `context`. */
  readIndex(context: number): void;
  /** The `persist` with this sequence number, and all before it, are durable. */
  persisted(sequence: number): void;
  /** The state machine has applied up to `index`. */
  applied(index: number): void;
  /** A configuration change entry was applied. */
  configure(configuration: Configuration): void;
  /** Hands leadership to `to` as soon as it has the whole log. Returns whether it was begun. */
  transferLeadership(to: NodeId): boolean;
  /** Starts an election now (leadership transfer, tests). */
  campaign(): void;
  /** A message to `peer` was dropped, or the connection to it broke. */
  unreachable(peer: NodeId): void;
  /** `peer` lost its log: what it acknowledged before counts no more. */
  lost(peer: NodeId): void;
  /** The snapshot stream to `peer` ended. */
  snapshotSent(peer: NodeId, ok: boolean): void;
  /** A received snapshot is durable and restored. */
  snapshotInstalled(metadata: SnapshotMetadata): void;
  /**
   * Drops the log before `keepFrom` from memory. A snapshot at `index`, an applied entry, or later can be
   * sent from now on to peers that need what was dropped.
   */
  compact(index: number, keepFrom: number): void;
  /** The term of the entry at `index`, or 0 where it is not in the log. */
  termAt(index: number): number;
  hasEffects(): boolean;
  take(): Effects;
  status(): CoreStatus;
}
