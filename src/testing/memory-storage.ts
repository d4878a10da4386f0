/** Storage that keeps nothing beyond the process: for tests. */

import type { Persisted, RecoveredState, SnapshotWriter, Storage } from '../consensus/storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from '../consensus/types.ts';
import { QuorateError } from '../core/errors.ts';

interface MemoryStorageOptions {
  readonly bootstrap?: { readonly hardState: HardState; readonly entries: readonly Entry[] };
}

/** An empty storage in memory. Writes are reported as durable in the same turn of the event loop. */
export function memoryStorage(options: MemoryStorageOptions = {}): Storage {
  return new MemoryStorage(options);
}

interface StoredSnapshot {
  readonly metadata: SnapshotMetadata;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

class MemoryStorage implements Storage {
  recovered: RecoveredState;
  #snapshot: StoredSnapshot | undefined;
  #writing: boolean;
  #closed: boolean;

  constructor(options: MemoryStorageOptions) {
    this.recovered = {
      hardState: options.bootstrap?.hardState ?? { term: 0, vote: '', commit: 0 },
      snapshot: undefined,
      entries: options.bootstrap?.entries ?? [],
      fresh: true,
    };
    this.#snapshot = undefined;
    this.#writing = false;
    this.#closed = false;
  }

  forgetEntries(): void {
    this.recovered = { ...this.recovered, entries: [] };
  }

  persist(_write: Persist, done: Persisted): void {
    const error = this.#closed ? closedError() : undefined;
    queueMicrotask(() => done(error));
  }

  async createSnapshot(metadata: SnapshotMetadata): Promise<SnapshotWriter> {
    if (this.#closed) throw closedError();
    if (this.#writing) {
      throw new QuorateError(
        'ERR_BUSY',
        'a snapshot is being written already; wait for its commit or abort',
        { retryable: true },
      );
    }
    this.#writing = true;
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    let open = true;
    const end = (): void => {
      if (open) this.#writing = false;
      open = false;
    };
    return {
      write: async (chunk) => {
        if (!open || this.#closed) throw closedError();
        // The caller may use its buffer again.
        chunks.push(Uint8Array.prototype.slice.call(chunk));
        bytes += chunk.length;
      },
      finish: async () => undefined,
      commit: async () => {
        if (!open || this.#closed) throw closedError();
        this.#snapshot = { metadata, chunks, bytes };
        end();
      },
      abort: async () => end(),
    };
  }

  readSnapshot(): ReturnType<Storage['readSnapshot']> {
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return undefined;
    const { metadata, bytes, chunks } = snapshot;
    return {
      metadata,
      bytes,
      chunks: {
        async *[Symbol.asyncIterator]() {
          yield* chunks;
        },
      },
    };
  }

  release(_index: number): void {
    // The log is not kept here.
  }

  readonly space = 'ample';

  tick(): void {
    // Nothing waits, and memory is not a disk.
  }

  diskBytes(): number {
    return 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'the storage is closed');
}
