/**
 * When a replica takes a snapshot, how it sends one and how it takes one in. One at a time: a
 * snapshot that arrives is worth more than one of our own state.
 *
 * In the file, the state machine's chunks follow one chunk of the replica's own: the members.
 */
import { QuorateError } from '../../core/errors.ts';
import type { RaftMessage } from '../raft/messages.ts';
import type { StateMachine } from '../state-machine.ts';
import type { SnapshotWriter, Storage } from '../storage.ts';
import type { SnapshotMetadata } from '../types.ts';
import type { Members } from './members.ts';
import type { ReplicaSettings } from './settings.ts';

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
  #writer: SnapshotWriter | undefined;
  #taking = false;
  /** Arrived, not yet accepted by the core. */
  #arrived: SnapshotMetadata | undefined;

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
    if (this.#taking || this.#writer !== undefined || this.#entries === 0) return false;
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
    this.#taking = true;
    this.#entries = 0;
    this.#bytes = 0;
    const members = this.#members.encode();
    const chunks = this.#machine.snapshot()[Symbol.iterator]();
    let writer: SnapshotWriter | undefined;
    try {
      writer = await this.#storage.createSnapshot(metadata);
      this.#writer = writer;
      await writer.write(members);
      let bytes = members.length;
      for (let next = chunks.next(); !next.done; next = chunks.next()) {
        if (this.#writer !== writer) return false;
        await writer.write(next.value);
        bytes += next.value.length;
      }
      if (this.#writer !== writer) return false;
      await writer.commit();
      this.#becameNewest(metadata.index, bytes);
      return true;
    } finally {
      chunks.return?.();
      if (writer !== undefined && this.#writer === writer) this.#writer = undefined;
      this.#taking = false;
    }
  }

  /** Takes in a snapshot that the leader sends, beside the state in use. */
  async receive(metadata: SnapshotMetadata, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    await this.abandon();
    const writer = await this.#storage.createSnapshot(metadata);
    this.#writer = writer;
    try {
      for await (const chunk of chunks) {
        if (this.#writer !== writer) {
          throw new QuorateError('ERR_UNAVAILABLE', 'another snapshot took the place of this one');
        }
        await writer.write(chunk);
      }
      this.#arrived = metadata;
    } catch (error) {
      await writer.abort();
      if (this.#writer === writer) this.#writer = undefined;
      throw error;
    }
  }

  /** The core accepted what arrived: makes it durable and replaces the state. */
  async install(metadata: SnapshotMetadata): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined || this.#arrived?.index !== metadata.index) {
      throw new QuorateError('ERR_INTERNAL', 'the snapshot to install is not the one that arrived');
    }
    await writer.commit();
    this.#writer = undefined;
    this.#arrived = undefined;
    this.#entries = 0;
    this.#bytes = 0;
    this.#becameNewest(metadata.index, 0);
    await this.restore();
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
  toSend(
    wanted: RaftMessage,
  ):
    | { message: RaftMessage; metadata: SnapshotMetadata; chunks: AsyncIterable<Uint8Array> }
    | undefined {
    const snapshot = this.#storage.readSnapshot();
    if (snapshot === undefined) return undefined;
    const { metadata, chunks } = snapshot;
    return {
      message: { ...wanted, index: metadata.index, logTerm: metadata.term },
      metadata,
      chunks,
    };
  }

  /** Ends what is being written, if anything is. */
  async abandon(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    this.#arrived = undefined;
    await writer?.abort();
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
