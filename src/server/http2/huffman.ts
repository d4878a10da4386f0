/** HPACK's Huffman code (RFC 7541, section 5.2), decoding only: our encoder sends plain strings. */
import { HUFFMAN_LENGTHS } from './hpack-tables.ts';

const MAX_BITS = 30;
const END_OF_STRING = 256;

/** Symbols in the order of their codes; those of one length stand together. */
const symbols = new Uint16Array(257);
/** For each length: the first code, one past the last code, and where its symbols start. */
const firstCode = new Float64Array(MAX_BITS + 1);
const endCode = new Float64Array(MAX_BITS + 1);
const firstSymbol = new Uint16Array(MAX_BITS + 1);
/** For the next 8 bits: symbol and length of a code that is that short, packed; 0 for longer ones. */
const shortCodes = new Uint16Array(256);

function buildTables(): void {
  let code = 0;
  let position = 0;
  for (let bits = 1; bits <= MAX_BITS; bits++) {
    code *= 2;
    firstCode[bits] = code;
    firstSymbol[bits] = position;
    for (let symbol = 0; symbol < HUFFMAN_LENGTHS.length; symbol++) {
      if (HUFFMAN_LENGTHS[symbol] !== bits) continue;
      symbols[position++] = symbol;
      if (bits <= 8)
        shortCodes.fill((symbol << 4) | bits, code << (8 - bits), (code + 1) << (8 - bits));
      code++;
    }
    endCode[bits] = code;
  }
}
buildTables();

/**
 * The string that `buffer` holds from `start` to `end`, or `undefined` where it is no valid code:
 * an end-of-string symbol, padding of more than 7 bits or other than ones.
 */
export function decodeHuffman(buffer: Buffer, start: number, end: number): string | undefined {
  let text = '';
  // At most 7 + 30 bits are held, which a number of 53 bits has room for.
  let held = 0;
  let bits = 0;
  let next = start;
  for (;;) {
    while (bits < MAX_BITS && next < end) {
      held = held * 256 + buffer[next++]!;
      bits += 8;
    }
    const short = bits >= 8 ? shortCodes[Math.floor(held / 2 ** (bits - 8))]! : 0;
    const used = short !== 0 ? short & 15 : lengthOfCode(held, bits);
    if (used === 0) break;
    const symbol =
      short !== 0
        ? short >> 4
        : symbols[firstSymbol[used]! + Math.floor(held / 2 ** (bits - used)) - firstCode[used]!]!;
    if (symbol === END_OF_STRING) return undefined;
    text += String.fromCharCode(symbol);
    bits -= used;
    held %= 2 ** bits;
  }
  return bits <= 7 && held === 2 ** bits - 1 ? text : undefined;
}

/** The length of the code that the `bits` bits of `held` begin with; 0 where there is no whole one. */
function lengthOfCode(held: number, bits: number): number {
  for (let length = 5; length <= MAX_BITS && length <= bits; length++) {
    if (Math.floor(held / 2 ** (bits - length)) < endCode[length]!) return length;
  }
  return 0;
}
