/**
 * The contents of a file on a simulated disk, sector by sector: what a reader sees, and what would
 * be left of it after a loss of power. A sector that was written and not synced may hold what was
 * durable, what was written last, or anything written to it in between: the system may have put it
 * on the disk at any moment.
 */
import type { Random } from '../core/random.ts';

export const SECTOR_BYTES = 512;

/** What a sector held before the write with this number. */
interface Version {
  readonly write: number;
  readonly before: Buffer;
}

/** Of one sync under way: the writes before it are durable when it ends. */
export interface SyncToken {
  readonly upTo: number;
  readonly size: number;
  /** The sectors it is about; `undefined`: all. */
  readonly first: number;
  readonly last: number;
}

export class SectorFile {
  #data: Buffer;
  #size: number;
  /** The size after a loss of power is at least this. */
  #durableSize: number;
  #writes = 0;
  #syncing = 0;
  /** What sectors with data that is not durable held before, oldest first. */
  readonly #dirty = new Map<number, Version[]>();
  /** Of these, what a sync gave up when it failed: taken for written until they are written anew. */
  readonly #givenUp = new Set<number>();

  /** A file that holds `data`, durably. */
  constructor(data: Buffer = Buffer.alloc(0)) {
    this.#data = data;
    this.#size = data.length;
    this.#durableSize = data.length;
  }

  get size(): number {
    return this.#size;
  }

  /** Sectors that are not durable. */
  get dirtySectors(): number {
    return this.#dirty.size;
  }

  /** What a reader sees now: a view, which the next write may change. */
  view(): Buffer {
    return this.#data.subarray(0, this.#size);
  }

  read(offset: number, length: number): Buffer {
    return Buffer.from(this.#data.subarray(offset, Math.min(this.#size, offset + length)));
  }

  write(data: Uint8Array, offset: number): void {
    if (data.length === 0) return;
    const end = offset + data.length;
    this.#reserve(end);
    this.#writes += 1;
    const last = Math.floor((end - 1) / SECTOR_BYTES);
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector <= last; sector++) {
      this.#noteBefore(sector);
      this.#givenUp.delete(sector);
    }
    this.#data.set(data, offset);
    this.#size = Math.max(this.#size, end);
  }

  /** Changes what is on the disk itself, as decay does: no writer knows of it. */
  damage(data: Uint8Array, offset: number): void {
    this.#data.set(data.subarray(0, Math.max(0, this.#size - offset)), offset);
  }

  /** A sync begins, of the sectors of one write or of all. */
  beginSync(offset = 0, length = Number.POSITIVE_INFINITY): SyncToken {
    this.#syncing += 1;
    const first = Math.floor(offset / SECTOR_BYTES);
    const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
    return { upTo: this.#writes, size: this.#size, first, last };
  }

  /**
   * It ended; `done`: with success. What one could not write, the system takes for written all the same,
   * and a later sync, which has nothing to do, succeeds (fsyncgate).
   */
  endSync({ upTo, size, first, last }: SyncToken, done: boolean): void {
    this.#syncing -= 1;
    if (done) this.#durableSize = Math.max(this.#durableSize, size);
    for (const [sector, versions] of this.#dirty) {
      if (sector < first || sector > last) continue;
      if (!done && versions.at(-1)!.write <= upTo) this.#givenUp.add(sector);
      if (!done || this.#givenUp.has(sector)) continue;
      const later = versions.findIndex((version) => version.write > upTo);
      if (later < 0) this.#dirty.delete(sector);
      else versions.splice(0, later);
    }
  }

  /** Another file with the same contents, of which the same is durable. No sync is under way in it. */
  copy(): SectorFile {
    const copy = new SectorFile(Buffer.from(this.view()));
    copy.#durableSize = this.#durableSize;
    copy.#writes = this.#writes;
    for (const [sector, versions] of this.#dirty) copy.#dirty.set(sector, [...versions]);
    for (const sector of this.#givenUp) copy.#givenUp.add(sector);
    return copy;
  }

  /** Whoever began a sync is gone. */
  forgetSyncs(): void {
    this.#syncing = 0;
  }

  /**
   * What is left after a loss of power, in a new file: of every sector one of its versions; with `torn`
   * also the first part of one and the rest of another, which drives promise not to do.
   */
  afterPowerCut(random: Random, torn = false): SectorFile {
    const size =
      this.#size === this.#durableSize
        ? this.#size
        : this.#durableSize + random.below(this.#size - this.#durableSize + 1);
    const choose = (versions: Version[]): Buffer | undefined => {
      const chosen = random.below(2) === 0 ? versions.length : random.below(versions.length);
      return versions[chosen]?.before;
    };
    if (!torn) return this.#survivor(size, choose);
    return this.#survivor(size, (versions, last) => {
      const head = choose(versions) ?? last;
      const at = random.below(SECTOR_BYTES);
      return Buffer.concat([head.subarray(0, at), (choose(versions) ?? last).subarray(at)]);
    });
  }

  /** The worst that a loss of power may leave: nothing that was not made durable. */
  durableOnly(): SectorFile {
    return this.#survivor(this.#durableSize, (versions) => versions[0]!.before);
  }

  /** `choose` is given a sector's versions and what it holds now; `undefined` keeps that. */
  #survivor(
    size: number,
    choose: (versions: Version[], last: Buffer) => Buffer | undefined,
  ): SectorFile {
    const data = Buffer.alloc(size);
    this.#data.copy(data, 0, 0, Math.min(size, this.#size));
    for (const [sector, versions] of this.#dirty) {
      const chosen = choose(versions, this.#sector(sector));
      if (sector * SECTOR_BYTES < size) chosen?.copy(data, sector * SECTOR_BYTES);
    }
    return new SectorFile(data);
  }

  #noteBefore(sector: number): void {
    const versions = this.#dirty.get(sector);
    // Without a sync under way only the oldest version matters: no promise hangs on the others.
    if (versions !== undefined && this.#syncing === 0) return;
    const version: Version = { write: this.#writes, before: this.#sector(sector) };
    if (versions === undefined) this.#dirty.set(sector, [version]);
    else versions.push(version);
  }

  /** A copy of a sector, filled up with zeros. */
  #sector(sector: number): Buffer {
    const at = sector * SECTOR_BYTES;
    const copy = Buffer.alloc(SECTOR_BYTES);
    this.#data.copy(copy, 0, at, Math.max(at, Math.min(this.#size, at + SECTOR_BYTES)));
    return copy;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#data.length) return;
    const larger = Buffer.alloc(Math.max(bytes, this.#data.length * 2, SECTOR_BYTES));
    this.#data.copy(larger, 0, 0, this.#size);
    this.#data = larger;
  }
}
