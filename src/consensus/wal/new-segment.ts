/** Writes the first segment of a log under a temporary name: it appears as a whole or not at all. */
import { join } from 'node:path';
import type { Disk } from '../../core/disk.ts';
import type { Identity } from '../storage.ts';
import type { Entry, HardState, SnapshotMetadata } from '../types.ts';
import { RecordEncoder } from './record.ts';
import { createZeroed, segmentName } from './segment.ts';

const FIRST_BUFFER_BYTES = 4096;

/** What a log starts with. */
export interface LogStart {
  readonly identity: Identity;
  /** What the log follows. `undefined`: nothing, it begins with entry 1. */
  readonly snapshot: SnapshotMetadata | undefined;
  readonly entries: readonly Entry[];
  /** `undefined`: term 0. */
  readonly hardState: HardState | undefined;
}

const NO_SNAPSHOT: SnapshotMetadata = {
  index: 0,
  term: 0,
  configuration: { voters: [], learners: [] },
};

/** A segment that is written and not yet to be seen. */
export interface NewSegment {
  /** Gives it its name. Durable on return. */
  place(): Promise<void>;
}

/** Writes a segment of at least `size` bytes that begins a log. Durable on return, and not yet in place. */
export async function writeFirstSegment(
  disk: Disk,
  folder: string,
  sequence: number,
  size: number,
  start: LogStart,
): Promise<NewSegment> {
  const encoder = new RecordEncoder(0, Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES));
  encoder.crc();
  encoder.metadata(start.identity);
  encoder.snapshot(start.snapshot ?? NO_SNAPSHOT);
  for (const entry of start.entries) encoder.entry(entry);
  if (start.hardState !== undefined) encoder.state(start.hardState);
  const firstIndex = start.snapshot === undefined ? 0 : start.snapshot.index + 1;
  const path = join(folder, segmentName(sequence, firstIndex));
  const file = await createZeroed(disk, `${path}.tmp`, Math.max(size, encoder.length));
  try {
    await file.write(encoder.buffer.subarray(0, encoder.length), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  return {
    async place() {
      await disk.rename(`${path}.tmp`, path);
      await disk.syncFolder(folder);
    },
  };
}
