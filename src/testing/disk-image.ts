/**
 * What a disk holds: files by name, folders, and what of both is durable. Names that were not synced
 * may be the old or the new ones after a loss of power. Everything here happens at once; who uses it
 * gives it time and faults.
 */
import { dirname } from 'node:path';
import type { Random } from '../core/random.ts';
import { SectorFile } from './sector-file.ts';

/** A file system's own kind of error. */
export function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

/** The names in a folder as they were when its sync began. */
export interface FolderToken {
  readonly folder: string;
  /** Counts syncs as they begin: one that ends after a later one changes nothing any more. */
  readonly number: number;
  readonly names: ReadonlyMap<string, SectorFile>;
  readonly folders: ReadonlySet<string>;
}

export class DiskImage {
  readonly #names = new Map<string, SectorFile>();
  readonly #durableNames = new Map<string, SectorFile>();
  #folderSyncs = 0;
  /** By folder: the latest sync, by its number, that has ended. */
  readonly #folderSynced = new Map<string, number>();
  readonly #folders = new Set<string>(['/']);
  readonly #durableFolders = new Set<string>(['/']);

  /** Another one that holds the same, and of which the same is durable. */
  copy(): DiskImage {
    const copy = new DiskImage();
    const copies = new Map<SectorFile, SectorFile>();
    const copyOf = (file: SectorFile): SectorFile => {
      const known = copies.get(file) ?? file.copy();
      copies.set(file, known);
      return known;
    };
    for (const [path, file] of this.#names) copy.#names.set(path, copyOf(file));
    for (const [path, file] of this.#durableNames) copy.#durableNames.set(path, copyOf(file));
    for (const folder of this.#folders) copy.#folders.add(folder);
    for (const folder of this.#durableFolders) copy.#durableFolders.add(folder);
    return copy;
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    let bytes = 0;
    for (const file of this.#names.values()) bytes += file.size;
    return bytes;
  }

  /** Every file's path, sorted. */
  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  file(path: string): SectorFile {
    const file = this.#names.get(path);
    if (file === undefined) throw systemError('ENOENT', path);
    return file;
  }

  exists(path: string): boolean {
    return this.#names.has(path) || this.#folders.has(path);
  }

  /** A new, empty file. */
  create(path: string): SectorFile {
    if (this.exists(path)) throw systemError('EEXIST', path);
    if (!this.#folders.has(dirname(path))) throw systemError('ENOENT', path);
    const file = new SectorFile();
    this.#names.set(path, file);
    return file;
  }

  /** Puts a file there, durably. */
  place(path: string, file: SectorFile): void {
    for (let folder = dirname(path); !this.#durableFolders.has(folder); folder = dirname(folder)) {
      this.#folders.add(folder);
      this.#durableFolders.add(folder);
    }
    this.#names.set(path, file);
    this.#durableNames.set(path, file);
  }

  list(folder: string): string[] {
    if (!this.#folders.has(folder)) throw systemError('ENOENT', folder);
    const names: string[] = [];
    for (const path of this.#names.keys()) if (dirname(path) === folder) names.push(path);
    for (const path of this.#folders) {
      if (dirname(path) === folder && path !== '/') names.push(path);
    }
    return names.map((path) => path.slice(folder === '/' ? 1 : folder.length + 1)).sort();
  }

  /** Makes a folder and those above it. */
  makeFolder(path: string): void {
    if (this.#names.has(path)) throw systemError('EEXIST', path);
    for (let folder = path; !this.#folders.has(folder); folder = dirname(folder)) {
      this.#folders.add(folder);
    }
  }

  rename(from: string, to: string): void {
    const file = this.file(from);
    if (!this.#folders.has(dirname(to))) throw systemError('ENOENT', to);
    this.#names.delete(from);
    this.#names.set(to, file);
  }

  remove(path: string): void {
    this.file(path);
    this.#names.delete(path);
  }

  beginFolderSync(folder: string): FolderToken {
    if (!this.#folders.has(folder)) throw systemError('ENOENT', folder);
    const names = [...this.#names].filter(([path]) => dirname(path) === folder);
    const folders = [...this.#folders].filter((path) => dirname(path) === folder);
    this.#folderSyncs += 1;
    return {
      folder,
      number: this.#folderSyncs,
      names: new Map(names),
      folders: new Set(folders),
    };
  }

  endFolderSync({ folder, number, names, folders }: FolderToken): void {
    if (number < (this.#folderSynced.get(folder) ?? 0)) return;
    this.#folderSynced.set(folder, number);
    for (const path of [...this.#durableNames.keys()]) {
      if (dirname(path) === folder && !names.has(path)) this.#durableNames.delete(path);
    }
    for (const [path, file] of names) this.#durableNames.set(path, file);
    for (const path of folders) this.#durableFolders.add(path);
  }

  /** Syncs that were under way never end. */
  forgetSyncs(): void {
    for (const file of this.#names.values()) file.forgetSyncs();
  }

  /** What is found after a loss of power; with `torn` sectors may be cut in the middle. */
  afterPowerCut(random: Random, torn = false): DiskImage {
    const after = new DiskImage();
    for (const folder of [...this.#folders].sort()) {
      const survives = this.#durableFolders.has(folder) || random.below(2) === 0;
      // Sorted: a folder comes after the one that holds it.
      if (survives && after.#folders.has(dirname(folder))) after.#keepFolder(folder);
    }
    for (const file of new Set([...this.#durableNames.values(), ...this.#names.values()])) {
      // A rename is atomic: a file has its old names or its new ones.
      const names = random.below(2) === 0 ? this.#names : this.#durableNames;
      const survivor = file.afterPowerCut(random, torn);
      for (const [path, named] of names) if (named === file) after.#keepFile(path, survivor);
    }
    return after;
  }

  /** The worst that a loss of power may leave: nothing that was not made durable. */
  durableOnly(): DiskImage {
    const after = new DiskImage();
    for (const folder of [...this.#durableFolders].sort()) after.#keepFolder(folder);
    for (const [path, file] of this.#durableNames) after.#keepFile(path, file.durableOnly());
    return after;
  }

  #keepFolder(folder: string): void {
    this.#folders.add(folder);
    this.#durableFolders.add(folder);
  }

  #keepFile(path: string, file: SectorFile): void {
    if (!this.#folders.has(dirname(path))) return;
    this.#names.set(path, file);
    this.#durableNames.set(path, file);
  }
}
