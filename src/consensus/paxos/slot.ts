/**
 * A slot of the log as an acceptor keeps it: the newest ballot in which it accepted, and the value.
 *
 * The value is an `Entry` whose `term` is its *origin*: the ballot in which it was first proposed. Origin
 * and index name a value for good, however often later leaders propose it again. A value that fills a
 * gap belongs to nobody: its origin is 0, and it has no data.
 *
 * On the disk and in promises an entry's `term` is the ballot of the acceptance. Where the origin is the
 * same, which is nearly always, nothing else is needed; else the entry is of type `adopted` and its data
 * begin with type and origin.
 */
import { assert } from '../../core/assert.ts';
import { type Entry, EntryType } from '../types.ts';

export interface Slot {
  /** In which it was accepted here. */
  readonly ballot: number;
  /** `value.term` is the origin. */
  readonly value: Entry;
}

/** The type, then the origin as 8 bytes, little endian. */
const HEAD_BYTES = 9;
const TWO_32 = 0x1_0000_0000;

const NO_DATA = new Uint8Array(0);

/** The value that makes `index` a slot without one (a no-op). */
export function gapFiller(index: number): Entry {
  return { type: EntryType.normal, term: 0, index, data: NO_DATA };
}

/** `slot` as an entry of the log on the disk, or of a promise. */
export function toRecord({ ballot, value }: Slot): Entry {
  const { type, term: origin, index, data } = value;
  if (origin === ballot) return value;
  const wrapped = new Uint8Array(HEAD_BYTES + data.length);
  const view = new DataView(wrapped.buffer);
  wrapped[0] = type;
  view.setUint32(1, origin % TWO_32, true);
  view.setUint32(5, Math.floor(origin / TWO_32), true);
  wrapped.set(data, HEAD_BYTES);
  return { type: EntryType.adopted, term: ballot, index, data: wrapped };
}

/** What `toRecord` made an entry of; `undefined` where that cannot be. */
export function fromRecord(record: Entry): Slot | undefined {
  const { type, term: ballot, index, data } = record;
  if (ballot === 0) return undefined;
  if (type !== EntryType.adopted) return { ballot, value: record };
  if (data.length < HEAD_BYTES) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const origin = view.getUint32(1, true) + view.getUint32(5, true) * TWO_32;
  const ownType = data[0]!;
  if (ownType >= EntryType.adopted || origin >= ballot) return undefined;
  const value = {
    type: ownType as EntryType,
    term: origin,
    index,
    data: data.subarray(HEAD_BYTES),
  };
  return isValue(value) ? { ballot, value } : undefined;
}

/** Never trust the wire: only a gap filler has no origin. */
export function isValue({ type, term, data }: Entry): boolean {
  return term > 0 ? type !== EntryType.adopted : type === EntryType.normal && data.length === 0;
}

/** An entry's size for every limit that counts bytes on the move: payload, and what holds it. */
export function slotBytes(slot: Slot): number {
  assert(slot.ballot > 0, 'a slot was accepted in some ballot');
  return slot.value.data.length + 32;
}
