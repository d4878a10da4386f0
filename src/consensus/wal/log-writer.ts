/**
 * Appends to the log: group commit, and the change from one segment to the next.
 *
 * One write is in flight at a time. What is queued meanwhile is encoded at once into the next batch,
 * which becomes one write and one `fdatasync`; there is no artificial delay. A batch that would
 * overrun the segment begins the next one, which was filled with zeros beforehand: its head and the
 * batch are written to the file while that still has a temporary name, synced, and only then is it
 * renamed and the folder synced. So a segment that can be seen always has a whole head.
 *
 * A full disk holds the batch back until there is space (see `next-segment.ts`). After any other error
 * of the disk nothing is known about what reached it, and a second `fsync` may report
 * success for pages that were dropped: the log is latched and every write fails from then on.
 */
import { join } from 'node:path';
import { assert } from '../../core/assert.ts';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Identity, Persisted, Space } from '../storage.ts';
import type { HardState, Persist, SnapshotMetadata } from '../types.ts';
import type { DurableMark } from './durable-mark.ts';
import type { LogTail } from './log-kind.ts';
import { isNoSpace, NextSegment, RETRY_TICKS } from './next-segment.ts';
import {
  CRC_RECORD_BYTES,
  entryRecordBound,
  RECORD_OVERHEAD_BYTES,
  RecordEncoder,
  snapshotRecordBound,
} from './record.ts';
import { type Segment, segmentName } from './segment.ts';

/** A buffer that grew beyond this for one burst is given back after it. */
const KEPT_BUFFER_BYTES = 4 << 20;
const FIRST_BUFFER_BYTES = 64 << 10;

/**
 * Bytes encoded and not yet written. The core bounds what it has in flight far below; beyond this
 * the node is broken and is stopped (`ERR_INTERNAL`) before it takes all memory.
 */
const MAX_QUEUED_BYTES = 1 << 30;

/** Each segment may be this many times as large as the one before, up to the configured size. */
const GROWTH = 4;

/** The part of the last segment that a full disk keeps for votes and terms. */
const RESERVED = 1 / 4;

/** What goes to the disk as one write and one sync. */
interface Batch {
  readonly encoder: RecordEncoder;
  dones: Persisted[];
  /** What was reserved in it, at most. */
  bound: number;
  /** Set where the batch begins a new segment: the index of the next entry. */
  newSegment: number | undefined;
}

export interface LogWriterOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly identity: Identity;
  readonly segmentBytes: number;
  /** In order; the last one is appended to. Owned by the writer from here on. */
  readonly segments: Segment[];
  readonly file: DiskFile;
  /** Where in the last segment to go on, and the rolling checksum there. All before is durable. */
  readonly offset: number;
  readonly chain: number;
  readonly hardState: HardState;
  readonly terms: LogTail;
  /** Whether writes wait for `fdatasync`. */
  readonly fsync: boolean;
  /** Told how far the log is durable, when nothing more is queued. */
  readonly mark: DurableMark;
  readonly onWarning: (text: string) => void;
}

