/**
 * A node of a simulated cluster, for tests of cores: a core with a disk in memory, and the replica's
 * part in its simplest form. The state machine is a hash of all that was applied.
 */
import type { Core } from './core.ts';
import type { PeerMessage } from './messages.ts';
import type {
  Configuration,
  Entry,
  HardState,
  NodeId,
  Persist,
  SnapshotMetadata,
} from './types.ts';

/** A snapshot of the state machine. */
export interface Snapshot {
  readonly metadata: SnapshotMetadata;
  readonly hash: number;
}

/** What a node finds again after a crash. How it keeps entries is each core's own. */
export abstract class Disk {
  hardState: HardState;
  snapshot: Snapshot;

  constructor(configuration: Configuration) {
    this.hardState = { term: 0, vote: '', commit: 0 };
    this.snapshot = { metadata: { index: 0, term: 0, configuration }, hash: 0 };
  }

  write({ hardState, entries }: Persist): void {
    if (hardState !== undefined) this.hardState = { ...hardState };
    this.writeEntries(entries);
  }

  protected abstract writeEntries(entries: readonly Entry[]): void;

  /** What a core is opened with. */
  abstract readEntries(): readonly Entry[];

  /** Keeps a snapshot of what this node applied. */
  save(snapshot: Snapshot): void {
    this.snapshot = snapshot;
  }

  /** Keeps a snapshot that came from another node. */
  install(snapshot: Snapshot): void {
    this.save(snapshot);
  }
}

/** A write under way, and the messages that wait for it. */
export interface PendingWrite extends Persist {
  readonly sequence: number;
  readonly messages: readonly PeerMessage[];
}

/** A snapshot on its way. */
export interface Transfer {
  readonly message: PeerMessage;
  readonly snapshot: Snapshot;
}

export interface SimulatedNode<D extends Disk> {
  readonly id: NodeId;
  readonly disk: D;
  /** As of `applied`. */
  configuration: Configuration;
  /** `undefined` while it is down. */
  core: Core | undefined;
  /** How often it was started. */
  life: number;
  writes: PendingWrite[];
  applied: number;
  hash: number;
  /** A snapshot stream that has arrived, and the one being installed. */
  offered: Transfer | undefined;
  installing: Transfer | undefined;
  /** Reads asked here: by context, the index that the answer must reach. */
  reads: Map<number, number>;
  lastCommit: number;
  lastTerm: number;
}

export function newNode<D extends Disk>(id: NodeId, disk: D): SimulatedNode<D> {
  return {
    id,
    disk,
    configuration: disk.snapshot.metadata.configuration,
    core: undefined,
    life: 0,
    writes: [],
    applied: 0,
    hash: 0,
    offered: undefined,
    installing: undefined,
    reads: new Map(),
    lastCommit: 0,
    lastTerm: 0,
  };
}

/** The state after `entry` is applied. */
export function mix(hash: number, entry: Entry): number {
  let mixed = Math.imul(hash ^ entry.index, 0x9e3779b1) ^ entry.term;
  for (const byte of entry.data) mixed = Math.imul(mixed ^ byte, 0x01000193);
  return mixed | 0;
}

/** What makes an entry this one, whatever its place: term, type and data. */
export function textOf({ term, type, data }: Entry): string {
  return `${term} ${type} ${Buffer.from(data).toString('latin1')}`;
}
