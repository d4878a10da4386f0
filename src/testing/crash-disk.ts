/**
 * A disk in memory for tests, with what real ones do in a crash: data not synced is lost sector by
 * sector in any combination, names not synced may be the old or the new ones. It can stop after any
 * number of operations, and refuse chosen ones.
 */
import { dirname } from 'node:path';
import type { Disk, DiskFile } from '../core/disk.ts';
import type { Random } from '../core/random.ts';

const SECTOR_BYTES = 512;

interface Inode {
  data: Buffer;
  durable: Buffer;
  /** Sectors that differ from what is durable. */
  readonly dirty: Set<number>;
}

/** A file system's own kind of error. */
function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export class CrashDisk implements Disk {
  /** Operations that change anything, so far. */
  operations = 0;
  /** Everything fails after this many of them. */
  operationLimit = Number.POSITIVE_INFINITY;
  /** Names the error code for an operation that is to fail. */
  refuse: ((operation: string, path: string) => string | undefined) | undefined = undefined;
  /** What happened, as `operation path`. */
  readonly journal: string[] = [];
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  readonly #folders = new Set<string>(['/']);
  readonly #locked = new Set<string>();

  /** The contents of a file as the process sees it. For tests to look at and to damage. */
  bytes(path: string): Buffer {
    return this.#inode(path).data;
  }

  /** Replaces a file's contents, durably. */
  setBytes(path: string, data: Buffer): void {
    this.#names.set(path, inodeOf(data));
    this.#durableNames.set(path, this.#names.get(path)!);
  }

  /** What is found after a loss of power now. */
  afterCrash(random: Random): CrashDisk {
    const after = new CrashDisk();
    for (const inode of new Set([...this.#durableNames.values(), ...this.#names.values()])) {
      // A rename is atomic: a file has its old names or its new ones.
      const names = random.below(2) === 0 ? this.#names : this.#durableNames;
      const survivor = inodeOf(surviving(inode, random));
      for (const [path, named] of names) {
        if (named !== inode) continue;
        after.#names.set(path, survivor);
        after.#durableNames.set(path, survivor);
      }
    }
    for (const folder of this.#folders) after.#folders.add(folder);
    return after;
  }

  /** The same disk after the process was killed: nothing is lost, locks are free. */
  afterKill(): CrashDisk {
    const after = new CrashDisk();
    for (const [path, inode] of this.#names) after.setBytes(path, Buffer.from(inode.data));
    for (const folder of this.#folders) after.#folders.add(folder);
    return after;
  }

  #change(operation: string, path: string): void {
    if (this.operations >= this.operationLimit) throw systemError('EIO', path);
    const code = this.refuse?.(operation, path);
    if (code !== undefined) throw systemError(code, path);
    this.operations++;
    this.journal.push(`${operation} ${path}`);
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError('ENOENT', path);
    return inode;
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    if (mode === 'create') {
      if (this.#names.has(path)) throw systemError('EEXIST', path);
      this.#change('create', path);
      this.#names.set(path, inodeOf(Buffer.alloc(0)));
    }
    return this.#file(path, this.#inode(path));
  }

  #file(path: string, inode: Inode): DiskFile {
    return {
      path,
      write: async (data, offset) => {
        this.#change('write', path);
        write(inode, data, offset);
      },
      read: async (offset, length) => Buffer.from(inode.data.subarray(offset, offset + length)),
      sync: async () => {
        this.#change('sync', path);
        inode.durable = Buffer.from(inode.data);
        inode.dirty.clear();
      },
      size: async () => inode.data.length,
      close: async () => undefined,
    };
  }

  async list(folder: string): Promise<string[]> {
    const below = [...this.#names.keys(), ...this.#folders];
    return below
      .filter((path) => dirname(path) === folder)
      .map((path) => path.slice(folder.length + 1));
  }

  async exists(path: string): Promise<boolean> {
    return this.#names.has(path) || this.#folders.has(path);
  }

  async makeFolder(path: string): Promise<void> {
    this.#change('makeFolder', path);
    this.#folders.add(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#change('rename', to);
    const inode = this.#inode(from);
    this.#names.delete(from);
    this.#names.set(to, inode);
  }

  async remove(path: string): Promise<void> {
    this.#change('remove', path);
    this.#inode(path);
    this.#names.delete(path);
  }

  async syncFolder(folder: string): Promise<void> {
    this.#change('syncFolder', folder);
    for (const path of this.#durableNames.keys()) {
      if (dirname(path) === folder) this.#durableNames.delete(path);
    }
    for (const [path, inode] of this.#names) {
      if (dirname(path) === folder) this.#durableNames.set(path, inode);
    }
  }

  async lock(folder: string): Promise<() => Promise<void>> {
    if (this.#locked.has(folder)) throw systemError('ELOCKED', folder);
    this.#locked.add(folder);
    return async () => {
      this.#locked.delete(folder);
    };
  }
}

function inodeOf(data: Buffer): Inode {
  return { data, durable: Buffer.from(data), dirty: new Set() };
}

function write(inode: Inode, data: Uint8Array, offset: number): void {
  const end = offset + data.length;
  if (end > inode.data.length) {
    const larger = Buffer.alloc(end);
    inode.data.copy(larger);
    inode.data = larger;
  }
  inode.data.set(data, offset);
  const first = Math.floor(offset / SECTOR_BYTES);
  for (let sector = first; sector * SECTOR_BYTES < end; sector++) inode.dirty.add(sector);
}

/** What is durable, and of the rest any sectors. */
function surviving(inode: Inode, random: Random): Buffer {
  const kept = [...inode.dirty].filter(() => random.below(2) === 0);
  const ends = kept.map((sector) => Math.min((sector + 1) * SECTOR_BYTES, inode.data.length));
  const data = Buffer.alloc(Math.max(inode.durable.length, ...ends));
  inode.durable.copy(data);
  for (const sector of kept) {
    inode.data.copy(
      data,
      sector * SECTOR_BYTES,
      sector * SECTOR_BYTES,
      (sector + 1) * SECTOR_BYTES,
    );
  }
  return data;
}
