/**
 * Every retained version of every key in the order in which they came about: what watches replay,
 * what the hash covers, what a snapshot carries.
 *
 * Append-only in segments. Compaction marks versions dead and drops them when a quarter of a segment
 * is. A snapshot shares the segments: whoever marks a version in a shared segment copies the marks
 * first, so the pinned view never changes and nobody has to unpin it.
 */
import { assert } from '../core/assert.ts';
import type { VersionRecord } from './record.ts';

const SEGMENT_CAPACITY = 4096;
/** Dead versions in a sealed segment that make it worth copying the rest. */
const REPACK_DEAD = SEGMENT_CAPACITY / 4;
/** Segments that one call copies, so that it takes well below a millisecond. */
const REPACK_SEGMENTS = 2;

interface Segment {
  readonly records: VersionRecord[];
  dead: Uint8Array | undefined;
  deadCount: number;
  /** A pinned view holds it: `dead` and `records` must not be changed, but appended to. */
  shared: boolean;
}

/** A view of the log at one moment. */
export interface PinnedLog extends Iterable<VersionRecord> {
  readonly count: number;
}

function newSegment(records: VersionRecord[]): Segment {
  return { records, dead: undefined, deadCount: 0, shared: false };
}

/** Whether `record` comes before position (revision, sub). */
function isBefore(record: VersionRecord, revision: number, sub: number): boolean {
  return record.modRevision < revision || (record.modRevision === revision && record.sub < sub);
}

export class RevisionLog {
  #segments: Segment[] = [newSegment([])];
  #count = 0;

  /** Versions in the log, dead ones not counted. */
  get count(): number {
    return this.#count;
  }

  append(record: VersionRecord): void {
    let last = this.#segments[this.#segments.length - 1]!;
    if (last.records.length === SEGMENT_CAPACITY) {
      last = newSegment([]);
      this.#segments.push(last);
    }
    last.records.push(record);
    this.#count++;
  }

  /**
   * Calls `visit` for each version from (`revision`, `sub`) on, in order, until it returns false.
   * `visit` may mark versions dead, nothing else.
   */
  scan(revision: number, sub: number, visit: (record: VersionRecord) => boolean): void {
    // Taken once: a repack during the scan replaces the array's segments behind us.
    const segments = this.#segments;
    let index = this.#segmentIndex(revision, sub);
    let at = this.#offset(segments[index]!, revision, sub);
    for (; index < segments.length; index++, at = 0) {
      const { records, dead } = segments[index]!;
      const end = records.length;
      for (; at < end; at++) {
        if (dead !== undefined && dead[at] === 1) continue;
        if (!visit(records[at]!)) return;
      }
    }
  }

  /** Takes a version out: it is unreadable after compaction. Already dead ones are left alone. */
  markDead(record: VersionRecord): boolean {
    const index = this.#segmentIndex(record.modRevision, record.sub);
    let segment = this.#segments[index]!;
    const at = this.#offset(segment, record.modRevision, record.sub);
    assert(segment.records[at] === record, 'a retained version is in the log');
    if (segment.dead?.[at] === 1) return false;
    if (segment.shared) {
      // `records` stays shared: appends beyond what a view counted do not show in it.
      segment = { ...segment, dead: segment.dead?.slice(), shared: false };
      this.#segments[index] = segment;
    }
    segment.dead ??= new Uint8Array(SEGMENT_CAPACITY);
    segment.dead[at] = 1;
    segment.deadCount++;
    this.#count--;
    return true;
  }

  /**
   * Copies what is left of segments with many dead versions, a bounded number of them; true while
   * there are more. Call between scans.
   */
  repack(): boolean {
    const kept: Segment[] = [];
    const last = this.#segments.length - 1;
    let copied = 0;
    let more = false;
    for (const [index, segment] of this.#segments.entries()) {
      if (index === last || segment.deadCount < REPACK_DEAD) {
        kept.push(segment);
      } else if (copied === REPACK_SEGMENTS) {
        kept.push(segment);
        more = true;
      } else {
        copied++;
        keepLiving(segment, kept);
      }
    }
    if (copied > 0) this.#segments = kept;
    return more;
  }

  /** The log as of now; appends and compaction do not show in it. Costs one step a segment. */
  pin(): PinnedLog {
    const segments = this.#segments.slice();
    for (const segment of segments) segment.shared = true;
    const lastCount = segments[segments.length - 1]!.records.length;
    return { count: this.#count, [Symbol.iterator]: () => pinnedRecords(segments, lastCount) };
  }

  /** The last segment that begins at or before the position. */
  #segmentIndex(revision: number, sub: number): number {
    let low = 0;
    let high = this.#segments.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const first = this.#segments[middle]!.records[0];
      const beforeOrAt =
        first !== undefined &&
        (isBefore(first, revision, sub) || (first.modRevision === revision && first.sub === sub));
      if (beforeOrAt) low = middle;
      else high = middle;
    }
    return low;
  }

  #offset(segment: Segment, revision: number, sub: number): number {
    let low = 0;
    let high = segment.records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(segment.records[middle]!, revision, sub)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Adds what lives of `segment` to `kept`: to the segment before it where it fits. */
function keepLiving({ records, dead }: Segment, kept: Segment[]): void {
  const living = records.filter((_, at) => dead?.[at] !== 1);
  if (living.length === 0) return;
  const before = kept[kept.length - 1];
  const fits = before?.deadCount === 0 && before.records.length + living.length <= SEGMENT_CAPACITY;
  if (fits) kept[kept.length - 1] = newSegment(before.records.concat(living));
  else kept.push(newSegment(living));
}

function* pinnedRecords(segments: readonly Segment[], lastCount: number): Generator<VersionRecord> {
  for (const [index, { records, dead }] of segments.entries()) {
    const end = index === segments.length - 1 ? lastCount : records.length;
    for (let at = 0; at < end; at++) {
      if (dead === undefined || dead[at] !== 1) yield records[at]!;
    }
  }
}
