/**
 * A disk in memory for tests, where every operation happens at once. What it holds, and what of it
 * survives a loss of power, is a `DiskImage`, as in the simulator. It can stop after any number of
 * operations, and refuse chosen ones.
 */
import type { Disk, DiskFile } from '../core/disk.ts';
import type { Random } from '../core/random.ts';
import { DiskImage, systemError } from './disk-image.ts';
import { SectorFile } from './sector-file.ts';

export class CrashDisk implements Disk {
  /** Operations that change anything, so far. */
  operations = 0;
  /** Everything fails after this many of them. */
  operationLimit = Number.POSITIVE_INFINITY;
  /** Names the error code for an operation that is to fail. */
  refuse: ((operation: string, path: string) => string | undefined) | undefined = undefined;
  /** What happened, as `operation path`. */
  readonly journal: string[] = [];
  readonly #image: DiskImage;
  readonly #locked = new Set<string>();

  constructor(image: DiskImage = new DiskImage()) {
    this.#image = image;
  }

  /** The contents of a file as the process sees it. For tests to look at and to damage. */
  bytes(path: string): Buffer {
    return this.#image.file(path).view();
  }

  /** Replaces a file's contents, durably. */
  setBytes(path: string, data: Buffer): void {
    this.#image.place(path, new SectorFile(data));
  }

  /** What is found after a loss of power now. */
  afterCrash(random: Random): CrashDisk {
    return new CrashDisk(this.#image.afterPowerCut(random));
  }

  /** A copy of it after the process was killed: nothing is lost, locks are free. */
  afterKill(): CrashDisk {
    return new CrashDisk(this.#image.copy());
  }

  #change(operation: string, path: string): void {
    if (this.operations >= this.operationLimit) throw systemError('EIO', path);
    const code = this.refuse?.(operation, path);
    if (code !== undefined) throw systemError(code, path);
    this.operations++;
    this.journal.push(`${operation} ${path}`);
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    if (mode !== 'create') return this.#file(path, this.#image.file(path));
    if (this.#image.exists(path)) throw systemError('EEXIST', path);
    this.#change('create', path);
    return this.#file(path, this.#image.create(path));
  }

  #file(path: string, file: SectorFile): DiskFile {
    return {
      path,
      write: async (data, offset) => {
        this.#change('write', path);
        file.write(data, offset);
      },
      read: async (offset, length) => file.read(offset, length),
      sync: async () => {
        const token = file.beginSync();
        let isDone = false;
        try {
          this.#change('sync', path);
          isDone = true;
        } finally {
          file.endSync(token, isDone);
        }
      },
      size: async () => file.size,
      close: async () => undefined,
    };
  }

  async list(folder: string): Promise<string[]> {
    return this.#image.list(folder);
  }

  async exists(path: string): Promise<boolean> {
    return this.#image.exists(path);
  }

  async makeFolder(path: string): Promise<void> {
    this.#change('makeFolder', path);
    this.#image.makeFolder(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#change('rename', to);
    this.#image.rename(from, to);
  }

  async remove(path: string): Promise<void> {
    this.#change('remove', path);
    this.#image.remove(path);
  }

  async syncFolder(folder: string): Promise<void> {
    this.#change('syncFolder', folder);
    this.#image.endFolderSync(this.#image.beginFolderSync(folder));
  }

  async lock(folder: string): Promise<() => Promise<void>> {
    if (this.#locked.has(folder)) throw systemError('ELOCKED', folder);
    this.#locked.add(folder);
    return async () => {
      this.#locked.delete(folder);
    };
  }
}
