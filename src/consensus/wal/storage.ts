/**
 * Storage on a disk: etcd's folder layout, its log, and snapshots of our own format.
 *
 *   <folder>/lock-<pid>-…       held against a second process
 *   <folder>/member/wal/        log segments
 *   <folder>/member/durable     how far the log is durable
 *   <folder>/member/joining     the node is on probation
 *   <folder>/member/snap/       snapshots
 */
import { dirname, join } from 'node:path';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type {
  Identity,
  Persisted,
  RecoveredState,
  SnapshotWriter,
  Space,
  Storage,
} from '../storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from '../types.ts';
import { fileSize, pruneDamaged } from './damaged.ts';
import { DurableMark, type LogPosition } from './durable-mark.ts';
import { newTail } from './log-kind.ts';
import { RESTORE_ADVICE } from './log-reader.ts';
import { diskFailed, LogWriter } from './log-writer.ts';
import { writeFirstSegment } from './new-segment.ts';
import { type Recovered, recover } from './recovery.ts';
import { salvage } from './salvage.ts';
import { fillWithZeros, listSegments, type Segment } from './segment.ts';
import { SnapshotStore } from './snapshot-store.ts';

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
  /**
   * What to do about a log or a snapshot that is not as it was written. `refuse`: `ERR_CORRUPT`, nothing
   * is changed. `keep-sound-part`: the node starts with what is whole; before anything is changed it is
   * noted durably that it is on probation (`readJoiningMarker`), which the owner must serve before it
   * takes part. Only for a node with peers to repair it. @defaultValue `'refuse'`
   */
  readonly onDamage?: 'refuse' | 'keep-sound-part';
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
/** At a time, of a log that is written anew. */
const COPY_BYTES = 1 << 20;

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

/** The folders of a node. */
interface Folders {
  readonly member: string;
  readonly wal: string;
  readonly snap: string;
}

/** What a log was found to be, checked and settled. */
interface Opened extends Recovered {
  readonly segments: Segment[];
  readonly fresh: boolean;
}

/** Beside the log: how far it is durable. */
const MARK_FILE = 'durable';

async function openLocked(
  options: DiskStorageOptions,
  segmentBytes: number,
  unlock: () => Promise<void>,
): Promise<Storage> {
  const { disk, folder } = options;
  const member = join(folder, 'member');
  const folders = { member, wal: join(member, 'wal'), snap: join(member, 'snap') };
  for (const path of [member, folders.wal, folders.snap]) {
    await makeFolderDurably(disk, path);
    await removeLeftOver(disk, path);
  }
  const onWarning = options.onWarning ?? ignoreWarning;
  const mark = await DurableMark.open(disk, member, MARK_FILE, onWarning);
  try {
    const opened = await openOrSalvage(options, folders, segmentBytes, mark.found);
    return await startStorage(options, { folders, segmentBytes, opened, mark, unlock });
  } catch (error) {
    await mark.close();
    throw error;
  }
}

async function openOrSalvage(
  options: DiskStorageOptions,
  folders: Folders,
  segmentBytes: number,
  mark: LogPosition | undefined,
): Promise<Opened> {
  try {
    return await openLog(options, folders, segmentBytes, mark);
  } catch (error) {
    const isDamage = isQuorateError(error, 'ERR_CORRUPT');
    if (!isDamage || options.onDamage !== 'keep-sound-part') throw error;
    const { disk, folder: dataDir, identity, bootstrap, onWarning } = options;
    await salvage({
      ...{ disk, dataDir, identity, bootstrap, walFolder: folders.wal, snapFolder: folders.snap },
      segmentBytes: Math.min(segmentBytes, FIRST_SEGMENT_BYTES),
      lastSequence: mark?.segment ?? -1,
    });
    onWarning?.(
      `${error.message.replace(RESTORE_ADVICE, '')}Kept what is whole and set the damaged files ` +
        'aside: this node takes part again when it has the rest from its peers.',
    );
    return openLog(options, folders, segmentBytes, mark);
  }
}

async function openLog(
  options: DiskStorageOptions,
  folders: Folders,
  segmentBytes: number,
  mark: LogPosition | undefined,
): Promise<Opened> {
  const { disk, identity, bootstrap } = options;
  let segments = await listSegments(disk, folders.wal);
  const fresh = segments.length === 0;
  if (fresh) {
    await refuseLostLog(disk, folders, mark);
    const { entries = [], hardState } = bootstrap ?? {};
    const size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES);
    const start = { identity, snapshot: undefined, entries, hardState };
    await (await writeFirstSegment(disk, folders.wal, 0, size, start)).place();
    segments = await listSegments(disk, folders.wal);
  }
  const onWarning = options.onWarning ?? ignoreWarning;
  const { snap: snapFolder } = folders;
  const recovered = await recover({ disk, snapFolder, identity, segments, mark, onWarning });
  return { ...recovered, segments, fresh };
}

