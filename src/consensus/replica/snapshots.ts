/**
 * When a replica takes a snapshot, how it sends one and how it takes one in. One at a time: a
 * snapshot that arrives is worth more than one of our own state.
 *
 * In the file, the state machine's chunks follow one chunk of the replica's own: the members.
 */
import { QuorateError } from '../../core/errors.ts';
import type { PeerMessage } from '../messages.ts';
import type { StateMachine } from '../state-machine.ts';
import type { SnapshotWriter, Storage } from '../storage.ts';
import type { SnapshotMetadata } from '../types.ts';
import type { Members } from './members.ts';
import type { ReplicaSettings } from './settings.ts';

/** A snapshot being written, our own or one that arrives. */
interface Writing {
  /** Another one takes its place, or the node stops: end at the next chunk. */
  givenUp: boolean;
  readonly ended: Promise<void>;
  readonly end: () => void;
}

interface Arrived {
  readonly metadata: SnapshotMetadata;
  readonly writer: SnapshotWriter;
  readonly writing: Writing;
}

export class Snapshots<Result> {
  readonly #storage: Storage;
  readonly #machine: StateMachine<Result>;
  readonly #members: Members;
  readonly #settings: ReplicaSettings;
  #entries = 0;
  #bytes = 0;
  #oldestAt = 0;
  /** Size of the newest snapshot: what the next one will cost, roughly. */
  #newestBytes: number;
  /** Index of the snapshot before the newest one: storage falls back to it, so its log is kept. */
  #previousIndex = 0;
  #newestIndex: number;
  #writing: Writing | undefined;
  /** Arrived whole, not yet accepted by the core; it is still the one being written. */
  #arrived: Arrived | undefined;

  constructor(
    storage: Storage,
    machine: StateMachine<Result>,
    members: Members,
    settings: ReplicaSettings,
  ) {
    this.#storage = storage;
    this.#machine = machine;
    this.#members = members;
    this.#settings = settings;
    this.#newestIndex = storage.recovered.snapshot?.index ?? 0;
    this.#newestBytes = 0;
  }

  get newestIndex(): number {
    return this.#newestIndex;
  }

  /** One is being written. */
  get busy(): boolean {
    return this.#writing !== undefined;
  }

