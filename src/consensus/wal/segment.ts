/**
 * The files of a log: `<sequence>-<first index>.wal`, both 16 hex digits, as etcd names them. The
 * first index is that of the next entry when the segment was begun; entries that replace earlier
 * ones may lie below it.
 */
import { join } from 'node:path';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';

export interface Segment {
  readonly sequence: number;
  readonly firstIndex: number;
  readonly path: string;
  /** Bytes on disk. */
  size: number;
}

const NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

/** A number as file names carry it. */
export function hex16(value: number): string {
  return value.toString(16).padStart(16, '0');
}

export function segmentName(sequence: number, firstIndex: number): string {
  return `${hex16(sequence)}-${hex16(firstIndex)}.wal`;
}

/** The segments among the files called `names`, in order. Files of other names are left out. */
export function parseSegments(folder: string, names: readonly string[]): Segment[] {
  const segments: Segment[] = [];
  for (const name of [...names].sort()) {
    const match = NAME.exec(name);
    if (match === null) continue;
    const sequence = Number.parseInt(match[1]!, 16);
    const firstIndex = Number.parseInt(match[2]!, 16);
    segments.push({ sequence, firstIndex, path: join(folder, name), size: 0 });
  }
  return segments;
}

/**
 * The segments in `folder` in order. Files of other names are left alone.
 * @throws `ERR_CORRUPT` where one is missing in between.
 */
export async function listSegments(disk: Disk, folder: string): Promise<Segment[]> {
  const segments = parseSegments(folder, await disk.list(folder));
  for (const [i, { sequence, path }] of segments.entries()) {
    const before = segments[i - 1];
    if (before === undefined || sequence === before.sequence + 1) continue;
    throw new QuorateError(
      'ERR_CORRUPT',
      `${folder} lacks log segment ${hex16(before.sequence + 1)}: ${path} follows ${before.path}. ` +
        'Restore this node from its peers: remove the member, delete its data directory, and add it again',
    );
  }
  return segments;
}

/** Zeros are written in steps of this, */
const FILL_BYTES = 1 << 20;
/** and made durable every so many, lest one large sync hold up the log's own. */
const FILLS_PER_SYNC = 4;

const ZEROS = Buffer.alloc(FILL_BYTES);

/** Writes zeros over `[start, end)`, durable on return; less once `stopped` says so. */
export async function fillWithZeros(
  file: DiskFile,
  start: number,
  end: number,
  stopped?: () => boolean,
): Promise<void> {
  let fills = 0;
  for (let at = start; at < end && stopped?.() !== true; at += FILL_BYTES) {
    await file.write(ZEROS.subarray(0, Math.min(FILL_BYTES, end - at)), at);
    if (++fills % FILLS_PER_SYNC === 0) await file.sync();
  }
  await file.sync();
}

/**
 * Creates a file of `size` zeros at `path`, replacing a left-over one. Its blocks are allocated and
 * its size is final, so that a later `fdatasync` has no metadata to write (five times faster).
 */
export async function createZeroed(
  disk: Disk,
  path: string,
  size: number,
  stopped?: () => boolean,
): Promise<DiskFile> {
  if (await disk.exists(path)) await disk.remove(path);
  const file = await disk.open(path, 'create');
  try {
    await fillWithZeros(file, 0, size, stopped);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}