async function startStorage(
  options: DiskStorageOptions,
  parts: {
    readonly folders: Folders;
    readonly segmentBytes: number;
    readonly opened: Opened;
    readonly mark: DurableMark;
    readonly unlock: () => Promise<void>;
  },
): Promise<Storage> {
  const { disk, identity, onWarning = ignoreWarning, fsync = true } = options;
  const { folders, segmentBytes, opened, mark, unlock } = parts;
  const { image, end, segments, snapshot, older, fresh } = opened;
  const file = await disk.open(segments.at(-1)!.path, 'write');
  try {
    await settleTail(disk, file, opened, mark.found, onWarning);
    await disk.syncFolder(folders.wal);
  } catch (error) {
    await file.close();
    throw error;
  }
  const { index = 0, term = 0 } = snapshot?.metadata ?? {};
  const terms = newTail(identity, index, term);
  for (const entry of image.entries) terms.append(entry.index, entry.term);
  const { hardState, entries } = image;
  const { offset, chain } = end;
  const log = new LogWriter({
    ...{ disk, folder: folders.wal, identity, segmentBytes, segments, file, offset, chain },
    ...{ hardState, terms, onWarning, fsync, mark },
  });
  const snapshots = new SnapshotStore({
    ...{ disk, folder: folders.snap, clusterId: identity.clusterId, log, onWarning },
    files: snapshot === undefined ? older : [snapshot, ...older],
    current: snapshot,
  });
  await snapshots.prune();
  let damagedBytes = 0;
  for (const path of [folders.wal, folders.snap]) damagedBytes += await pruneDamaged(disk, path);
  const recovered = { hardState, snapshot: snapshot?.metadata, entries, fresh };
  return new DiskStorage(recovered, { log, snapshots, mark, unlock, onWarning, damagedBytes });
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

/** Snapshots, or a note how far the log was durable, without any log: a new one would forget this node's term and vote. */
async function refuseLostLog(
  disk: Disk,
  folders: Folders,
  mark: LogPosition | undefined,
): Promise<void> {
  const left = (await disk.list(folders.snap)).filter((name) => name.endsWith('.state'));
  if (left.length === 0 && mark === undefined) return;
  const found = left.length > 0 ? `${folders.snap} holds snapshots` : 'there was one';
  throw new QuorateError(
    'ERR_CORRUPT',
    `${folders.wal} holds no log, but ${found}: the log was lost. ${RESTORE_ADVICE}`,
  );
}

/**
 * Cuts a torn write off, and makes durable what was only in the page cache: the process may have died
 * between its write and its sync, and what is promised from here on rests on it. A sync alone will not do:
 * where one failed in an earlier life, the cache passes for written and is not (Rebello et al. 2020). So what
 * is not known to be durable is written anew.
 */
async function settleTail(
  disk: Disk,
  file: DiskFile,
  { segments, end }: Opened,
  durable: LogPosition | undefined,
  onWarning: (text: string) => void,
): Promise<void> {
  const tail = segments.at(-1)!;
  for (const segment of segments) segment.size = await fileSize(disk, segment.path);
  await writeAnew(file, durable?.segment === tail.sequence ? durable.offset : 0, end.offset);
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

/** Writes `[start, end)` as it is found over itself. Durable with the next sync. */
async function writeAnew(file: DiskFile, start: number, end: number): Promise<void> {
  for (let at = start; at < end; at += COPY_BYTES) {
    await file.write(await file.read(at, Math.min(COPY_BYTES, end - at)), at);
  }
}

/** What a storage is made of, once it is open. */
interface StorageParts {
  readonly log: LogWriter;
  readonly snapshots: SnapshotStore;
  readonly mark: DurableMark;
  readonly unlock: () => Promise<void>;
  readonly onWarning: (text: string) => void;
  /** Of files that were set aside. */
  readonly damagedBytes: number;
}

class DiskStorage implements Storage {
  recovered: RecoveredState;
  readonly #log: LogWriter;
  readonly #snapshots: SnapshotStore;
  readonly #mark: DurableMark;
  readonly #unlock: () => Promise<void>;
  readonly #onWarning: (text: string) => void;
  readonly #damagedBytes: number;
  /** The newest index released; removal runs in the background, one at a time. */
  #released: number;
  #releasing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(recovered: RecoveredState, parts: StorageParts) {
    this.recovered = recovered;
    this.#log = parts.log;
    this.#snapshots = parts.snapshots;
    this.#mark = parts.mark;
    this.#unlock = parts.unlock;
    this.#onWarning = parts.onWarning;
    this.#damagedBytes = parts.damagedBytes;
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

  get space(): Space {
    return this.#log.space;
  }

  tick(): void {
    if (this.#closing !== undefined) return;
    this.#log.tick();
    this.#mark.tick();
  }

  diskBytes(): number {
    return this.#log.diskBytes + this.#snapshots.diskBytes + this.#damagedBytes;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#releasing;
    await this.#snapshots.close();
    await this.#log.close();
    await this.#mark.close();
    await this.#unlock();
  }
}