/** The error of a write that the disk refused, or may have lost. */
export function diskFailed(action: string, cause: unknown): QuorateError {
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
  const hint =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'free space on that disk'
      : 'check the disk and the kernel log';
  return new QuorateError(
    'ERR_DISK_FAILED',
    `${action} failed (${code}); what was being written may or may not be durable, so this node ` +
      `writes nothing more: ${hint}, then start the node again`,
    { cause, outcome: 'unknown' },
  );
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #segments: Segment[];
  #file: DiskFile;
  /** Where the next batch of the current segment is written. */
  #offset: number;
  /** Where the next record goes, counting what is only encoded, and in which size of segment. */
  #position: number;
  #segmentSize: number;
  #chain: number;
  /** The newest state. Its commit index never goes back, so that no snapshot is ahead of it. */
  #hardState: HardState;
  readonly #terms: LogTail;
  #filling: Batch | undefined;
  /** Full batches that wait: more than one only where a burst spans segments. */
  readonly #sealed: Batch[];
  #spare: Buffer | undefined;
  #queuedBytes: number;
  readonly #next: NextSegment;
  /** Waits for space on a full disk: called to try again. */
  #retry: (() => void) | undefined;
  #retryTicks: number;
  #running: Promise<void> | undefined;
  #failure: QuorateError | undefined;
  #closed: boolean;

  constructor(options: LogWriterOptions) {
    const current = options.segments.at(-1);
    assert(current !== undefined, 'a log has at least one segment');
    this.#options = options;
    this.#segments = options.segments;
    this.#file = options.file;
    this.#offset = options.offset;
    this.#position = options.offset;
    this.#segmentSize = current.size;
    this.#chain = options.chain;
    this.#hardState = options.hardState;
    this.#terms = options.terms;
    this.#filling = undefined;
    this.#sealed = [];
    this.#spare = undefined;
    this.#queuedBytes = 0;
    this.#next = new NextSegment(options.disk, options.folder, options.onWarning);
    this.#retry = undefined;
    this.#retryTicks = 0;
    this.#running = undefined;
    this.#failure = undefined;
    this.#closed = false;
  }

  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Bytes of the segments, the prepared one included. */
  get diskBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.size, this.#next.diskBytes);
  }

  /** Scarce once there is no space for the next segment, while the present one has room. */
  get space(): Space {
    if (this.#retry !== undefined) return 'none';
    if (!this.#next.isFull) return 'ample';
    const room = this.#segmentSize - this.#position;
    return room < this.#segmentSize * RESERVED ? 'none' : 'scarce';
  }

  /** A heartbeat interval has passed: tries again what a full disk refused. */
  tick(): void {
    this.#next.tick();
    if (this.#retry === undefined) return;
    this.#retryTicks += 1;
    if (this.#retryTicks >= RETRY_TICKS) this.#retry();
  }

  get failure(): QuorateError | undefined {
    return this.#failure;
  }

  /** Queues entries and state. A state that is no news touches no disk. */
  persist(write: Persist, done: Persisted): void {
    const { entries, hardState } = write;
    const before = this.#hardState;
    const { term, vote } = hardState ?? before;
    const commit = Math.max(hardState?.commit ?? 0, before.commit);
    const promises = term !== before.term || vote !== before.vote;
    const isNews = promises || commit > before.commit;
    let bound = 0;
    for (const entry of entries) bound += entryRecordBound(entry.data.length);
    if (entries.length > 0 || isNews) bound += 2 * RECORD_OVERHEAD_BYTES;
    // Before the state changes: the head of a new segment repeats the old one.
    const encoder = this.#add(bound, done);
    if (encoder === undefined) return;
    this.#hardState = { term, vote, commit };
    const start = encoder.length;
    // The term first, so that no torn write leaves an entry of a term that the node never entered;
    // the commit index last, so that none leaves one beyond the log.
    if (promises && entries.length > 0) encoder.state({ term, vote, commit: before.commit });
    for (const entry of entries) {
      encoder.entry(entry);
      this.#terms.append(entry.index, entry.term);
    }
    if (isNews) encoder.state(this.#hardState);
    this.#position += encoder.length - start;
  }

  /** Queues the note that the snapshot `metadata` is current. */
  noteSnapshot(metadata: SnapshotMetadata, done: Persisted): void {
    const bound = snapshotRecordBound(metadata) + RECORD_OVERHEAD_BYTES;
    const encoder = this.#add(bound, done);
    if (encoder === undefined) return;
    const start = encoder.length;
    encoder.snapshot(metadata);
    this.#terms.snapshot(metadata.index, metadata.term);
    // etcd's tools take only those snapshots for valid that the state says are committed.
    const commit = Math.max(metadata.index, this.#hardState.commit);
    this.#hardState = { ...this.#hardState, commit };
    encoder.state(this.#hardState);
    this.#position += encoder.length - start;
  }

  /**
   * Adds a write of up to `bound` bytes to the batch being filled, or to a new one where it would
   * overrun the segment. @returns where to encode it; `undefined` where there is nothing to encode
   * or `done` gets an error.
   */
  #add(bound: number, done: Persisted): RecordEncoder | undefined {
    const refusal = this.#refusal(bound);
    if (refusal !== undefined) {
      queueMicrotask(() => done(refusal));
      return undefined;
    }
    const overruns = this.#position + bound + CRC_RECORD_BYTES > this.#segmentSize;
    if (bound > 0 && overruns) this.#beginSegment();
    this.#filling ??= this.#newBatch();
    const batch = this.#filling;
    batch.dones.push(done);
    this.#running ??= this.#run();
    if (bound === 0) return undefined;
    batch.bound += bound;
    this.#queuedBytes += bound;
    const encoder = batch.encoder;
    if (encoder.length === 0 && this.#options.fsync) {
      encoder.crc();
      this.#position += encoder.length;
    }
    return encoder;
  }

  #refusal(bound: number): QuorateError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#closed)
      return new QuorateError('ERR_CLOSED', 'the log is closed: nothing was written');
    if (this.#queuedBytes + bound <= MAX_QUEUED_BYTES) return undefined;
    return new QuorateError(
      'ERR_INTERNAL',
      `${this.#queuedBytes} bytes wait to be written to ${this.#options.folder}: ` +
        'the disk is too slow for what is proposed, and nothing held it back',
    );
  }

  #newBatch(): Batch {
    const buffer = this.#spare ?? Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
    this.#spare = undefined;
    const encoder = new RecordEncoder(this.#chain, buffer);
    return { encoder, dones: [], bound: 0, newSegment: undefined };
  }

  /** Ends the batch being filled: it will be the next one written. */
  #seal(): void {
    const batch = this.#filling;
    if (batch === undefined) return;
    this.#filling = undefined;
    this.#chain = batch.encoder.chain;
    this.#sealed.push(batch);
  }

  /** Starts a batch with the head of a new segment: checksum so far, metadata, state. */
  #beginSegment(): void {
    this.#seal();
    const batch = this.#newBatch();
    const { encoder } = batch;
    encoder.crc();
    encoder.metadata(this.#options.identity);
    if (this.#hardState.term > 0) encoder.state(this.#hardState);
    batch.newSegment = this.#terms.last + 1;
    this.#filling = batch;
    this.#position = encoder.length;
    this.#segmentSize = this.#nextSize(this.#segmentSize);
  }

  #nextSize(size: number): number {
    return Math.min(this.#options.segmentBytes, size * GROWTH);
  }

  /** Writes batch after batch until nothing is queued. */
  async #run(): Promise<void> {
    // Whatever is queued in the same turn goes into the first batch.
    await undefined;
    for (;;) {
      if (this.#sealed.length === 0) this.#seal();
      // Rarely more than one element: a ring would gain nothing.
      const batch = this.#sealed.shift();
      if (batch === undefined) break;
      if (this.#failure === undefined) await this.#flush(batch);
      this.#complete(batch);
    }
    this.#running = undefined;
    if (this.#failure !== undefined || !this.#options.fsync) return;
    // The next write would vouch for what was written so far; there is none.
    this.#options.mark.note({ segment: this.#segments.at(-1)!.sequence, offset: this.#offset });
  }

  /**
   * Writes `batch`. A full disk refuses before it takes anything, or takes a part that is written again as
   * a whole: nothing is lost, and the batch waits for space. Any other error is final.
   */
  async #flush(batch: Batch): Promise<void> {
    const { encoder } = batch;
    const path = this.#segments.at(-1)!.path;
    for (;;) {
      try {
        if (batch.newSegment !== undefined) return await this.#flushToNewSegment(batch);
        if (encoder.length === 0) return;
        await this.#write(this.#file, encoder, this.#offset);
        return this.#advance(encoder.length);
      } catch (error) {
        if (!isNoSpace(error) || this.#closed) {
          return this.fail(diskFailed(`writing ${path}`, error));
        }
      }
      await this.#spaceMayBe();
    }
  }

  /** Resolves when it is worth a try whether there is space now, or when the log is to be closed. */
  #spaceMayBe(): Promise<void> {
    return new Promise((resolve) => {
      this.#retryTicks = 0;
      this.#retry = () => {
        this.#retry = undefined;
        resolve();
      };
    });
  }

  async #write(file: DiskFile, encoder: RecordEncoder, offset: number): Promise<void> {
    const data = encoder.buffer.subarray(0, encoder.length);
    if (this.#options.fsync && file.writeDurably !== undefined) {
      return file.writeDurably(data, offset);
    }
    await file.write(data, offset);
    if (this.#options.fsync) await file.sync();
  }

  async #flushToNewSegment(batch: Batch): Promise<void> {
    const { disk, folder, fsync, mark } = this.#options;
    const before = this.#segments.at(-1)!;
    const sequence = before.sequence + 1;
    const path = join(folder, segmentName(sequence, batch.newSegment!));
    const size = this.#nextSize(before.size);
    const file = await this.#next.take(sequence, size);
    const { encoder } = batch;
    try {
      await this.#write(file, encoder, 0);
      await disk.rename(file.path, path);
      await disk.syncFolder(folder);
      // From here on a folder without this segment is one that lost it.
      if (fsync) await mark.noteDurably({ segment: sequence, offset: 0 });
      await this.#file.close();
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    this.#offset = 0;
    this.#segments.push({ sequence, firstIndex: batch.newSegment!, path, size });
    this.#advance(encoder.length);
  }

  /** Moves on behind what was written; begins to prepare the next segment in good time. */
  #advance(bytes: number): void {
    this.#offset += bytes;
    const segment = this.#segments.at(-1)!;
    segment.size = Math.max(segment.size, this.#offset);
    if (this.#offset > segment.size / 4) {
      this.#next.prepare(segment.sequence + 1, this.#nextSize(segment.size));
    }
  }

  #complete(batch: Batch): void {
    this.#queuedBytes -= batch.bound;
    const { buffer } = batch.encoder;
    if (buffer.length <= KEPT_BUFFER_BYTES) this.#spare ??= buffer;
    for (const done of batch.dones) done(this.#failure);
  }

  /** Latches the log. The first failure is the one reported. */
  fail(error: QuorateError): void {
    this.#failure ??= error;
  }

  /**
   * Removes the oldest segments that hold nothing above `limit`, one by one, each removal durable
   * before the next, so that no gap can appear. The first segment kept starts at or before `limit`.
   */
  async release(limit: number): Promise<void> {
    const { disk, folder } = this.#options;
    while (this.#segments.length > 1 && this.#segments[1]!.firstIndex <= limit) {
      const oldest = this.#segments[0]!;
      await disk.remove(oldest.path);
      await disk.syncFolder(folder);
      this.#segments.shift();
    }
  }

  /** Writes what is queued and closes the files. Never rejects: errors went to who queued. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#running === undefined) this.#next.stop();
    this.#retry?.();
    await this.#running;
    await this.#next.close();
    await this.#file.close().catch((error) => this.#options.onWarning(String(error)));
  }
}
