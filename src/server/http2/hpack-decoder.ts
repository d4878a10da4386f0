/**
 * HPACK decoder (RFC 7541) for the header blocks of one connection.
 *
 * A block that breaks the format throws a `ConnectionError`: the tables of both sides may differ
 * from there on, so nothing later could be understood. A list beyond the size limit is decoded to
 * its end, to keep the tables equal, but not kept.
 */
import { ConnectionError, Http2Code } from './errors.ts';
import { STATIC_ENTRIES, STATIC_TABLE } from './hpack-tables.ts';
import { decodeHuffman } from './huffman.ts';

/** What RFC 7541, section 4.1 counts for an entry besides its characters. */
const ENTRY_OVERHEAD = 32;

/** Larger indexes or lengths cannot be valid in a block of our size limit. */
const MAX_INTEGER = 1 << 24;

export class HpackDecoder {
  /** Counts changes of the table and its limit: equal versions mean equal tables. */
  version: number;
  readonly #maxTableBytes: number;
  readonly #maxListBytes: number;
  /** Ring of names and values by turns; made with the first entry. Slots are a power of two. */
  #ring: string[];
  #mask: number;
  #newest: number;
  #entries: number;
  #tableBytes: number;
  #tableLimit: number;
  #buffer: Buffer;
  #at: number;
  #end: number;

  /**
   * @param maxTableBytes what our SETTINGS_HEADER_TABLE_SIZE allows the peer
   * @param maxListBytes the largest list that is kept, as RFC 9113, section 6.5.2 counts it
   */
  constructor(maxTableBytes: number, maxListBytes: number) {
    this.version = 0;
    this.#maxTableBytes = maxTableBytes;
    this.#maxListBytes = maxListBytes;
    this.#ring = [];
    this.#mask = 0;
    this.#newest = 0;
    this.#entries = 0;
    this.#tableBytes = 0;
    this.#tableLimit = maxTableBytes;
    this.#buffer = Buffer.alloc(0);
    this.#at = 0;
    this.#end = 0;
  }

  /**
   * Names and values by turns of the block from `start` to `end`; `undefined` where the list is
   * larger than allowed.
   */
  decode(buffer: Buffer, start: number, end: number): string[] | undefined {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
    const fields: string[] = [];
    let listBytes = 0;
    let first = true;
    while (this.#at < end) {
      const byte = buffer[this.#at]!;
      if ((byte & 0xe0) === 0x20) {
        if (!first) throw broken('table size update after a field');
        this.#updateTableLimit(this.#integer(5));
        continue;
      }
      first = false;
      const size = this.#field(byte, fields);
      listBytes += size;
      if (listBytes > this.#maxListBytes) fields.length = 0;
    }
    return listBytes > this.#maxListBytes ? undefined : fields;
  }

  /** Reads one field (section 6.1, 6.2) onto `fields` and returns its size in the list. */
  #field(byte: number, fields: string[]): number {
    if (byte & 0x80) {
      const index = this.#integer(7);
      const name = this.#name(index);
      const value = this.#valueAt(index);
      fields.push(name, value);
      return name.length + value.length + ENTRY_OVERHEAD;
    }
    const indexed = (byte & 0x40) !== 0;
    const index = this.#integer(indexed ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#name(index);
    const value = this.#string();
    if (indexed) this.#insert(name, value);
    fields.push(name, value);
    return name.length + value.length + ENTRY_OVERHEAD;
  }

  #name(index: number): string {
    if (index <= 0) throw broken('index 0');
    if (index <= STATIC_ENTRIES) return STATIC_TABLE[(index - 1) * 2]!;
    return this.#ring[this.#slot(index) * 2]!;
  }

  #valueAt(index: number): string {
    if (index <= STATIC_ENTRIES) return STATIC_TABLE[(index - 1) * 2 + 1]!;
    return this.#ring[this.#slot(index) * 2 + 1]!;
  }

  #slot(index: number): number {
    const age = index - STATIC_ENTRIES - 1;
    if (age >= this.#entries) throw broken('index beyond the table');
    return (this.#newest - age) & this.#mask;
  }

  /** Section 4.4: makes room, then adds; an entry larger than the table empties it. */
  #insert(name: string, value: string): void {
    const size = name.length + value.length + ENTRY_OVERHEAD;
    this.version++;
    this.#evictTo(this.#tableLimit - size);
    if (size > this.#tableLimit) return;
    if (this.#ring.length === 0) this.#makeRing();
    this.#newest = (this.#newest + 1) & this.#mask;
    this.#ring[this.#newest * 2] = name;
    this.#ring[this.#newest * 2 + 1] = value;
    this.#entries++;
    this.#tableBytes += size;
  }

  /** No more entries than this fit into the table, so the ring never overflows. */
  #makeRing(): void {
    const slots = 2 ** Math.ceil(Math.log2(this.#maxTableBytes / ENTRY_OVERHEAD + 1));
    this.#ring = new Array<string>(slots * 2).fill('');
    this.#mask = slots - 1;
  }

  #evictTo(bytes: number): void {
    while (this.#entries > 0 && this.#tableBytes > bytes) {
      const oldest = (this.#newest - this.#entries + 1) & this.#mask;
      const name = this.#ring[oldest * 2]!;
      const value = this.#ring[oldest * 2 + 1]!;
      this.#tableBytes -= name.length + value.length + ENTRY_OVERHEAD;
      this.#ring[oldest * 2] = '';
      this.#ring[oldest * 2 + 1] = '';
      this.#entries--;
      this.version++;
    }
  }

  #updateTableLimit(bytes: number): void {
    if (bytes > this.#maxTableBytes) throw broken('table size beyond the setting');
    this.version++;
    this.#tableLimit = bytes;
    this.#evictTo(bytes);
  }

  /** Section 5.1. */
  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = this.#byte() & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (value > MAX_INTEGER) break;
      if ((byte & 0x80) === 0) return value;
    }
    throw broken('integer too large');
  }

  /** Section 5.2. */
  #string(): string {
    const huffman = this.#at < this.#end && (this.#buffer[this.#at]! & 0x80) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    if (length > this.#end - start) throw broken('string beyond the block');
    this.#at = start + length;
    if (!huffman) return this.#buffer.latin1Slice(start, this.#at);
    const text = decodeHuffman(this.#buffer, start, this.#at);
    if (text === undefined) throw broken('bad Huffman code');
    return text;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw broken('block ends within a field');
    return this.#buffer[this.#at++]!;
  }
}

function broken(what: string): ConnectionError {
  return new ConnectionError(Http2Code.compressionError, `header block: ${what}`);
}
