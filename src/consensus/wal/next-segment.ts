/**
 * The segment after the current one, filled with zeros in the background so that a change of segment
 * costs the log no wait, and so that the space is there before anything is promised to fit in it.
 *
 * A full disk is noticed here, while the current segment still has room for what was taken in already,
 * votes and terms above all. What was zeroed so far is given back, and it is tried again from time to time.
 */
import { join } from 'node:path';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { createZeroed } from './segment.ts';

/** Ticks between two attempts on a full disk: each one may write a whole segment. */
export const RETRY_TICKS = 10;

/** Whether the disk, or a quota on it, is full. */
export function isNoSpace(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export class NextSegment {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #onWarning: (text: string) => void;
  /** Zeroed, or being zeroed. */
  #file: Promise<DiskFile> | undefined;
  #sequence: number;
  #bytes: number;
  #isFull: boolean;
  #ticks: number;
  #stopped: boolean;

  constructor(disk: Disk, folder: string, onWarning: (text: string) => void) {
    this.#disk = disk;
    this.#folder = folder;
    this.#onWarning = onWarning;
    this.#file = undefined;
    this.#sequence = 0;
    this.#bytes = 0;
    this.#isFull = false;
    this.#ticks = 0;
    this.#stopped = false;
  }

  /** There was no space for it. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** What it takes on the disk. */
  get diskBytes(): number {
    return this.#file === undefined ? 0 : this.#bytes;
  }

  /** Begins to prepare it, if that was not done before. */
  prepare(sequence: number, bytes: number): void {
    if (this.#file !== undefined || this.#isFull) return;
    this.#sequence = sequence;
    this.#bytes = bytes;
    this.#begin();
  }

  #begin(): void {
    const file = createZeroed(this.#disk, this.path(), this.#bytes, () => this.#stopped);
    this.#file = file;
    file.then(
      () => {
        this.#isFull = false;
      },
      (error) => this.#failed(error),
    );
  }

  /** Only a full disk is tried again: after any other error the change of segment fails too. */
  async #failed(error: unknown): Promise<void> {
    if (!isNoSpace(error)) {
      this.#onWarning(`no log segment can be prepared in ${this.#folder}: ${error}`);
      return;
    }
    if (!this.#isFull) {
      this.#onWarning(
        `the disk of ${this.#folder} is full: no more writes are taken in until there is space for a log ` +
          `segment of ${this.#bytes} bytes (${error})`,
      );
    }
    this.#isFull = true;
    this.#ticks = 0;
    await this.#disk.remove(this.path()).catch(() => undefined);
    this.#file = undefined;
  }

  /** A heartbeat interval has passed. */
  tick(): void {
    if (!this.#isFull || this.#file !== undefined || this.#stopped) return;
    this.#ticks += 1;
    if (this.#ticks >= RETRY_TICKS) this.#begin();
  }

  /** The file, now. Rejects as the file system did; a full disk may be asked again. */
  async take(sequence: number, bytes: number): Promise<DiskFile> {
    if (this.#file === undefined) {
      this.#sequence = sequence;
      this.#bytes = bytes;
      this.#begin();
    }
    const file = await this.#file!;
    this.#file = undefined;
    return file;
  }

  /** Under which name it is prepared. */
  path(): string {
    return join(this.#folder, `${this.#sequence}.tmp`);
  }

  /** Ends what is under way. */
  stop(): void {
    this.#stopped = true;
  }

  /** Closes the file and gives its space back. Never rejects. */
  async close(): Promise<void> {
    this.#stopped = true;
    const file = await this.#file?.catch(() => undefined);
    if (file === undefined) return;
    const warn = (error: unknown): void => this.#onWarning(String(error));
    await file.close().catch(warn);
    await this.#disk.remove(file.path).catch(warn);
  }
}
