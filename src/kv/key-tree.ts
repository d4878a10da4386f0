/**
 * Every key that has retained history, in byte order: sorted leaves under one directory.
 *
 * Two levels suffice: a directory of ten million keys has about 100,000 leaves, and inserting into
 * it is one memory move per leaf split. Leaves keep keys and entries in parallel arrays, which makes
 * a range walk a run over one array. Keys are latin1 strings: V8 compares them bytewise.
 */
import type { Bytes } from '../core/bytes.ts';
import type { VersionRecord } from './record.ts';

/** Keys in a full leaf; a leaf splits in two halves beyond it. */
const LEAF_CAPACITY = 128;

/** What is retained of one key. */
export interface KeyEntry {
  /** The newest version; a tombstone (version 0) where the key is deleted. */
  latest: VersionRecord;
  /** Older versions that are still readable, oldest first; undefined where there are none. */
  older: VersionRecord[] | undefined;
}

interface Leaf {
  keys: Bytes[];
  entries: KeyEntry[];
  /** Entries whose latest version is no tombstone: lets a count skip over whole leaves. */
  live: number;
}

/** Whether `version` says that the key is deleted. */
function isLive(record: VersionRecord): boolean {
  return record.version !== 0;
}

function appendVersion(entry: KeyEntry, record: VersionRecord): void {
  if (entry.older === undefined) entry.older = [entry.latest];
  else entry.older.push(entry.latest);
  entry.latest = record;
}

/** The first index in sorted `keys` that is not below `key`. */
function lowerBound(keys: readonly Bytes[], key: Bytes): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class KeyTree {
  /** The lowest key that may go into the leaf of the same index; the first is always `''`. */
  readonly #lows: Bytes[] = [''];
  readonly #leaves: Leaf[] = [{ keys: [], entries: [], live: 0 }];
  #size = 0;
  /** What `get` found last: a put looks a key up and then appends to it. */
  #recent: KeyEntry | undefined = undefined;

  /** Keys held, deleted ones with retained history included. */
  get size(): number {
    return this.#size;
  }

  get(key: Bytes): KeyEntry | undefined {
    const leaf = this.#leaves[this.#leafIndex(key)]!;
    const at = lowerBound(leaf.keys, key);
    const entry = leaf.keys[at] === key ? leaf.entries[at] : undefined;
    this.#recent = entry;
    return entry;
  }

  /** Makes `record` the newest version of its key, and keeps the one before as history. */
  append(record: VersionRecord): void {
    const recent = this.#recent;
    if (recent?.latest.key === record.key && isLive(recent.latest) && isLive(record)) {
      appendVersion(recent, record);
      return;
    }
    const leafIndex = this.#leafIndex(record.key);
    const leaf = this.#leaves[leafIndex]!;
    const at = lowerBound(leaf.keys, record.key);
    if (leaf.keys[at] !== record.key) {
      this.#insert(leafIndex, at, record);
      return;
    }
    const entry = leaf.entries[at]!;
    if (isLive(entry.latest)) leaf.live--;
    if (isLive(record)) leaf.live++;
    appendVersion(entry, record);
  }

  /** Forgets a key. Only for one whose latest version is a tombstone. */
  remove(key: Bytes): void {
    this.#recent = undefined;
    const leafIndex = this.#leafIndex(key);
    const leaf = this.#leaves[leafIndex]!;
    const at = lowerBound(leaf.keys, key);
    if (leaf.keys[at] !== key) return;
    leaf.keys.splice(at, 1);
    leaf.entries.splice(at, 1);
    this.#size--;
    if (leaf.keys.length === 0 && this.#leaves.length > 1) {
      this.#leaves.splice(leafIndex, 1);
      this.#lows.splice(leafIndex, 1);
      this.#lows[0] = '';
    }
  }

  /**
   * Calls `visit` for each entry with `from <= key < to` in order (`to` undefined: no end) until it
   * returns false. The tree must not be changed meanwhile.
   */
  scan(from: Bytes, to: Bytes | undefined, visit: (entry: KeyEntry) => boolean): void {
    let leafIndex = this.#leafIndex(from);
    let at = lowerBound(this.#leaves[leafIndex]!.keys, from);
    for (; leafIndex < this.#leaves.length; leafIndex++, at = 0) {
      const leaf = this.#leaves[leafIndex]!;
      const end = this.#endWithin(leaf, to);
      for (; at < end; at++) {
        if (!visit(leaf.entries[at]!)) return;
      }
      if (end < leaf.keys.length) return;
    }
  }

  /** How many keys with `from <= key < to` exist now. Whole leaves are not walked. */
  countLive(from: Bytes, to: Bytes | undefined): number {
    let count = 0;
    let leafIndex = this.#leafIndex(from);
    let at = lowerBound(this.#leaves[leafIndex]!.keys, from);
    for (; leafIndex < this.#leaves.length; leafIndex++, at = 0) {
      const leaf = this.#leaves[leafIndex]!;
      const end = this.#endWithin(leaf, to);
      if (at === 0 && end === leaf.keys.length) {
        count += leaf.live;
        continue;
      }
      for (; at < end; at++) if (isLive(leaf.entries[at]!.latest)) count++;
      if (end < leaf.keys.length) break;
    }
    return count;
  }

  /** The index of the leaf in which `key` is or would be. */
  #leafIndex(key: Bytes): number {
    const lows = this.#lows;
    let low = 0;
    let high = lows.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (lows[middle]! <= key) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The index after the last key of `leaf` below `to`. */
  #endWithin(leaf: Leaf, to: Bytes | undefined): number {
    const count = leaf.keys.length;
    if (to === undefined || count === 0 || leaf.keys[count - 1]! < to) return count;
    return lowerBound(leaf.keys, to);
  }

  #insert(leafIndex: number, at: number, record: VersionRecord): void {
    const leaf = this.#leaves[leafIndex]!;
    const entry: KeyEntry = { latest: record, older: undefined };
    if (at === leaf.keys.length) {
      leaf.keys.push(record.key);
      leaf.entries.push(entry);
    } else {
      leaf.keys.splice(at, 0, record.key);
      leaf.entries.splice(at, 0, entry);
    }
    if (isLive(record)) leaf.live++;
    this.#size++;
    if (leaf.keys.length > LEAF_CAPACITY) this.#split(leafIndex, at === leaf.keys.length - 1);
  }

  /** Splits in halves; keys that arrive in rising order leave full leaves behind instead. */
  #split(leafIndex: number, rising: boolean): void {
    const leaf = this.#leaves[leafIndex]!;
    const cut = rising ? leaf.keys.length - 1 : leaf.keys.length >>> 1;
    const keys = leaf.keys.splice(cut);
    const entries = leaf.entries.splice(cut);
    let live = 0;
    for (const entry of entries) if (isLive(entry.latest)) live++;
    leaf.live -= live;
    this.#leaves.splice(leafIndex + 1, 0, { keys, entries, live });
    this.#lows.splice(leafIndex + 1, 0, keys[0]!);
  }
}
