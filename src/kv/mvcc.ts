/**
 * The multi-version store: every change gets a revision, and history stays readable down to the
 * compaction floor. Pure: no clock, no I/O; the same calls give the same state on every node.
 *
 * A write runs between `begin` and `end`; whatever it changes shares one main revision and is
 * numbered by sub-revision in order. Reads during a write see what it has done so far.
 */
import { assert } from '../core/assert.ts';
import type { Bytes } from '../core/bytes.ts';
import { crc32c } from '../core/crc32c.ts';
import { QuorateError } from '../core/errors.ts';
import { KeyValue } from '../proto/etcd.ts';
import { type KeyEntry, KeyTree } from './key-tree.ts';
import { isTombstone, NO_LEASE, tombstone, type VersionRecord } from './record.ts';
import { type PinnedLog, RevisionLog } from './revision-log.ts';

/** What etcd reports as the floor of a store that was never compacted. */
const NEVER_COMPACTED = -1;

/** Versions that one step of the physical compaction looks at or removes at most. */
const COMPACT_STEP_VERSIONS = 1000;

/** What a version costs on disk besides its message: revision key and page overhead, as in bbolt. */
const VERSION_OVERHEAD_BYTES = 17 + 16;

/** The buckets and the free list of an empty database. */
const EMPTY_SIZE_BYTES = 20_480;
const PAGE_BYTES = 4096;

/** Beyond every key: the upper bound of a range without an end. */
export type UpperBound = Bytes | undefined;

/** The error of a read or compaction below the floor. */
export function compactedError(revision: number, floor: number): QuorateError {
  return new QuorateError(
    'ERR_COMPACTED',
    `revision ${revision} has been compacted; the oldest that can be read is ${floor}`,
    { compactRevision: floor },
  );
}

/** The error of a read or compaction above the newest revision. */
export function futureError(revision: number, current: number): QuorateError {
  return new QuorateError(
    'ERR_FUTURE_REVISION',
    `revision ${revision} is in the future; the store is at ${current}`,
  );
}

export class Mvcc {
  readonly #tree = new KeyTree();
  readonly #log = new RevisionLog();
  #revision = 1;
  #compactRevision = NEVER_COMPACTED;
  /** Sub-revision of the next change; 0 outside a write. */
  #sub = 0;
  #bytes = 0;
  /** What the database file would measure: it grows, and shrinks only when defragmented. */
  #highWaterBytes = 0;
  /** Where the physical compaction goes on; `undefined` when it has reached the floor. */
  #compactAt: { revision: number; sub: number } | undefined = undefined;

  /** Revision of the last finished write. */
  get revision(): number {
    return this.#revision;
  }
  /** What a read inside the running write sees: one more as soon as it has changed something. */
  get visibleRevision(): number {
    return this.#sub === 0 ? this.#revision : this.#revision + 1;
  }
  /** The oldest revision that can be read; -1 if there was no compaction yet. */
  get compactRevision(): number {
    return this.#compactRevision;
  }
  /** Keys with retained history. */
  get keyCount(): number {
    return this.#tree.size;
  }
  /** Versions retained. */
  get versionCount(): number {
    return this.#log.count;
  }

  begin(): void {
    assert(this.#sub === 0, 'writes do not nest');
  }

  /** Ends a write and returns the revision: a new one if anything changed. */
  end(): number {
    if (this.#sub > 0) {
      this.#revision++;
      this.#sub = 0;
    }
    return this.#revision;
  }

  /** Writes a version. `before` is the live version of the key, as `latest` returned it. */
  put(key: Bytes, value: Bytes, lease: bigint, before: VersionRecord | undefined): VersionRecord {
    const main = this.#revision + 1;
    const record: VersionRecord = {
      // One string for all versions of a key.
      key: before === undefined ? key : before.key,
      createRevision: before === undefined ? main : before.createRevision,
      modRevision: main,
      version: before === undefined ? 1 : before.version + 1,
      value,
      lease: lease === NO_LEASE ? NO_LEASE : lease,
      sub: this.#sub++,
    };
    this.#append(record);
    return record;
  }

  /** Writes a tombstone over a live version. */
  delete(before: VersionRecord): void {
    this.#append(tombstone(before.key, this.#revision + 1, this.#sub++));
  }

  /** The key as it is now, changes of the running write included. */
  latest(key: Bytes): VersionRecord | undefined {
    const record = this.#tree.get(key)?.latest;
    return record === undefined || isTombstone(record) ? undefined : record;
  }

  /** Throws unless `revision` can be read. */
  checkReadable(revision: number): void {
    if (revision > this.visibleRevision) throw futureError(revision, this.visibleRevision);
    if (revision < this.#compactRevision) throw compactedError(revision, this.#compactRevision);
  }

  /**
   * What `from <= key < to` held at `revision`, in key order, at most `limit` (0: all).
   * The revision must be readable.
   */
  collect(from: Bytes, to: UpperBound, revision: number, limit: number): VersionRecord[] {
    const found: VersionRecord[] = [];
    this.#tree.scan(from, to, (entry) => {
      const record = versionAt(entry, revision);
      if (record !== undefined) found.push(record);
      return found.length !== limit || limit === 0;
    });
    return found;
  }

