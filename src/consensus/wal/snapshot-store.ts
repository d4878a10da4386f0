/**
 * The snapshots of a node: writes a new one beside the current, makes it current in an order in which
 * a crash at any point leaves one that is whole, reads the current one, removes old ones.
 */
import { join } from 'node:path';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { SnapshotWriter, Storage } from '../storage.ts';
import type { NodeId, SnapshotMetadata } from '../types.ts';
import { diskFailed, type LogWriter } from './log-writer.ts';
import { isNoSpace } from './next-segment.ts';
import {
  type SnapshotFile,
  SnapshotFileReader,
  SnapshotFileWriter,
  snapshotName,
} from './snapshot-file.ts';

/** The current one and the one before, should the current one turn out damaged. */
const KEPT_SNAPSHOTS = 2;

export interface SnapshotStoreOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly clusterId: NodeId;
  readonly log: LogWriter;
  /** Newest first. */
  readonly files: readonly SnapshotFile[];
  readonly current: SnapshotFile | undefined;
  readonly onWarning: (text: string) => void;
}

export class SnapshotStore {
  readonly #options: SnapshotStoreOptions;
  /** Newest first. */
  #files: SnapshotFile[];
  #current: SnapshotFile | undefined;
  /** Readers of each file: it stays until they end. */
  readonly #readers: Map<string, number>;
  /** The one being written. */
  #writing: { settled: Promise<void> } | undefined;
  #staged: StagedSnapshot | undefined;
  #closed: boolean;

  constructor(options: SnapshotStoreOptions) {
    this.#options = options;
    this.#files = [...options.files];
    this.#current = options.current;
    this.#readers = new Map();
    this.#writing = undefined;
    this.#staged = undefined;
    this.#closed = false;
  }

  get currentIndex(): number {
    return this.#current?.metadata.index ?? 0;
  }

  get diskBytes(): number {
    return this.#files.reduce((sum, file) => sum + file.fileBytes, 0);
  }

