/**
 * How far the log is durable, noted beside it.
 *
 * The end of a log cannot vouch for itself: a last write that the disk lost, or gave back as zeros, looks
 * like one that a crash cut short, or leaves no trace at all. One was acknowledged, the other was not.
 * The next write vouches for the one before (see `record.ts`); this file does for the last one. It is
 * written only after the log is durable and nothing more is queued, at most twice in a heartbeat interval,
 * and nobody waits for it. A killed process leaves it behind as it is; a quiet interval makes it durable
 * against a loss of power too.
 *
 * So it may lag and prove less; it never runs ahead. Two slots in sectors of their own are written in turn,
 * so that one is always whole:
 *
 *   magic (8 bytes), segment u64, offset u64, CRC32C of these u32
 */
import { join } from 'node:path';
import { crc32c } from '../../core/crc32c.ts';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { createZeroed } from './segment.ts';

const MAGIC = 'QuorMark';
const MARK_BYTES = 28;
/** Two slots, apart by what the largest disks write as a whole. */
const SLOT_BYTES = 4096;

/** Everything before byte `offset` of the segment with this sequence number is durable. */
export interface LogPosition {
  readonly segment: number;
  readonly offset: number;
}

/** Whether `a` lies behind `b` in the log. */
export function isBehind(a: LogPosition, b: LogPosition): boolean {
  return a.segment > b.segment || (a.segment === b.segment && a.offset > b.offset);
}

function encode({ segment, offset }: LogPosition): Buffer {
  const slot = Buffer.alloc(MARK_BYTES);
  slot.write(MAGIC, 0, 'latin1');
  slot.writeBigUInt64LE(BigInt(segment), 8);
  slot.writeBigUInt64LE(BigInt(offset), 16);
  slot.writeUInt32LE(crc32c(slot, 0, 24), 24);
  return slot;
}

/** The position in `slot`; `undefined` where that is damaged or was never written. */
function decode(slot: Buffer): LogPosition | undefined {
  if (slot.length < MARK_BYTES || slot.toString('latin1', 0, 8) !== MAGIC) return undefined;
  if (slot.readUInt32LE(24) !== crc32c(slot, 0, 24)) return undefined;
  return {
    segment: Number(slot.readBigUInt64LE(8)),
    offset: Number(slot.readBigUInt64LE(16)),
  };
}

export class DurableMark {
  readonly #file: DiskFile;
  readonly #onWarning: (text: string) => void;
  /** What the file said when it was opened. */
  readonly found: LogPosition | undefined;
  /** What is to be noted; `#written` is what was, `#settled` what was at the last tick. */
  #wanted: LogPosition | undefined;
  #written: LogPosition | undefined;
  #settled: LogPosition | undefined;
  #slot: 0 | 1;
  /** Nothing was noted since the last tick: the next note is written at once. */
  #isQuiet: boolean;
  #isSynced: boolean;
  #wantsSync: boolean;
  /** Writes and syncs, one at a time, while there is anything to do. */
  #running: Promise<void> | undefined;

  private constructor(
    file: DiskFile,
    found: LogPosition | undefined,
    slot: 0 | 1,
    onWarning: (text: string) => void,
  ) {
    this.#file = file;
    this.#onWarning = onWarning;
    this.found = found;
    this.#wanted = found;
    this.#written = found;
    this.#settled = found;
    this.#slot = slot;
    this.#isQuiet = true;
    this.#isSynced = true;
    this.#wantsSync = false;
    this.#running = undefined;
  }

  /**
   * Opens the file called `name` in `folder`, or makes it. One that is damaged proves nothing, and is
   * written anew.
   */
  static async open(
    disk: Disk,
    folder: string,
    name: string,
    onWarning: (text: string) => void,
  ): Promise<DurableMark> {
    const path = join(folder, name);
    if (!(await disk.exists(path))) {
      const file = await createZeroed(disk, path, 2 * SLOT_BYTES);
      await disk.syncFolder(folder);
      return new DurableMark(file, undefined, 0, onWarning);
    }
    const file = await disk.open(path, 'write');
    try {
      const first = decode(await file.read(0, MARK_BYTES));
      const second = decode(await file.read(SLOT_BYTES, MARK_BYTES));
      const isFirst = first !== undefined && (second === undefined || isBehind(first, second));
      return new DurableMark(file, isFirst ? first : second, isFirst ? 1 : 0, onWarning);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * The log is durable up to `position`. The first of an interval is written at once, the newest of the
   * others with the next `tick`.
   */
  note(position: LogPosition): void {
    const { segment, offset } = this.#wanted ?? { segment: -1, offset: 0 };
    if (position.segment !== segment || position.offset !== offset) this.#wanted = position;
    if (!this.#isQuiet) return;
    this.#isQuiet = false;
    this.#running ??= this.#run();
  }

  /** `note`, durable on return. */
  noteDurably(position: LogPosition): Promise<void> {
    this.#wanted = position;
    this.#wantsSync = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  /** A heartbeat interval has passed: where nothing was noted meanwhile, what was becomes durable. */
  tick(): void {
    this.#isQuiet = true;
    const isSame = this.#settled === this.#wanted;
    this.#settled = this.#wanted;
    if (isSame && this.#isSynced && this.#wanted === this.#written) return;
    this.#wantsSync ||= isSame;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // Not before who called has kept the promise.
    await undefined;
    try {
      for (;;) {
        if (this.#wanted !== this.#written) await this.#write(this.#wanted!);
        else if (this.#wantsSync) await this.#sync();
        else break;
      }
    } catch (error) {
      // The log is as durable as before, only nothing says so.
      this.#onWarning(`${this.#file.path} could not be written: ${error}`);
      this.#wantsSync = false;
    }
    this.#running = undefined;
  }

  async #write(position: LogPosition): Promise<void> {
    await this.#file.write(encode(position), this.#slot * SLOT_BYTES);
    this.#slot = this.#slot === 0 ? 1 : 0;
    this.#written = position;
    this.#isSynced = false;
  }

  async #sync(): Promise<void> {
    this.#wantsSync = false;
    await this.#file.sync();
    this.#isSynced = this.#wanted === this.#written;
  }

  /** Makes durable what was noted and closes the file. Never rejects. */
  async close(): Promise<void> {
    await this.#running;
    if (!this.#isSynced || this.#wanted !== this.#written) {
      this.#wantsSync = true;
      await this.#run();
    }
    await this.#file.close().catch((error) => this.#onWarning(String(error)));
  }
}
