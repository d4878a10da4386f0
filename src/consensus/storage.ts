/** The durable side of a node, as the replica sees it. `wal/` implements it on a disk. */
import type { Consensus, Entry, HardState, NodeId, Persist, SnapshotMetadata } from './types.ts';

/** Whose data this is; a mismatch is refused at open. */
export interface Identity {
  readonly clusterId: NodeId;
  readonly nodeId: NodeId;
  /** Whose log it is: what the records mean depends on it. @defaultValue `'raft'` */
  readonly consensus?: Consensus | undefined;
}

/** What was found on the disk. */
export interface RecoveredState {
  readonly hardState: HardState;
  /** Newest valid snapshot; `undefined` where none was ever taken. */
  readonly snapshot: SnapshotMetadata | undefined;
  /** The log that follows the snapshot (or starts at index 1). */
  readonly entries: readonly Entry[];
  /** Whether nothing was there before: a new node. */
  readonly fresh: boolean;
}

/**
 * `scarce`: the disk is full, and what is set aside will do for what is under way: take nothing new.
 * `none`: the rest of it is for votes and terms.
 */
export type Space = 'ample' | 'scarce' | 'none';

/** Called once when a write is durable. An error is fatal to the node: nothing is retried. */
export type Persisted = (error: Error | undefined) => void;

/** Receives a snapshot from another node, beside the one in use. */
export interface SnapshotWriter {
  /** Appends one chunk; chunk boundaries are kept. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Makes all that was written durable, not yet current: `commit` needs no space then. `ERR_NO_SPACE`
   * where there is none, as from `write`; nothing is left of it then.
   */
  finish(): Promise<void>;
  /** Makes it durable and current: synced, renamed, directory synced, noted in the log. */
  commit(): Promise<void>;
  /** Removes what was written. Safe after `commit`: does nothing then. */
  abort(): Promise<void>;
}

export interface Storage {
  readonly recovered: RecoveredState;

  /** Lets go of the recovered entries, for memory's sake: whoever needs them has them by now. */
  forgetEntries(): void;

  /**
   * Queues a write. Writes become durable in the order of the calls; those queued while one is
   * under way share the next `fdatasync` (group commit). `done` is called in the same order.
   */
  persist(write: Persist, done: Persisted): void;

  /** Starts a snapshot file for `metadata`. Only one may be open at a time. */
  createSnapshot(metadata: SnapshotMetadata): Promise<SnapshotWriter>;

  /** The newest snapshot, verified chunk by chunk while it is read. */
  readSnapshot():
    | { metadata: SnapshotMetadata; bytes: number; chunks: AsyncIterable<Uint8Array> }
    | undefined;

  /** Entries up to `index` are no longer needed: whole segments before it may be removed. */
  release(index: number): void;

  /** How much room there is for entries. What was given to `persist` is kept until it fits. */
  readonly space: Space;

  /** A heartbeat interval has passed: time for what can wait, and to see whether a full disk has space again. */
  tick(): void;

  /** Bytes on disk: log segments and snapshots. */
  diskBytes(): number;

  /** Waits for what was queued, releases the directory. Idempotent. */
  close(): Promise<void>;
}