  /** What one key held at `revision`, which must be readable. */
  at(key: Bytes, revision: number): VersionRecord | undefined {
    const entry = this.#tree.get(key);
    return entry === undefined ? undefined : versionAt(entry, revision);
  }

  /** How many keys of `from <= key < to` existed at `revision`. */
  count(from: Bytes, to: UpperBound, revision: number): number {
    if (revision >= this.visibleRevision) return this.#tree.countLive(from, to);
    let count = 0;
    this.#tree.scan(from, to, (entry) => {
      if (versionAt(entry, revision) !== undefined) count++;
      return true;
    });
    return count;
  }

  /** What the key held right before `record`, unless that is compacted away. */
  previous(record: VersionRecord): VersionRecord | undefined {
    if (record.version !== 0 && record.createRevision === record.modRevision) return undefined;
    const revision = record.modRevision - 1;
    if (revision < this.#compactRevision) return undefined;
    return this.at(record.key, revision);
  }

  /** Calls `visit` for each change from `revision` on, in order, until it returns false. */
  scanLog(revision: number, visit: (record: VersionRecord) => boolean): void {
    this.#log.scan(revision, 0, visit);
  }

  /** The retained changes of one key from `revision` on, in order. */
  changesOf(key: Bytes, revision: number): VersionRecord[] {
    const entry = this.#tree.get(key);
    if (entry === undefined || entry.latest.modRevision < revision) return [];
    const { older } = entry;
    if (older === undefined) return [entry.latest];
    const first = lastAtOrBelow(older, revision - 1) + 1;
    return [...older.slice(first), entry.latest];
  }

  /**
   * Moves the floor: from now on nothing older can be read. Versions are removed by `compactStep`.
   * @throws QuorateError `ERR_COMPACTED`, `ERR_FUTURE_REVISION`
   */
  compact(revision: number): void {
    const floor = this.#compactRevision;
    if (revision <= floor) throw compactedError(revision, floor);
    if (revision > this.#revision) throw futureError(revision, this.#revision);
    // Tombstones exactly at the old floor were kept for watchers: look at that revision again.
    const unfinished = this.#compactAt?.revision ?? floor;
    this.#compactAt = { revision: Math.max(Math.min(unfinished, floor), 0), sub: 0 };
    this.#compactRevision = revision;
  }

  get compacting(): boolean {
    return this.#compactAt !== undefined;
  }

  /**
   * One bounded slice of the physical compaction; true while there is more to do. No read and no
   * hash depends on how far it is; `scanLog` and `changesOf` do below the floor, so whoever follows
   * the changes must have had those up to it.
   */
  compactStep(): boolean {
    const from = this.#compactAt;
    if (from === undefined || this.#log.repack()) return from !== undefined;
    let budget = COMPACT_STEP_VERSIONS;
    let next: { revision: number; sub: number } | undefined;
    this.#log.scan(from.revision, from.sub, (record) => {
      if (record.modRevision > this.#compactRevision) return false;
      const entry = this.#tree.get(record.key);
      const removed = entry === undefined ? 0 : this.#prune(entry, budget);
      budget -= removed + 1;
      // Perhaps not all of this key's versions fitted the budget: look at it again.
      if (budget <= 0) {
        next = { revision: record.modRevision, sub: record.sub + (removed > 0 ? 0 : 1) };
      }
      return budget > 0;
    });
    // At the end there may be segments left to copy.
    if (next === undefined && this.#log.repack())
      next = { revision: this.#compactRevision + 1, sub: 0 };
    this.#compactAt = next;
    return next !== undefined;
  }

  /**
   * Checksum of the history up to `revision`: CRC-32C over the same bytes as etcd's, so it can be
   * compared between members and with etcd. Counts what is left when a pending compaction is done,
   * and removes nothing: changes that watches were not yet given may be below the floor.
   */
  hash(revision: number): number {
    const anyLive = this.collect('', undefined, revision, 1).length > 0;
    // Of what lies below the floor etcd counts the versions that are still current at `revision`;
    // where no key is, all that it has kept, but for the tombstones at the floor.
    const currentAt = anyLive ? revision : this.#compactRevision;
    let hash = crc32c(Buffer.from('key'));
    let scratch = Buffer.allocUnsafe(4096);
    this.#log.scan(0, 0, (record) => {
      if (record.modRevision > revision) return false;
      const deleted = isTombstone(record);
      const isBelow = record.modRevision <= this.#compactRevision;
      if (isBelow && this.at(record.key, currentAt) !== record) return true;
      const need = 18 + KeyValue.size(record);
      if (need > scratch.length) scratch = Buffer.allocUnsafe(need * 2);
      const end = writeHashed(scratch, record, deleted);
      hash = crc32c(scratch, 0, end, hash);
      return true;
    });
    return hash;
  }

  /** Bytes of the database as etcd would report them: `total` never shrinks by itself. */
  sizeBytes(): { readonly total: number; readonly inUse: number } {
    const inUse = EMPTY_SIZE_BYTES + Math.ceil(this.#bytes / PAGE_BYTES) * PAGE_BYTES;
    const high = EMPTY_SIZE_BYTES + Math.ceil(this.#highWaterBytes / PAGE_BYTES) * PAGE_BYTES;
    return { total: Math.max(inUse, high), inUse };
  }

  /** Gives freed space back: `total` becomes `inUse`. */
  defragment(): void {
    this.#highWaterBytes = this.#bytes;
  }

  pin(): PinnedLog {
    return this.#log.pin();
  }

  /** Takes over a version of a snapshot; they come in log order. Then `finishLoad`. */
  load(record: VersionRecord): void {
    const before = this.#tree.get(record.key)?.latest;
    if (before !== undefined) record.key = before.key;
    this.#append(record);
  }

  finishLoad(revision: number, compactRevision: number): void {
    this.#revision = revision;
    this.#compactRevision = compactRevision;
    // How far the sender had compacted physically is not told: go over all of it again.
    if (compactRevision > NEVER_COMPACTED) this.#compactAt = { revision: 0, sub: 0 };
  }

  #append(record: VersionRecord): void {
    this.#tree.append(record);
    this.#log.append(record);
    this.#bytes += VERSION_OVERHEAD_BYTES + KeyValue.size(record);
    if (this.#bytes > this.#highWaterBytes) this.#highWaterBytes = this.#bytes;
  }

  /**
   * Removes at most `budget` versions of a key that the floor has passed: all before the newest one
   * at or below it, and that too where it is a tombstone below it. Returns how many went.
   */
  #prune(entry: KeyEntry, budget: number): number {
    const floor = this.#compactRevision;
    const { older, latest } = entry;
    const count = older?.length ?? 0;
    const newest =
      latest.modRevision <= floor || older === undefined ? count : lastAtOrBelow(older, floor);
    const kept = newest === count ? latest : older?.[newest];
    if (kept === undefined || kept.modRevision > floor) return 0;
    const gone = isTombstone(kept) && kept.modRevision < floor ? newest + 1 : newest;
    const cut = Math.min(gone, count, budget);
    if (older !== undefined && cut > 0) {
      for (const record of older.splice(0, cut)) this.#drop(record);
      if (older.length === 0) entry.older = undefined;
    }
    if (gone === count + 1 && cut === count && cut < budget) {
      this.#drop(latest);
      this.#tree.remove(latest.key);
      return cut + 1;
    }
    return cut;
  }

  #drop(record: VersionRecord): void {
    if (this.#log.markDead(record)) {
      this.#bytes -= VERSION_OVERHEAD_BYTES + KeyValue.size(record);
    }
  }
}

/** The index of the last version at or below `revision`; -1 if all are above. */
function lastAtOrBelow(versions: readonly VersionRecord[], revision: number): number {
  let low = 0;
  let high = versions.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (versions[middle]!.modRevision <= revision) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What the key held at `revision`. */
function versionAt(entry: KeyEntry, revision: number): VersionRecord | undefined {
  let record: VersionRecord | undefined = entry.latest;
  if (record.modRevision > revision) {
    record = entry.older?.[lastAtOrBelow(entry.older, revision)];
  }
  return record === undefined || isTombstone(record) ? undefined : record;
}

/** A version as the hash covers it: its revision as etcd's 17 or 18 byte key, then the message. */
function writeHashed(target: Buffer, record: VersionRecord, deleted: boolean): number {
  target.writeUInt32BE(Math.floor(record.modRevision / 0x1_0000_0000), 0);
  target.writeUInt32BE(record.modRevision >>> 0, 4);
  target[8] = 0x5f;
  target.writeUInt32BE(0, 9);
  target.writeUInt32BE(record.sub, 13);
  if (!deleted) return KeyValue.encodeTo(target, 17, record);
  target[17] = 0x74;
  return KeyValue.encodeTo(target, 18, tombstone(record.key, 0, 0));
}