  async create(metadata: SnapshotMetadata): Promise<SnapshotWriter> {
    if (this.#closed) throw closedError();
    if (this.#writing !== undefined) {
      throw new QuorateError(
        'ERR_BUSY',
        'a snapshot is being written already; wait for its commit or abort',
        { retryable: true },
      );
    }
    if (metadata.index <= this.currentIndex) {
      throw new QuorateError(
        'ERR_INVALID_ARGUMENT',
        `a snapshot at index ${metadata.index} is not newer than the current one at ${this.currentIndex}`,
      );
    }
    const { disk, folder, clusterId } = this.#options;
    const path = join(folder, snapshotName(metadata));
    let settle!: () => void;
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#writing = { settled };
    const end = (): void => {
      this.#writing = undefined;
      settle();
    };
    let staged: StagedSnapshot;
    try {
      const file = await disk.open(`${path}.tmp`, 'create');
      staged = new StagedSnapshot(this, metadata, path, file, clusterId, end);
    } catch (error) {
      end();
      throw snapshotFailed(`creating ${path}.tmp`, error);
    }
    if (!this.#closed) return staged;
    await staged.abort();
    throw closedError();
  }

  /**
   * Makes the finished file `path.tmp` the current snapshot. Only the note in the log makes it count,
   * so whatever fails before leaves the one before current.
   */
  async adopt(file: SnapshotFile): Promise<void> {
    const { disk, folder, log } = this.#options;
    try {
      await disk.rename(`${file.path}.tmp`, file.path);
      await disk.syncFolder(folder);
    } catch (error) {
      throw diskFailed(`putting ${file.path} in place`, error);
    }
    await new Promise<void>((resolve, reject) => {
      log.noteSnapshot(file.metadata, (error) => (error ? reject(error) : resolve()));
    });
    this.#current = file;
    this.#files = [file, ...this.#files.filter(({ path }) => path !== file.path)];
    await this.prune();
  }

  /** Removes what is older than the newest few and not being read. What fails is tried next time. */
  async prune(): Promise<void> {
    const { disk, onWarning } = this.#options;
    for (const file of this.#files.slice(KEPT_SNAPSHOTS)) {
      if (this.#readers.has(file.path)) continue;
      // Taken off first: two prunings may run at once.
      this.#files = this.#files.filter((other) => other !== file);
      try {
        await disk.remove(file.path);
      } catch (error) {
        onWarning(`the old snapshot ${file.path} could not be removed: ${error}`);
      }
    }
  }

  async discard(path: string): Promise<void> {
    try {
      await this.#options.disk.remove(path);
    } catch (error) {
      this.#options.onWarning(`${path} could not be removed: ${error}`);
    }
  }

  read(): ReturnType<Storage['readSnapshot']> {
    const file = this.#current;
    if (file === undefined) return undefined;
    return {
      metadata: file.metadata,
      bytes: file.bytes,
      chunks: { [Symbol.asyncIterator]: () => this.#chunks(file) },
    };
  }

  async *#chunks(snapshot: SnapshotFile): AsyncGenerator<Uint8Array, void, undefined> {
    const { disk, clusterId } = this.#options;
    const { path } = snapshot;
    if (this.#closed) throw closedError();
    this.#readers.set(path, (this.#readers.get(path) ?? 0) + 1);
    let file: DiskFile | undefined;
    try {
      file = await disk.open(path, 'read').catch((error) => {
        throw new QuorateError(
          'ERR_UNAVAILABLE',
          `${path} cannot be opened (${error.code}): newer snapshots replaced it; read the newest again`,
          { retryable: true, cause: error },
        );
      });
      const reader = new SnapshotFileReader(file, path, await file.size());
      await reader.readHeader(clusterId);
      for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
        yield chunk;
        if (this.#closed) throw closedError();
      }
    } finally {
      await file?.close();
      const readers = this.#readers.get(path)! - 1;
      if (readers > 0) this.#readers.set(path, readers);
      else this.#readers.delete(path);
      if (!this.#closed) await this.prune();
    }
  }

  /** Waits for a snapshot that is being made current; one that is only being written is abandoned. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#staged?.abort();
    await this.#writing?.settled;
  }

  /** The writer now open, for `close`. */
  stage(writer: StagedSnapshot | undefined): void {
    this.#staged = writer;
  }
}

/** A snapshot for which there is no space is given up; nothing rests on it yet. */
function snapshotFailed(action: string, error: unknown): QuorateError {
  if (!isNoSpace(error)) return diskFailed(action, error);
  return new QuorateError(
    'ERR_NO_SPACE',
    `${action}: the disk is full. The snapshot was given up, and is tried again later; free space on that disk`,
    { retryable: true, cause: error },
  );
}

function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'the storage is closed');
}

/** One snapshot under way. */
class StagedSnapshot implements SnapshotWriter {
  readonly #store: SnapshotStore;
  readonly #metadata: SnapshotMetadata;
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #writer: SnapshotFileWriter;
  readonly #end: () => void;
  #state: 'open' | 'committing' | 'ended';
  #isFinished: boolean;
  /** The write under way. A file is not closed before it: its descriptor might be another file's by then. */
  #busy: Promise<void> | undefined;
  #discarding: Promise<void> | undefined;

  constructor(
    store: SnapshotStore,
    metadata: SnapshotMetadata,
    path: string,
    file: DiskFile,
    clusterId: NodeId,
    end: () => void,
  ) {
    this.#store = store;
    this.#metadata = metadata;
    this.#path = path;
    this.#file = file;
    this.#writer = new SnapshotFileWriter(file, clusterId, metadata);
    this.#end = end;
    this.#state = 'open';
    this.#isFinished = false;
    this.#busy = undefined;
    this.#discarding = undefined;
    store.stage(this);
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#requireOpen();
    this.#busy = this.#writer.write(chunk);
    try {
      await this.#busy;
    } catch (error) {
      if (error instanceof QuorateError) throw error;
      throw await this.#failed(error);
    }
  }

  async finish(): Promise<void> {
    this.#requireOpen();
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#busy = this.#writer.finish();
    try {
      await this.#busy;
    } catch (error) {
      throw await this.#failed(error);
    }
  }

  async commit(): Promise<void> {
    await this.finish();
    this.#state = 'committing';
    try {
      await this.#file.close();
    } catch (error) {
      throw await this.#failed(error);
    }
    const { bytes, fileBytes } = this.#writer;
    try {
      await this.#store.adopt({ path: this.#path, metadata: this.#metadata, bytes, fileBytes });
    } finally {
      this.#finish();
    }
  }

  async abort(): Promise<void> {
    if (this.#state !== 'open') return;
    await this.#discard();
  }

  #requireOpen(): void {
    if (this.#state === 'open') return;
    throw new QuorateError(
      'ERR_CLOSED',
      `the snapshot ${this.#path} was committed or given up before`,
    );
  }

  async #failed(error: unknown): Promise<QuorateError> {
    await this.#discard();
    return snapshotFailed(`writing ${this.#path}.tmp`, error);
  }

  #discard(): Promise<void> {
    this.#state = 'ended';
    this.#discarding ??= this.#remove();
    return this.#discarding;
  }

  async #remove(): Promise<void> {
    await this.#busy?.catch(() => undefined);
    await this.#file.close().catch(() => undefined);
    await this.#store.discard(`${this.#path}.tmp`);
    this.#finish();
  }

  #finish(): void {
    this.#state = 'ended';
    this.#store.stage(undefined);
    this.#end();
  }
}
