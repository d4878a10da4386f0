/**
 * Storage on a disk: etcd's folder layout, its log, and snapshots of our own format.
 *
 *   <folder>/lock-<pid>-…       held against a second process
 *   <folder>/member/wal/        log segments
 *   <folder>/member/snap/       snapshots
 */
import { dirname, join } from 'node:path';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Identity, Persisted, RecoveredState, SnapshotWriter, Storage } from '../storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from '../types.ts';
import { diskFailed, LogWriter } from './log-writer.ts';
import { RecordEncoder } from './record.ts';
import { recover } from './recovery.ts';
import { createZeroed, fillWithZeros, listSegments, type Segment, segmentName } from './segment.ts';
import { SnapshotStore } from './snapshot-store.ts';
import { TermRuns } from './term-runs.ts';

export interface DiskStorageSettings {
  /**
   * Size of a log segment. The first ones are smaller, so that a new node starts at once.
   * @defaultValue 64 MiB, as etcd's
   */
  readonly segmentBytes?: number;
}

export interface DiskStorageOptions {
  readonly disk: Disk;
  /** The node's data directory. Created where it does not exist. */
  readonly folder: string;
  readonly identity: Identity;
  readonly settings?: DiskStorageSettings;
  /** What a new node's log starts with, durable before `openDiskStorage` resolves. Ignored by others. */
  readonly bootstrap?: { readonly hardState: HardState; readonly entries: readonly Entry[] };
  /**
   * Whether writes wait for `fdatasync`. Without, a crash of the machine (not of the process) may lose
   * acknowledged writes and break the promises of the whole cluster: for throw-away clusters only.
   * @defaultValue true
   */
  readonly fsync?: boolean;
  /** Told what was repaired or worked around. @defaultValue nobody */
  readonly onWarning?: (text: string) => void;
}

const SEGMENT_BYTES = 64 << 20;
/** A segment holds at least its head and some records. */
const MIN_SEGMENT_BYTES = 4096;
const FIRST_SEGMENT_BYTES = 4 << 20;

/**
 * Opens the storage of a node, or creates it.
 *
 * Everything found is read and verified; a write that a crash cut short is removed from the end.
 *
 * @throws `ERR_DATA_DIR_LOCKED` where another process has it open, `ERR_DATA_DIR_MISMATCH` where it
 *   is another node's, `ERR_CORRUPT` where a file is not as it was written (names file and byte),
 *   `ERR_DISK_FAILED` where the disk refuses.
 */
export async function openDiskStorage(options: DiskStorageOptions): Promise<Storage> {
  const { disk, folder } = options;
  const segmentBytes = options.settings?.segmentBytes ?? SEGMENT_BYTES;
  if (!Number.isSafeInteger(segmentBytes) || segmentBytes < MIN_SEGMENT_BYTES) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `segmentBytes: ${segmentBytes} is out of range; use a whole number from ${MIN_SEGMENT_BYTES}`,
    );
  }
  let unlock: (() => Promise<void>) | undefined;
  try {
    await makeFolderDurably(disk, folder);
    unlock = await disk.lock(folder);
    return await openLocked(options, segmentBytes, unlock);
  } catch (error) {
    await unlock?.();
    if (error instanceof QuorateError) throw error;
    throw (
      unusableFolder(folder, error) ?? diskFailed(`opening the data directory ${folder}`, error)
    );
  }
}

/** What the path is at fault for, not the disk. */
const WHY_UNUSABLE: Readonly<Record<string, string>> = {
  EACCES: 'this user may not read and write there',
  EPERM: 'this user may not read and write there',
  EROFS: 'its file system is read-only',
  ENOTDIR: 'a file is in its place',
  EEXIST: 'a file is in its place',
  ENOENT: 'it is not there and cannot be made',
  ENAMETOOLONG: 'its name is too long',
};

function unusableFolder(folder: string, cause: unknown): QuorateError | undefined {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const why = WHY_UNUSABLE[code];
  if (why === undefined) return undefined;
  return new QuorateError(
    'ERR_DISK_FAILED',
    `the data directory ${folder} cannot be used: ${why} (${code}); mend that, or give another`,
    { cause },
  );
}

async function openLocked(
  options: DiskStorageOptions,
  segmentBytes: number,
  unlock: () => Promise<void>,
): Promise<Storage> {
  const { disk, folder, identity } = options;
  const walFolder = join(folder, 'member', 'wal');
  const snapFolder = join(folder, 'member', 'snap');
  for (const path of [join(folder, 'member'), walFolder, snapFolder]) {
    await makeFolderDurably(disk, path);
    await removeLeftOver(disk, path);
  }
  let segments = await listSegments(disk, walFolder);
  const fresh = segments.length === 0;
  if (fresh) {
    await refuseLostLog(disk, walFolder, snapFolder);
    await createFirstSegment(options, walFolder, Math.min(segmentBytes, FIRST_SEGMENT_BYTES));
    segments = await listSegments(disk, walFolder);
  }
  const onWarning = options.onWarning ?? ignoreWarning;
  const recovered = await recover({ disk, snapFolder, identity, segments, onWarning });
  const { image, end, snapshot, older } = recovered;
  const file = await disk.open(segments.at(-1)!.path, 'write');
  try {
    await settleTail(disk, file, segments, end, onWarning);
    await disk.syncFolder(walFolder);
  } catch (error) {
    await file.close();
    throw error;
  }
  const terms = new TermRuns(snapshot?.metadata.index ?? 0, snapshot?.metadata.term ?? 0);
  for (const entry of image.entries) terms.append(entry.index, entry.term);
  const { hardState, entries } = image;
  const { offset, chain } = end;
  const log = new LogWriter({
    ...{ disk, folder: walFolder, identity, segmentBytes, segments, file, offset, chain },
    ...{ hardState, terms, onWarning, fsync: options.fsync ?? true },
  });
  const snapshots = new SnapshotStore({
    ...{ disk, folder: snapFolder, clusterId: identity.clusterId, log, onWarning },
    files: snapshot === undefined ? older : [snapshot, ...older],
    current: snapshot,
  });
  await snapshots.prune();
  const state = { hardState, snapshot: snapshot?.metadata, entries, fresh };
  return new DiskStorage(state, log, snapshots, unlock, onWarning);
}

