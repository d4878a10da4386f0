/**
 * Makes a damaged log or snapshot startable again, for a node that has peers.
 *
 * Damage anywhere but in a write that a crash cut short has taken away what this node may have
 * acknowledged. It then has forgotten a part, as a node whose disk was replaced has forgotten all, and comes
 * back the same way: on probation, without a vote or an acknowledgement, until the others have confirmed a
 * leader without it and it holds what they had committed (decision 8). Here its files are put in order:
 *
 * 1. the mark of the probation, durable before anything is changed;
 * 2. a new segment with what is sound: the newest whole snapshot, the entries that follow it without a
 *    gap, the term and vote as far as they are known;
 * 3. the old segments are set aside as `*.damaged`, the last first, so that a crash in between leaves a
 *    beginning of the log;
 * 4. the new segment gets its name.
 *
 * A crash at any point is followed by the same again, or finds the work done.
 */
import type { Disk } from '../../core/disk.ts';
import { isQuorateError } from '../../core/errors.ts';
import type { Identity } from '../storage.ts';
import type { Entry, HardState, SnapshotMetadata } from '../types.ts';
import { setAside } from './damaged.ts';
import { putJoiningMarker } from './joining.ts';
import { newImage } from './log-kind.ts';
import { LogReader } from './log-reader.ts';
import { writeFirstSegment } from './new-segment.ts';
import { listSnapshots } from './recovery.ts';
import { parseSegments, type Segment } from './segment.ts';
import { verifySnapshot } from './snapshot-file.ts';

export interface SalvageOptions {
  readonly disk: Disk;
  readonly dataDir: string;
  readonly walFolder: string;
  readonly snapFolder: string;
  readonly identity: Identity;
  /** What a new node's log starts with: used where nothing at all is sound. */
  readonly bootstrap:
    | { readonly hardState: HardState; readonly entries: readonly Entry[] }
    | undefined;
  /** Size of the segment to begin with. */
  readonly segmentBytes: number;
  /** Segments up to this sequence number existed, as far as is known; -1: none. */
  readonly lastSequence: number;
}

/** What is sound, from the beginning on. */
interface Sound {
  readonly snapshot: SnapshotMetadata | undefined;
  readonly entries: readonly Entry[];
  readonly hardState: HardState | undefined;
}

/** Replaces the log by its sound part, after noting that the node is on probation. */
export async function salvage(options: SalvageOptions): Promise<void> {
  const { disk, walFolder, identity, segmentBytes } = options;
  await putJoiningMarker(disk, options.dataDir, true);
  const names = await disk.list(walFolder);
  const segments = parseSegments(walFolder, names);
  const snapshot = await soundSnapshot(options);
  const sound = await soundPart(options, untilGap(segments), snapshot);
  // Beyond every number that was in use: the note of how far the old log was durable says nothing of this.
  const sequence = Math.max(options.lastSequence, segments.at(-1)?.sequence ?? -1) + 1;
  const start = { identity, ...sound };
  const segment = await writeFirstSegment(disk, walFolder, sequence, segmentBytes, start);
  for (const { path } of segments.reverse()) await setAside(disk, path);
  await disk.syncFolder(walFolder);
  await segment.place();
}

/** The newest snapshot that is whole; newer ones are set aside. */
async function soundSnapshot(options: SalvageOptions): Promise<SnapshotMetadata | undefined> {
  const { disk, snapFolder, identity } = options;
  for (const { path } of await listSnapshots(disk, snapFolder)) {
    try {
      return (await verifySnapshot(disk, path, identity.clusterId)).metadata;
    } catch (error) {
      if (!isQuorateError(error, 'ERR_CORRUPT')) throw error;
      await setAside(disk, path);
    }
  }
  return undefined;
}

/** The segments up to the first that is missing. */
function untilGap(segments: readonly Segment[]): readonly Segment[] {
  const gap = segments.findIndex(
    ({ sequence }, i) => i > 0 && sequence !== segments[i - 1]!.sequence + 1,
  );
  return gap < 0 ? segments : segments.slice(0, gap);
}

async function soundPart(
  options: SalvageOptions,
  segments: readonly Segment[],
  snapshot: SnapshotMetadata | undefined,
): Promise<Sound> {
  const start = snapshot?.index ?? 0;
  const image = newImage(options.identity, start, segments[0]?.firstIndex ?? 0);
  try {
    if (segments.length > 0) {
      await new LogReader(options.disk, options.identity, image).read(segments);
    }
  } catch (error) {
    // What was read before the damage is in the image.
    if (!isQuorateError(error, 'ERR_CORRUPT')) throw error;
  }
  const follows = image.base === start && image.agreesWithBase(snapshot?.term ?? 0);
  const entries = follows ? image.entries : [];
  const { bootstrap } = options;
  const isEmpty = snapshot === undefined && entries.length === 0;
  const kept = isEmpty ? (bootstrap?.entries ?? []) : entries;
  const last = kept.at(-1) ?? snapshot;
  const { term, vote, commit } = image.hardState;
  const known = Math.max(term, last?.term ?? 0);
  const hardState: HardState = {
    term: known,
    vote: known === term ? vote : '',
    commit: Math.max(
      start,
      isEmpty ? (bootstrap?.hardState.commit ?? 0) : 0,
      Math.min(commit, last?.index ?? 0),
    ),
  };
  return { snapshot, entries: kept, hardState: known === 0 ? undefined : hardState };
}
