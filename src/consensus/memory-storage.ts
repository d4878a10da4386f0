/** Storage that keeps nothing after `close`: for tests and for tools that need no durability. */
import { QuorateError } from '../core/errors.ts';
import type { Identity, Persisted, RecoveredState, SnapshotWriter, Storage } from './storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from './types.ts';

export interface MemoryStorageOptions {
  readonly identity?: Identity;
  readonly bootstrap?: { readonly entries: readonly Entry[]; readonly hardState: HardState };
}

interface Kept {
  readonly metadata: SnapshotMetadata;
  readonly chunks: readonly Uint8Array[];
}

/** A storage in memory. Writes complete on a later turn, in order, as a disk's do. */
export function memoryStorage(options: MemoryStorageOptions = {}): Storage {
  const recovered: RecoveredState = {
    hardState: options.bootstrap?.hardState ?? { term: 0, vote: '', commit: 0 },
    snapshot: undefined,
    entries: options.bootstrap?.entries ?? [],
    fresh: true,
  };
  let snapshot: Kept | undefined;
  let isWriting = false;
  let isClosed = false;
  const waiting: Persisted[] = [];
  return {
    recovered,
    persist(_write: Persist, done: Persisted) {
      if (isClosed) return done(new QuorateError('ERR_CLOSED', 'the storage is closed'));
      waiting.push(done);
      if (waiting.length > 1) return;
      setImmediate(() => {
        for (const one of waiting.splice(0)) one(undefined);
      });
    },
    async createSnapshot(metadata): Promise<SnapshotWriter> {
      if (isWriting) throw new QuorateError('ERR_INTERNAL', 'one snapshot is written at a time');
      isWriting = true;
      const chunks: Uint8Array[] = [];
      return {
        async write(chunk) {
          chunks.push(Buffer.from(chunk));
        },
        async commit() {
          if (!isWriting) return;
          isWriting = false;
          snapshot = { metadata, chunks };
        },
        async abort() {
          isWriting = false;
        },
      };
    },
    readSnapshot() {
      if (snapshot === undefined) return undefined;
      const { metadata, chunks } = snapshot;
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      return { metadata, bytes, chunks: each(chunks) };
    },
    release: () => undefined,
    diskBytes: () => 0,
    async close() {
      isClosed = true;
    },
  };
}

async function* each(chunks: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  for (const chunk of chunks) yield chunk;
}
