/** Header blocks that arrive in several frames: HEADERS and its CONTINUATIONs (RFC 9113, section 6.10). */
import { enhanceYourCalm, protocolError } from './errors.ts';

export class HeaderAssembly {
  /** The stream whose block is unfinished; 0 for none. */
  streamId: number;
  /** Flags of the HEADERS frame. */
  flags: number;
  readonly #maxBytes: number;
  #parts: Buffer[];
  #bytes: number;

  constructor(maxBytes: number) {
    this.streamId = 0;
    this.flags = 0;
    this.#maxBytes = maxBytes;
    this.#parts = [];
    this.#bytes = 0;
  }

  begin(streamId: number, flags: number, part: Buffer): void {
    this.streamId = streamId;
    this.flags = flags;
    this.#add(part);
  }

  /** Adds a CONTINUATION; returns the whole block when `last`. */
  continue(part: Buffer, last: boolean): Buffer | undefined {
    if (this.streamId === 0) throw protocolError('CONTINUATION without HEADERS');
    this.#add(part);
    if (!last) return undefined;
    const block = Buffer.concat(this.#parts);
    this.streamId = 0;
    this.#parts = [];
    this.#bytes = 0;
    return block;
  }

  #add(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) throw enhanceYourCalm('header block too large');
    // A copy: the read buffer is not ours to keep.
    if (part.length > 0) this.#parts.push(Buffer.from(part));
  }
}