  applied(bytes: number, now: number): void {
    if (this.#entries === 0) this.#oldestAt = now;
    this.#entries += 1;
    this.#bytes += bytes;
  }

  /**
   * A snapshot writes the whole state, so one is due only when the log has grown by as much as the
   * last one weighed: then snapshots at most double what is written, however large the state.
   */
  due(now: number): boolean {
    if (this.busy || this.#entries === 0) return false;
    if (now - this.#oldestAt >= this.#settings.snapshotAgeMs) return true;
    if (this.#bytes < this.#newestBytes) return false;
    return (
      this.#entries >= this.#settings.snapshotEntries || this.#bytes >= this.#settings.snapshotBytes
    );
  }

  /**
   * Writes the state as of now, which is that at `metadata.index`. Resolves with whether it became
   * the newest snapshot: `false` where one that arrived from the leader overtook it.
   */
  async take(metadata: SnapshotMetadata): Promise<boolean> {
    this.#entries = 0;
    this.#bytes = 0;
    const members = this.#members.encode();
    const chunks = this.#machine.snapshot()[Symbol.iterator]();
    // Now, before anything else is applied: a generator pins its state at its first step.
    const first = chunks.next();
    const writing = await this.#begin();
    let writer: SnapshotWriter | undefined;
    try {
      if (writing.givenUp) return false;
      writer = await this.#storage.createSnapshot(metadata);
      await writer.write(members);
      let bytes = members.length;
      for (let next = first; !next.done; next = chunks.next()) {
        if (writing.givenUp) return false;
        await writer.write(next.value);
        bytes += next.value.length;
      }
      if (writing.givenUp) return false;
      await writer.commit();
      this.#becameNewest(metadata.index, bytes);
      return true;
    } finally {
      chunks.return?.();
      await writer?.abort();
      this.#end(writing);
    }
  }

  /** Takes in a snapshot that the leader sends, beside the state in use. */
  async receive(metadata: SnapshotMetadata, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const writing = await this.#begin();
    let writer: SnapshotWriter | undefined;
    try {
      refuseIfGivenUp(writing);
      writer = await this.#storage.createSnapshot(metadata);
      for await (const chunk of chunks) {
        refuseIfGivenUp(writing);
        await writer.write(chunk);
      }
      // Before the core counts on it: from here on it needs no more space.
      await writer.finish();
      refuseIfGivenUp(writing);
      this.#arrived = { metadata, writer, writing };
    } catch (error) {
      await writer?.abort();
      this.#end(writing);
      throw error;
    }
  }

  /** Throws unless the snapshot of `metadata` arrived whole and nothing has taken its place since. */
  requireArrived(metadata: SnapshotMetadata): void {
    if (this.#arrived?.metadata !== metadata) throw replaced();
  }

  /** The core accepted what arrived: makes it durable and replaces the state. */
  async install(metadata: SnapshotMetadata): Promise<void> {
    const arrived = this.#arrived;
    if (arrived?.metadata.index !== metadata.index) {
      throw new QuorateError('ERR_INTERNAL', 'the snapshot to install is not the one that arrived');
    }
    this.#arrived = undefined;
    try {
      await arrived.writer.commit();
      this.#entries = 0;
      this.#bytes = 0;
      this.#becameNewest(metadata.index, 0);
      await this.restore();
    } finally {
      this.#end(arrived.writing);
    }
  }

  /** Brings the state machine to the newest snapshot on the disk. */
  async restore(): Promise<void> {
    const snapshot = this.#storage.readSnapshot();
    if (snapshot === undefined) return;
    this.#newestBytes = snapshot.bytes;
    const chunks = snapshot.chunks[Symbol.asyncIterator]();
    const first = await chunks.next();
    if (first.done === true) {
      throw new QuorateError('ERR_CORRUPT', `the snapshot at ${snapshot.metadata.index} is empty`);
    }
    this.#members.decode(first.value);
    await this.#machine.restore({ [Symbol.asyncIterator]: () => chunks });
  }

  /** The stream to send to a peer that needs entries we no longer have. */
  toSend(wanted: PeerMessage): {
    message: PeerMessage;
    metadata: SnapshotMetadata;
    chunks: AsyncIterable<Uint8Array>;
  } {
    const snapshot = this.#storage.readSnapshot();
    if (snapshot === undefined) {
      throw new QuorateError('ERR_INTERNAL', 'there is no snapshot to send');
    }
    const { metadata, chunks } = snapshot;
    return {
      message: { ...wanted, index: metadata.index, logTerm: metadata.term },
      metadata,
      chunks,
    };
  }

  /** Gives up what is being written, if anything is. */
  async abandon(): Promise<void> {
    if (this.#writing !== undefined) this.#writing.givenUp = true;
    await this.#discardArrived();
  }

  /** Resolves when nothing is being written any more. */
  async ended(): Promise<void> {
    await this.#writing?.ended;
  }

  /** One at a time: the one under way gives up, and this one begins when it has ended. */
  async #begin(): Promise<Writing> {
    const before = this.#writing;
    const { promise, resolve } = Promise.withResolvers<void>();
    const writing = { givenUp: false, ended: promise, end: resolve };
    this.#writing = writing;
    if (before !== undefined) {
      before.givenUp = true;
      await this.#discardArrived();
      await before.ended;
    }
    return writing;
  }

  #end(writing: Writing): void {
    if (this.#writing === writing) this.#writing = undefined;
    writing.end();
  }

  async #discardArrived(): Promise<void> {
    const arrived = this.#arrived;
    if (arrived === undefined) return;
    this.#arrived = undefined;
    await arrived.writer.abort();
    this.#end(arrived.writing);
  }

  /** The log up to here is not needed even if the newest snapshot turns out to be damaged. */
  releasable(): number {
    return this.#previousIndex;
  }

  #becameNewest(index: number, bytes: number): void {
    this.#previousIndex = this.#newestIndex;
    this.#newestIndex = index;
    this.#newestBytes = bytes;
  }
}

function refuseIfGivenUp(writing: Writing): void {
  if (writing.givenUp) throw replaced();
}

function replaced(): QuorateError {
  return new QuorateError('ERR_UNAVAILABLE', 'another snapshot took the place of this one', {
    retryable: true,
  });
}
