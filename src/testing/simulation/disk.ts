/**
 * The disk of one seat: it outlives the processes that use it. Every operation takes time; one that
 * was under way when its process died never ends, and what it wrote may or may not be there.
 */
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { DiskImage, systemError } from '../disk-image.ts';
import { SECTOR_BYTES, type SectorFile, type SyncToken } from '../sector-file.ts';
import { chance, exponential } from './draw.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './types.ts';

/** How a disk behaves: may be changed while it is in use. Rates are chances from 0 to 1. */
export interface DiskWeather {
  /** Mean time of everything but a sync. */
  opMeanMs: number;
  /** A sync takes at least so long, and on average `syncMeanMs` more. */
  syncMinMs: number;
  syncMeanMs: number;
  /** Added to every operation. */
  slowMs: number;
  /** Whether a loss of power may cut a sector in the middle: drives promise that it does not. */
  tornSectors: boolean;
  /** What all files may hold; beyond it `ENOSPC`. */
  capacityBytes: number;
  readErrorRate: number;
  writeErrorRate: number;
  syncErrorRate: number;
}

/** A good SSD. */
function calmDisk(): DiskWeather {
  return {
    opMeanMs: 0.05,
    syncMinMs: 0.1,
    syncMeanMs: 0.5,
    slowMs: 0,
    tornSectors: false,
    capacityBytes: Number.POSITIVE_INFINITY,
    readErrorRate: 0,
    writeErrorRate: 0,
    syncErrorRate: 0,
  };
}

/** Damage to what holds nothing finds little. */
const DAMAGE_ATTEMPTS = 8;

export class SimulatedDisk {
  readonly name: string;
  readonly weather: DiskWeather;
  /** Told when a file has got a new name, before that is durable. */
  onRename: (() => void) | undefined;
  readonly #world: World;
  readonly #random: Random;
  #image = new DiskImage();
  /** Operations that were issued while the disk stalled: they go on when it does. */
  #stalled: (() => void)[] | undefined = undefined;
  #underWay = 0;

  constructor(world: World, name: string, weather: DiskWeather = calmDisk()) {
    this.name = name;
    this.weather = weather;
    this.onRename = undefined;
    this.#world = world;
    this.#random = world.random(`disk/${name}`);
  }

  /** What it holds: to look at and to damage. */
  get image(): DiskImage {
    return this.#image;
  }

  /** Operations that have not ended. A fault aimed at a write finds one here. */
  get underWay(): number {
    return this.#underWay;
  }

  /** The disk as one process sees it. */
  mount(process: SimulatedProcess): MountedDisk {
    return new MountedDisk(this, process);
  }

  /** The process that used it is dead: what it had under way never ends. */
  processDied(): void {
    this.#underWay = 0;
    this.#stalled &&= [];
    this.#image.forgetSyncs();
  }

  /** Behaves from now on. */
  calm(): void {
    this.unstall();
    Object.assign(this.weather, calmDisk());
  }

  /** Power fails: what was not synced survives in any part. The processes must be dead already. */
  powerCut(): void {
    this.#world.fault('power-cut');
    this.#image = this.#image.afterPowerCut(this.#random, this.weather.tornSectors);
  }

  /** The disk is replaced by an empty one. */
  wipe(): void {
    this.#world.fault('disk-wipe');
    this.#image = new DiskImage();
  }

  /** What would be found if power failed now, at the worst. The disk itself goes on. */
  worstCase(): DiskImage {
    return this.#image.durableOnly();
  }

  /** No operation ends from now on, until `unstall`. */
  stall(): void {
    this.#world.fault('disk-stall');
    this.#stalled ??= [];
  }

  unstall(): void {
    const stalled = this.#stalled ?? [];
    this.#stalled = undefined;
    for (const goOn of stalled) goOn();
  }

