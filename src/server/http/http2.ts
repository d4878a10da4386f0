/** Requests over HTTP/2 that are not gRPC: the same pages and gateway. */
import { type Field, fieldBlock } from '../http2/hpack-encoder.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Http2Stream, Part, StreamReceiver } from '../http2/stream.ts';
import { type HttpHandler, type HttpHeaders, type HttpReply, parseTarget } from './exchange.ts';
import { CORS_HEADERS } from './handler.ts';

const BYTES: Part<Buffer> = {
  size: (bytes) => bytes.length,
  write: (buffer, offset, _size, bytes) => buffer.set(bytes, offset),
};

const END = fieldBlock([]);

export class Http2Exchange implements StreamReceiver, HttpReply {
  readonly #stream: Http2Stream;
  readonly #head: RequestHead;
  readonly #handler: HttpHandler;
  readonly #maxBodyBytes: number;
  readonly #chunks: Buffer[];
  #bytes: number;
  #onClosed: (() => void) | undefined;
  #onWritable: (() => void) | undefined;

  constructor(stream: Http2Stream, head: RequestHead, handler: HttpHandler, maxBodyBytes: number) {
    this.#stream = stream;
    this.#head = head;
    this.#handler = handler;
    this.#maxBodyBytes = maxBodyBytes;
    this.#chunks = [];
    this.#bytes = 0;
    this.#onClosed = undefined;
    this.#onWritable = undefined;
  }

  data(buffer: Buffer, start: number, end: number): void {
    if (this.#stream.done) return;
    this.#hold(end - start);
    if (this.#bytes <= this.#maxBodyBytes) {
      this.#chunks.push(Buffer.from(buffer.subarray(start, end)));
      return;
    }
    this.#release();
    this.send(413, {}, 'Request Entity Too Large\n');
  }

  end(): void {
    if (this.#stream.done) return;
    const body = Buffer.concat(this.#chunks);
    this.#release();
    const target = parseTarget(this.#head.path);
    if (target === undefined) {
      this.send(400, {}, '400 Bad Request\n');
      return;
    }
    this.#handler({ method: this.#head.method, ...target, body }, this);
  }

  closed(): void {
    this.#release();
    this.#onClosed?.();
  }

  writable(): void {
    this.#onWritable?.();
  }

  send(status: number, headers: HttpHeaders, body: string): void {
    const bytes = Buffer.from(body, 'utf8');
    const head = headBlock(status, { ...headers, 'content-length': String(bytes.length) });
    if (bytes.length === 0) this.#stream.respond(undefined, undefined, undefined, head);
    else {
      this.#stream.sendHead(head);
      this.#stream.send(BYTES, bytes);
      this.#stream.finish(END);
    }
  }

  stream(status: number, headers: HttpHeaders): ReturnType<HttpReply['stream']> {
    this.#stream.sendHead(headBlock(status, headers));
    return {
      write: (text) => this.#stream.send(BYTES, Buffer.from(text, 'utf8')),
      end: () => this.#stream.finish(END),
      onWritable: (run) => {
        this.#onWritable = run;
      },
    };
  }

  onClosed(run: () => void): void {
    this.#onClosed = run;
  }

  #hold(bytes: number): void {
    this.#bytes += bytes;
    this.#stream.hold(bytes);
  }

  #release(): void {
    this.#chunks.length = 0;
    this.#stream.hold(-this.#bytes);
    this.#bytes = 0;
  }
}

function headBlock(status: number, headers: HttpHeaders): ReturnType<typeof fieldBlock> {
  const fields: Field[] = [{ name: ':status', value: String(status) }];
  for (const [name, value] of Object.entries({ ...CORS_HEADERS, ...headers })) {
    fields.push({ name, value });
  }
  return fieldBlock(fields);
}
