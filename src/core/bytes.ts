/**
 * Byte strings. Inside, keys and values are latin1 strings, one character a byte: V8 compares them
 * bytewise, which is etcd's key order, and keeps them in half the memory of a Buffer. `Bytes` marks
 * such a string. At the edge they become Buffers.
 */

declare global {
  // Node has these on every Buffer and documents `toString('latin1')`, which dispatches to them.
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
    latin1Write(text: string, offset?: number, length?: number): number;
    utf8Slice(start?: number, end?: number): string;
    utf8Write(text: string, offset?: number, length?: number): number;
  }
}

/** A string in which every character is one byte (0 to 255). */
export type Bytes = string;

/** What users pass as a key or value: text (encoded as UTF-8) or raw bytes. */
export type BytesLike = string | Uint8Array;

/** From what a user passed to the inner form. */
export function toBytes(value: BytesLike): Bytes {
  if (typeof value === 'string') {
    // ASCII text, the common case, already is its own latin1 form.
    for (let i = 0; i < value.length; i++) {
      if (value.charCodeAt(i) > 0x7f) return Buffer.from(value, 'utf8').latin1Slice();
    }
    return value;
  }
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).latin1Slice();
}

/** From the inner form to a Buffer of its own. */
export function fromBytes(bytes: Bytes): Buffer {
  return Buffer.from(bytes, 'latin1');
}

/**
 * The end of the range of all keys that start with `prefix`: the prefix with its last byte below
 * 0xff raised by one and the rest dropped; `'\0'` (no upper end) where there is no such byte.
 */
export function prefixEnd(prefix: Bytes): Bytes {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix.charCodeAt(i);
    if (byte < 0xff) return prefix.slice(0, i) + String.fromCharCode(byte + 1);
  }
  return '\0';
}
