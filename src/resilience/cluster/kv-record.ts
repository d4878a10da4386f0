/**
 * What a store keeps of a key's limit: the row of a way to count, and the latest time at which somebody counted. Numbers of
 * eight bytes, little end first: where time begins for the row (µs since the Unix epoch), that latest time after it (ms), the row.
 */
import { QuorateError } from '../../core/errors.ts';
import type { StoreRules } from './limit-store.ts';

const HEAD = 2;
/** A row's time is moved on after so long: its numbers stay exact. */
const LONG_MS = 2 ** 31;

/** A cell of a row that was changed. */
interface Change {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** How what was taken can be given back. */
export interface RowReceipt {
  readonly originUs: number;
  readonly whenMs: number;
  readonly changes: readonly Change[];
}

export class KvRecord {
  readonly row: Float64Array;
  #originUs: number;
  #stampMs: number;

  private constructor(originUs: number, stampMs: number, row: Float64Array) {
    this.row = row;
    this.#originUs = originUs;
    this.#stampMs = stampMs;
  }

  /** Of a key that was never used. Windows begin at the same time for all keys. */
  static first(rules: StoreRules, nowUs: number): KvRecord {
    const unitUs = unitOf(rules);
    const originUs = Math.floor(nowUs / unitUs) * unitUs;
    return new KvRecord(originUs, 0, new Float64Array(rules.algorithm.columns));
  }

  /** @throws ERR_PROTOCOL for what is no record of such rules */
  static parse(bytes: Buffer, { kind, algorithm }: StoreRules, nameOf: () => string): KvRecord {
    const { columns } = algorithm;
    const numbers = new Float64Array(Math.floor(bytes.length / 8));
    for (let i = 0; i < numbers.length; i++) numbers[i] = bytes.readDoubleLE(i * 8);
    const has = numbers.length - HEAD;
    const isWhole = bytes.length % 8 === 0 && numbers.every(Number.isFinite);
    // Sliding windows of another limit are longer or shorter.
    const isRow = kind === 'sliding-window' ? has > 1 && numbers[HEAD]! < has - 1 : has === columns;
    const isHead = numbers[0]! >= 0 && Number.isSafeInteger(numbers[0]) && numbers[1]! >= 0;
    if (!isWhole || !isRow || !isHead || numbers[1]! > Number.MAX_SAFE_INTEGER) {
      throw new QuorateError(
        'ERR_PROTOCOL',
        `${nameOf()}: ${bytes.length} bytes that are not the state of a limit; delete the key, or use another prefix`,
      );
    }
    let row = numbers.subarray(HEAD);
    if (has !== columns) {
      const carried = new Float64Array(columns);
      algorithm.carry!({ limit: has - 1 }, row, 0, carried, 0);
      row = carried;
    }
    return new KvRecord(numbers[0]!, numbers[1]!, row);
  }

  copy(): KvRecord {
    return new KvRecord(this.#originUs, this.#stampMs, this.row.slice());
  }

  bytes(): Buffer {
    const bytes = Buffer.allocUnsafe((HEAD + this.row.length) * 8);
    bytes.writeDoubleLE(this.#originUs, 0);
    bytes.writeDoubleLE(this.#stampMs, 8);
    for (const [i, value] of this.row.entries()) bytes.writeDoubleLE(value, (HEAD + i) * 8);
    return bytes;
  }

  /** The time by which is counted: never before that of who counted last. */
  advance(rules: StoreRules, nowUs: number): number {
    this.#align(rules);
    let nowMs = Math.max(this.#stampMs, (nowUs - this.#originUs) / 1000);
    if (nowMs >= LONG_MS) {
      const unitUs = unitOf(rules);
      const byUs = Math.floor((nowMs * 1000) / unitUs) * unitUs;
      rules.algorithm.shift(this.row, 0, byUs / 1000);
      this.#originUs += byUs;
      nowMs = Math.max(0, nowMs - byUs / 1000);
    }
    this.#stampMs = nowMs;
    return nowMs;
  }

  /** The period may have been another: windows of the clock begin with the clock's. */
  #align(rules: StoreRules): void {
    const tooLateUs = this.#originUs % unitOf(rules);
    if (tooLateUs === 0) return;
    rules.algorithm.shift(this.row, 0, -tooLateUs / 1000);
    this.#originUs -= tooLateUs;
    this.#stampMs += tooLateUs / 1000;
  }

  receipt(before: Float64Array, whenMs: number): RowReceipt {
    const changes: Change[] = [];
    for (const [at, after] of this.row.entries()) {
      if (after !== before[at]) changes.push({ at, before: before[at]!, after });
    }
    return { originUs: this.#originUs, whenMs, changes };
  }

  /** Gives back what nobody has taken after. */
  undo({ originUs, whenMs, changes }: RowReceipt, nowMs: number): boolean {
    const isLast = changes.every(({ at, after }) => this.row[at] === after);
    if (!isLast || originUs !== this.#originUs || nowMs >= whenMs) return false;
    for (const { at, before } of changes) this.row[at] = before;
    return true;
  }
}

/** Time begins at a whole number of these: windows of the clock begin together for all keys. */
function unitOf({ kind, periodUs }: StoreRules): number {
  return kind === 'fixed-window' || kind === 'sliding-counter' ? periodUs : 1000;
}