  /** Flips one bit of a file, where it has any. */
  flipBit(path: string): void {
    const file = this.#image.file(path);
    if (file.size === 0) return;
    this.#world.fault('disk-bit-flip');
    const at = this.#drawWritten(file, 1);
    const byte = file.read(at, 1)[0]! ^ (1 << this.#random.below(8));
    file.damage(Uint8Array.of(byte), at);
  }

  /** Turns one sector of a file into zeros, as after a write that the drive lost. */
  zeroSector(path: string): void {
    const file = this.#image.file(path);
    if (file.size === 0) return;
    this.#world.fault('disk-zeroed-sector');
    const sector = this.#drawWritten(file, SECTOR_BYTES);
    file.damage(new Uint8Array(SECTOR_BYTES), sector * SECTOR_BYTES);
  }

  /** The number of a block of `bytes` that holds something, if a few attempts find one: files are mostly zeros. */
  #drawWritten(file: SectorFile, bytes: number): number {
    let block = 0;
    for (let attempt = 0; attempt < DAMAGE_ATTEMPTS; attempt++) {
      block = this.#random.below(Math.ceil(file.size / bytes));
      if (file.read(block * bytes, bytes).some((byte) => byte !== 0)) break;
    }
    return block;
  }

  /** Puts one sector's contents where another one's belong, as a drive does that mistakes an address. */
  misdirectSector(path: string): void {
    const file = this.#image.file(path);
    const sectors = Math.floor(file.size / SECTOR_BYTES);
    if (sectors < 2) return;
    this.#world.fault('disk-misdirected-write');
    const from = this.#random.below(sectors);
    const to = (from + 1 + this.#random.below(sectors - 1)) % sectors;
    file.damage(file.read(from * SECTOR_BYTES, SECTOR_BYTES), to * SECTOR_BYTES);
  }

  /** For a mounted disk: runs `end` when an operation of this kind has taken its time. */
  take(process: SimulatedProcess, isSync: boolean, end: () => void): void {
    const { opMeanMs, syncMinMs, syncMeanMs, slowMs } = this.weather;
    const usualMs = isSync
      ? syncMinMs + exponential(this.#random, syncMeanMs)
      : exponential(this.#random, opMeanMs);
    this.#underWay += 1;
    const ended = (): void => {
      if (process.dead) return;
      this.#underWay -= 1;
      process.run(end);
    };
    this.#world.after(usualMs + slowMs, () => {
      if (process.dead) return;
      if (this.#stalled === undefined) ended();
      else this.#stalled.push(() => this.#world.after(0, ended));
    });
  }

  /** Whether an operation is to fail, by the weather. */
  fails(kind: 'read' | 'write' | 'sync'): boolean {
    const { readErrorRate, writeErrorRate, syncErrorRate } = this.weather;
    const rate =
      kind === 'read' ? readErrorRate : kind === 'write' ? writeErrorRate : syncErrorRate;
    if (!chance(this.#random, rate)) return false;
    this.#world.fault(`disk-${kind}-error`);
    return true;
  }

  /** Whether a file may grow by so much. */
  hasRoomFor(bytes: number): boolean {
    const { capacityBytes } = this.weather;
    if (capacityBytes === Number.POSITIVE_INFINITY) return true;
    if (this.#image.usedBytes + bytes <= capacityBytes) return true;
    this.#world.fault('disk-full');
    return false;
  }
}

/** A disk in one process: its open files and locks end with it. */
export class MountedDisk implements Disk {
  readonly #disk: SimulatedDisk;
  readonly #process: SimulatedProcess;
  readonly #locked = new Set<string>();
  /** Files that are open. For finding leaks. */
  openFiles = 0;

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk;
    this.#process = process;
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    await this.#io();
    if (mode === 'create' && !this.#disk.hasRoomFor(0)) throw systemError('ENOSPC', path);
    const { image } = this.#disk;
    const file = mode === 'create' ? image.create(path) : image.file(path);
    this.openFiles += 1;
    return new MountedFile(path, file, this.#disk, this.#process, () => {
      this.openFiles -= 1;
    });
  }

  async list(folder: string): Promise<string[]> {
    await this.#io();
    return this.#disk.image.list(folder);
  }

  async exists(path: string): Promise<boolean> {
    await this.#io();
    return this.#disk.image.exists(path);
  }

  async makeFolder(path: string): Promise<void> {
    await this.#io();
    this.#disk.image.makeFolder(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#io();
    this.#disk.image.rename(from, to);
    this.#disk.onRename?.();
  }

  async remove(path: string): Promise<void> {
    await this.#io();
    this.#disk.image.remove(path);
  }

  async syncFolder(folder: string): Promise<void> {
    const token = this.#disk.image.beginFolderSync(folder);
    await new Promise<void>((resolve) => this.#disk.take(this.#process, true, resolve));
    if (this.#disk.fails('sync')) throw systemError('EIO', folder);
    this.#disk.image.endFolderSync(token);
  }

  async lock(folder: string): Promise<() => Promise<void>> {
    if (this.#locked.has(folder)) {
      throw new QuorateError('ERR_DATA_DIR_LOCKED', `${folder} is locked by this process already`);
    }
    this.#locked.add(folder);
    return async () => {
      this.#locked.delete(folder);
    };
  }

  #io(): Promise<void> {
    return new Promise((resolve) => this.#disk.take(this.#process, false, resolve));
  }
}

class MountedFile implements DiskFile {
  readonly path: string;
  readonly #file: SectorFile;
  readonly #disk: SimulatedDisk;
  readonly #process: SimulatedProcess;
  readonly #onClose: () => void;
  #busy = 0;
  #closed = false;

  constructor(
    path: string,
    file: SectorFile,
    disk: SimulatedDisk,
    process: SimulatedProcess,
    onClose: () => void,
  ) {
    this.path = path;
    this.#file = file;
    this.#disk = disk;
    this.#process = process;
    this.#onClose = onClose;
  }

  async write(data: Uint8Array, offset: number): Promise<void> {
    const failure = this.#put(data, offset);
    await this.#io(false);
    if (failure !== undefined) throw failure;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    await this.#io(false);
    if (this.#disk.fails('read')) throw systemError('EIO', this.path);
    return this.#file.read(offset, length);
  }

  async writeDurably(data: Uint8Array, offset: number): Promise<void> {
    const failure = this.#put(data, offset);
    await this.#sync(this.#file.beginSync(offset, data.length), failure);
  }

  sync(): Promise<void> {
    return this.#sync(this.#file.beginSync(), undefined);
  }

  async size(): Promise<number> {
    await this.#io(false);
    return this.#file.size;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    // Elsewhere the descriptor may belong to another file before the write reaches the kernel.
    if (this.#busy > 0) throw new Error(`${this.path} is closed while it is being used`);
    this.#closed = true;
    this.#onClose();
  }

  /** The page cache has it at once: from here on a loss of power may find any part of it on the disk. */
  #put(data: Uint8Array, offset: number): Error | undefined {
    const growth = Math.max(0, offset + data.length - this.#file.size);
    if (growth > 0 && !this.#disk.hasRoomFor(growth)) return systemError('ENOSPC', this.path);
    const failed = this.#disk.fails('write');
    this.#file.write(failed ? firstSectors(data, offset) : data, offset);
    return failed ? systemError('EIO', this.path) : undefined;
  }

  async #sync(token: SyncToken, failure: Error | undefined): Promise<void> {
    await this.#io(true);
    const failed = failure !== undefined || this.#disk.fails('sync');
    this.#file.endSync(token, !failed);
    if (failed) throw failure ?? systemError('EIO', this.path);
  }

  async #io(isSync: boolean): Promise<void> {
    if (this.#closed) throw systemError('EBADF', this.path);
    this.#busy += 1;
    await new Promise<void>((resolve) => this.#disk.take(this.#process, isSync, resolve));
    this.#busy -= 1;
  }
}

/** The part that a write has written which fails halfway: whole sectors, be it none. */
function firstSectors(data: Uint8Array, offset: number): Uint8Array {
  const half = offset + (data.length >> 1);
  return data.subarray(0, Math.max(0, half - (half % SECTOR_BYTES) - offset));
}
