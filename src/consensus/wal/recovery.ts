/**
 * Opens what a node left on its disk: picks the snapshot to start from and the log after it.
 *
 * Normally that is the newest snapshot, the one the log notes last. A snapshot file that the log does
 * not note was never promised to anyone (the node died before the note) and is removed. Where the
 * newest is damaged or missing, an older one serves if the log after it is whole; else the node must
 * not start, since it would forget what it promised.
 */
import { join } from 'node:path';
import type { Disk } from '../../core/disk.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Identity } from '../storage.ts';
import { setAside } from './damaged.ts';
import { isBehind, type LogPosition } from './durable-mark.ts';
import type { RecordImage } from './log-image.ts';
import { newImage } from './log-kind.ts';
import { corrupt, type LogEnd, LogReader, RESTORE_ADVICE } from './log-reader.ts';
import { hex16, type Segment } from './segment.ts';
import { parseSnapshotName, type SnapshotFile, verifySnapshot } from './snapshot-file.ts';

export interface Recovered {
  readonly image: RecordImage;
  readonly end: LogEnd;
  /** The snapshot to start from; `undefined` for the beginning. */
  readonly snapshot: SnapshotFile | undefined;
  /** Older snapshots to keep, newest first. Unverified. */
  readonly older: readonly SnapshotFile[];
}

interface Candidate {
  readonly path: string;
  readonly index: number;
  readonly term: number;
}

export interface RecoveryOptions {
  readonly disk: Disk;
  readonly snapFolder: string;
  readonly identity: Identity;
  readonly segments: readonly Segment[];
  /** Up to here the log was durable, as was noted beside it; `undefined` where nothing was. */
  readonly mark: LogPosition | undefined;
  readonly onWarning: (text: string) => void;
}

/** Snapshot files in `folder`, newest first. */
export async function listSnapshots(disk: Disk, folder: string): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const name of await disk.list(folder)) {
    const parsed = parseSnapshotName(name);
    if (parsed !== undefined) found.push({ path: join(folder, name), ...parsed });
  }
  return found.sort((a, b) => b.index - a.index || b.term - a.term);
}

/** @throws `ERR_CORRUPT`, `ERR_DATA_DIR_MISMATCH` */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const candidates = await listSnapshots(options.disk, options.snapFolder);
  const orphans: Candidate[] = [];
  const damaged: Candidate[] = [];
  let firstFault: QuorateError | undefined;
  for (const [i, candidate] of [...candidates, undefined].entries()) {
    const { image, end } = await readLog(options, candidate?.index ?? 0);
    const noted = image.snapshot;
    if (candidate !== undefined && isOrphan(candidate, noted)) {
      orphans.push(candidate);
      continue;
    }
    const usable = await tryCandidate(options, candidate, image);
    if (usable instanceof Error) {
      firstFault ??= usable;
      if (candidate !== undefined) damaged.push(candidate);
      continue;
    }
    checkCommit(options, image);
    if ((candidate?.index ?? 0) < noted.index) {
      options.onWarning(
        `${firstFault?.message.replace(RESTORE_ADVICE, '') ?? `the snapshot at index ${noted.index} is missing. `}` +
          `Started from ${candidate?.path ?? 'the beginning of the log'} instead, whose log is whole.`,
      );
    }
    await removeOrphans(options, orphans);
    for (const { path } of damaged) await setAside(options.disk, path);
    const older = candidates.slice(i + 1).map(unverified);
    return { image, end, snapshot: usable, older };
  }
  throw firstFault ?? new QuorateError('ERR_INTERNAL', 'no candidate was tried');
}

async function readLog(
  options: RecoveryOptions,
  start: number,
): Promise<{ image: RecordImage; end: LogEnd }> {
  const image = newImage(options.identity, start, options.segments[0]!.firstIndex);
  const reader = new LogReader(options.disk, options.identity, image);
  const end = await reader.read(options.segments);
  checkMark(options, end);
  return { image, end };
}

/** A log that ends earlier than it once was durable has lost writes: none of them was cut short by a crash. */
function checkMark({ segments, mark }: RecoveryOptions, end: LogEnd): void {
  if (mark === undefined) return;
  const { sequence: segment, path } = segments.at(-1)!;
  if (!isBehind(mark, { segment, offset: end.offset })) return;
  const until = mark.segment === segment ? `byte ${mark.offset}` : `segment ${hex16(mark.segment)}`;
  throw corrupt(path, end.offset, `the log was durable up to ${until} and ends here`);
}

/** Whether the log does not note this snapshot although it would be the newest. */
function isOrphan(candidate: Candidate, noted: { index: number; term: number }): boolean {
  if (candidate.index === noted.index) return candidate.term !== noted.term;
  return candidate.index > noted.index;
}

/** The verified file, `undefined` for the beginning of the log, or why this cannot be started from. */
async function tryCandidate(
  options: RecoveryOptions,
  candidate: Candidate | undefined,
  image: RecordImage,
): Promise<SnapshotFile | undefined | QuorateError> {
  const index = candidate?.index ?? 0;
  if (image.base !== index) {
    const { index: noted, term } = image.snapshot;
    return new QuorateError(
      'ERR_CORRUPT',
      `${options.snapFolder} lacks the snapshot of index ${noted}, term ${hex16(term)}, and the log in ` +
        `${options.segments[0]!.path} follows index ${image.base}, not ${index}. ${RESTORE_ADVICE}`,
    );
  }
  if (candidate === undefined) return undefined;
  try {
    return await verifySnapshot(options.disk, candidate.path, options.identity.clusterId);
  } catch (error) {
    if (isQuorateError(error, 'ERR_CORRUPT')) return error;
    throw error;
  }
}

function checkCommit(options: RecoveryOptions, image: RecordImage): void {
  const { commit } = image.hardState;
  if (commit <= image.last) return;
  throw new QuorateError(
    'ERR_CORRUPT',
    `${options.segments.at(-1)!.path} is corrupt: entries up to ${commit} were committed, ` +
      `but the log ends at ${image.last}. ${RESTORE_ADVICE}`,
  );
}

async function removeOrphans(options: RecoveryOptions, orphans: Candidate[]): Promise<void> {
  for (const orphan of orphans) {
    options.onWarning(`removed ${orphan.path}: the node stopped before that snapshot was complete`);
    await options.disk.remove(orphan.path);
  }
}

function unverified(candidate: Candidate): SnapshotFile {
  const { path, index, term } = candidate;
  const configuration = { voters: [], learners: [] };
  return { path, metadata: { index, term, configuration }, bytes: 0, fileBytes: 0 };
}