function ignoreWarning(_text: string): void {
  // Whoever passes no listener wants no warnings.
}

async function makeFolderDurably(disk: Disk, path: string): Promise<void> {
  if (await disk.exists(path)) return;
  await disk.makeFolder(path);
  await disk.syncFolder(dirname(path));
}

/** Removes what was being written when the node stopped. */
async function removeLeftOver(disk: Disk, folder: string): Promise<void> {
  for (const name of await disk.list(folder)) {
    if (name.endsWith('.tmp')) await disk.remove(join(folder, name));
  }
}

/** Snapshots without any log: a new one would forget this node's term and vote. */
async function refuseLostLog(disk: Disk, walFolder: string, snapFolder: string): Promise<void> {
  const left = (await disk.list(snapFolder)).filter((name) => name.endsWith('.state'));
  if (left.length === 0) return;
  throw new QuorateError(
    'ERR_CORRUPT',
    `${walFolder} holds no log, but ${snapFolder} holds snapshots: the log was lost. ` +
      'Restore this node from its peers: remove the member, delete its data directory, and add it again',
  );
}

/** Writes the first segment under a temporary name: a crash before the rename leaves a new node. */
async function createFirstSegment(
  options: DiskStorageOptions,
  walFolder: string,
  size: number,
): Promise<void> {
  const { disk, identity, bootstrap } = options;
  const encoder = new RecordEncoder(0, Buffer.allocUnsafeSlow(MIN_SEGMENT_BYTES));
  encoder.crc();
  encoder.metadata(identity);
  encoder.snapshot({ index: 0, term: 0, configuration: { voters: [], learners: [] } });
  for (const entry of bootstrap?.entries ?? []) encoder.entry(entry);
  if (bootstrap !== undefined) encoder.state(bootstrap.hardState);
  const path = join(walFolder, segmentName(0, 0));
  const file = await createZeroed(disk, `${path}.tmp`, size);
  try {
    await file.write(encoder.buffer.subarray(0, encoder.length), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(`${path}.tmp`, path);
  await disk.syncFolder(walFolder);
}

/**
 * Cuts a torn write off, and makes durable what was only in the page cache: the process may have died
 * between its write and its sync, and what is promised from here on rests on it.
 */
async function settleTail(
  disk: Disk,
  file: DiskFile,
  segments: Segment[],
  end: { offset: number; dirtyEnd: number },
  onWarning: (text: string) => void,
): Promise<void> {
  const tail = segments.at(-1)!;
  for (const segment of segments) segment.size = await sizeOf(disk, segment.path);
  if (end.dirtyEnd > end.offset) {
    onWarning(
      `${tail.path}: the last write was cut short by a crash; ` +
        `removed what there was of it, from byte ${end.offset} on`,
    );
    await fillWithZeros(file, end.offset, end.dirtyEnd);
  } else {
    await file.sync();
  }
}

async function sizeOf(disk: Disk, path: string): Promise<number> {
  const file = await disk.open(path, 'read');
  try {
    return await file.size();
  } finally {
    await file.close();
  }
}

class DiskStorage implements Storage {
  recovered: RecoveredState;
  readonly #log: LogWriter;
  readonly #snapshots: SnapshotStore;
  readonly #unlock: () => Promise<void>;
  readonly #onWarning: (text: string) => void;
  /** The newest index released; removal runs in the background, one at a time. */
  #released: number;
  #releasing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    recovered: RecoveredState,
    log: LogWriter,
    snapshots: SnapshotStore,
    unlock: () => Promise<void>,
    onWarning: (text: string) => void,
  ) {
    this.recovered = recovered;
    this.#log = log;
    this.#snapshots = snapshots;
    this.#unlock = unlock;
    this.#onWarning = onWarning;
    this.#released = 0;
    this.#releasing = undefined;
    this.#closing = undefined;
  }

  forgetEntries(): void {
    this.recovered = { ...this.recovered, entries: [] };
  }

  persist(write: Persist, done: Persisted): void {
    this.#log.persist(write, done);
  }

  createSnapshot(metadata: SnapshotMetadata): Promise<SnapshotWriter> {
    return this.#snapshots.create(metadata);
  }

  readSnapshot(): ReturnType<Storage['readSnapshot']> {
    return this.#snapshots.read();
  }

  release(index: number): void {
    if (this.#closing !== undefined) return;
    this.#released = Math.max(index, this.#released);
    this.#releasing ??= this.#release();
  }

  async #release(): Promise<void> {
    await undefined;
    for (let done = 0; done < this.#released && this.#log.failure === undefined; ) {
      done = this.#released;
      try {
        // Never beyond the snapshot: the log must reach back to it.
        await this.#log.release(Math.min(done, this.#snapshots.currentIndex));
      } catch (error) {
        this.#onWarning(`old log segments could not be removed: ${error}`);
      }
    }
    this.#releasing = undefined;
  }

  diskBytes(): number {
    return this.#log.diskBytes + this.#snapshots.diskBytes;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#releasing;
    await this.#snapshots.close();
    await this.#log.close();
    await this.#unlock();
  }
}
