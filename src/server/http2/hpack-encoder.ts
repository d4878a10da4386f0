/**
 * HPACK encoder for what a server of few, fixed responses needs: blocks are laid out once for the
 * process, and a connection's encoder only fills in the indexes of the fields that repeat.
 */
import { STATIC_ENTRIES, STATIC_TABLE } from './hpack-tables.ts';

/** The table of a peer below this size is not used at all; all our repeated fields fit into it. */
const MIN_TABLE_BYTES = 1024;

/** A field of a header block. `repeated`: worth an entry in the peer's table (at most 8 in a process). */
export interface Field {
  readonly name: string;
  readonly value: string;
  readonly repeated?: boolean;
}

interface FieldCode {
  /** Number among the repeated fields, -1 for others. */
  readonly slot: number;
  /** Without use of the table. */
  readonly plain: Buffer;
  /** Adds the field to the table. */
  readonly inserting: Buffer;
}

/** A header block that any connection can send. */
export interface FieldBlock {
  readonly codes: readonly FieldCode[];
  /** No encoding of it is longer. */
  readonly maxBytes: number;
}

const repeatedFields: string[] = [];

/** Lays out a block. Names are lower case; pseudo-headers come first. */
export function fieldBlock(fields: readonly Field[]): FieldBlock {
  const codes = fields.map(fieldCode);
  // 3 bytes: a table size update to 0 may come before.
  const maxBytes = codes.reduce((sum, code) => sum + code.plain.length, 3);
  return { codes, maxBytes };
}

function fieldCode(field: Field): FieldCode {
  const exact = staticIndex(field.name, field.value);
  if (exact > 0) {
    const indexed = Buffer.from([0x80 | exact]);
    return { slot: -1, plain: indexed, inserting: indexed };
  }
  return {
    slot: field.repeated ? repeatedSlot(`${field.name}: ${field.value}`) : -1,
    plain: literal(field, 0x00, 4),
    inserting: literal(field, 0x40, 6),
  };
}

function repeatedSlot(key: string): number {
  const known = repeatedFields.indexOf(key);
  return known >= 0 ? known : repeatedFields.push(key) - 1;
}

/** The entry of the static table with this name and, where given, this value; 0 for none. */
function staticIndex(name: string, value?: string): number {
  for (let i = 0; i < STATIC_ENTRIES; i++) {
    if (STATIC_TABLE[i * 2] !== name) continue;
    if (value === undefined || STATIC_TABLE[i * 2 + 1] === value) return i + 1;
  }
  return 0;
}

/** Section 6.2: the name by index where there is one, the value as it is. */
function literal(field: Field, pattern: number, prefixBits: number): Buffer {
  const index = staticIndex(field.name);
  const parts = [integer(index, pattern, prefixBits)];
  if (index === 0) parts.push(integer(field.name.length, 0, 7), Buffer.from(field.name, 'latin1'));
  parts.push(integer(field.value.length, 0, 7), Buffer.from(field.value, 'latin1'));
  return Buffer.concat(parts);
}

/** Section 5.1. */
function integer(value: number, pattern: number, prefixBits: number): Buffer {
  const mask = (1 << prefixBits) - 1;
  if (value < mask) return Buffer.from([pattern | value]);
  const bytes = [pattern | mask];
  let rest = value - mask;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** The sending half of one connection's header compression. */
export class HpackEncoder {
  /** When each repeated field was inserted, counted from 1; 0 for not yet. */
  readonly #insertedAt: number[];
  #insertions: number;
  #useTable: boolean;
  #mustShrink: boolean;

  constructor() {
    this.#insertedAt = [];
    this.#insertions = 0;
    this.#useTable = true;
    this.#mustShrink = false;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. A small table is given up for good: simple, and rare. */
  limitTable(bytes: number): void {
    if (bytes >= MIN_TABLE_BYTES || !this.#useTable) return;
    this.#useTable = false;
    this.#mustShrink = true;
  }

  /** Writes `block` and returns the offset behind it; up to `block.maxBytes` are used. */
  write(block: FieldBlock, buffer: Buffer, offset: number): number {
    let at = offset;
    if (this.#mustShrink) {
      this.#mustShrink = false;
      buffer[at++] = 0x20;
    }
    const codes = block.codes;
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i]!;
      if (code.slot < 0 || !this.#useTable) {
        at = append(code.plain, buffer, at);
        continue;
      }
      const insertedAt = this.#insertedAt[code.slot] ?? 0;
      if (insertedAt > 0) {
        buffer[at++] = 0x80 | (STATIC_ENTRIES + 1 + this.#insertions - insertedAt);
      } else {
        at = append(code.inserting, buffer, at);
        this.#insertedAt[code.slot] = ++this.#insertions;
      }
    }
    return at;
  }
}

function append(bytes: Buffer, buffer: Buffer, offset: number): number {
  if (bytes.length > 8) {
    buffer.set(bytes, offset);
    return offset + bytes.length;
  }
  for (let i = 0; i < bytes.length; i++) buffer[offset + i] = bytes[i]!;
  return offset + bytes.length;
}
