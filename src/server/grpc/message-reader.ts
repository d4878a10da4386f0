/**
 * Finds the messages in a stream's body: a flag, four bytes of length, the message. What is not
 * complete yet is collected in a buffer that grows with what arrives, not with what was announced.
 */
import { GrpcCode, type GrpcStatus } from '../../proto/etcd-errors.ts';
import type { Http2Stream } from '../http2/stream.ts';

export const PREFIX_BYTES = 5;

export interface MessageTarget {
  /** A whole message, borrowed for the time of the call; `false`: deliver no more. */
  message(buffer: Buffer, start: number, end: number): boolean;
  /** The body cannot be read on. */
  unreadable(status: GrpcStatus): void;
}

const NOTHING = Buffer.alloc(0);

export class MessageReader {
  readonly #stream: Http2Stream;
  readonly #target: MessageTarget;
  readonly #maxBytes: number;
  #partial: Buffer;
  #filled: number;
  #dead: boolean;

  constructor(stream: Http2Stream, target: MessageTarget, maxBytes: number) {
    this.#stream = stream;
    this.#target = target;
    this.#maxBytes = maxBytes;
    this.#partial = NOTHING;
    this.#filled = 0;
    this.#dead = false;
  }

  /** Whether the body would end within a message. */
  get midMessage(): boolean {
    return this.#filled > 0;
  }

  data(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#dead) {
      if (this.#filled > 0 || end - at < PREFIX_BYTES) {
        at = this.#collect(buffer, at, end);
        continue;
      }
      const need = this.#announced(buffer, at);
      if (need < 0) return;
      if (end - at < need) {
        at = this.#collect(buffer, at, end);
      } else {
        this.#deliver(buffer, at + PREFIX_BYTES, at + need);
        at += need;
      }
    }
  }

  /** Gives up what was collected. */
  discard(): void {
    this.#dead = true;
    this.#release();
  }

  /** Bytes of the message that begins at `at`, its prefix included; -1 where it is refused. */
  #announced(buffer: Buffer, at: number): number {
    const flag = buffer[at]!;
    const length = buffer.readUInt32BE(at + 1);
    let refusal: GrpcStatus | undefined;
    if (flag === 1) {
      const message = 'grpc: compressed messages are not supported; send them as they are';
      refusal = { code: GrpcCode.unimplemented, message };
    } else if (flag !== 0) {
      refusal = {
        code: GrpcCode.internal,
        message: `grpc: received unexpected payload format ${flag}`,
      };
    } else if (length > this.#maxBytes) {
      const message = `grpc: received message larger than max (${length} vs. ${this.#maxBytes})`;
      refusal = { code: GrpcCode.resourceExhausted, message };
    }
    if (refusal === undefined) return PREFIX_BYTES + length;
    this.discard();
    this.#target.unreadable(refusal);
    return -1;
  }

  /** Adds to the unfinished message; returns where reading goes on. */
  #collect(buffer: Buffer, start: number, end: number): number {
    const before = this.#filled;
    let need = PREFIX_BYTES;
    if (before >= PREFIX_BYTES) need += this.#partial.readUInt32BE(1);
    const take = Math.min(need - before, end - start);
    this.#grow(before + take, need);
    buffer.copy(this.#partial, before, start, start + take);
    this.#filled = before + take;
    if (this.#filled < need) return start + take;
    if (before < PREFIX_BYTES) {
      need = this.#announced(this.#partial, 0);
      if (need < 0) return end;
    }
    if (this.#filled === need) {
      const message = this.#partial;
      this.#release();
      this.#deliver(message, PREFIX_BYTES, need);
    }
    return start + take;
  }

  #grow(bytes: number, need: number): void {
    if (bytes <= this.#partial.length) return;
    const larger = Buffer.allocUnsafe(Math.min(Math.max(bytes, 2 * this.#partial.length), need));
    this.#stream.hold(larger.length - this.#partial.length);
    this.#partial.copy(larger, 0, 0, this.#filled);
    this.#partial = larger;
  }

  #release(): void {
    if (this.#partial.length > 0) this.#stream.hold(-this.#partial.length);
    this.#partial = NOTHING;
    this.#filled = 0;
  }

  #deliver(buffer: Buffer, start: number, end: number): void {
    if (!this.#target.message(buffer, start, end)) this.discard();
  }
}
