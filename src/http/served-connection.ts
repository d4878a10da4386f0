/**
 * What a shutdown knows of a client's connection: the requests on it, when it was last used, and how to tell the
 * client to go elsewhere. One class for a socket of HTTP/1, one for a session of HTTP/2.
 */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

export interface ServedConnection {
  /** Whether a request is in progress. */
  readonly busy: boolean;
  /** Milliseconds of the clock when it was found in use last. */
  usedAtMs: number;
  /** Looks whether it was used since the last look. */
  wasUsed(): boolean;
  /** Tells the client, with the responses in progress, not to use it again. */
  sendAway(): void;
  /** Closes it, with nothing in progress; called again where it is still there after as long as it was idle. */
  closeIdle(): void;
  /** Cuts it. */
  destroy(): void;
  /** The requests in progress, as method and path. */
  requests(): readonly string[];
}

export class Http1Connection implements ServedConnection {
  usedAtMs: number;
  readonly #socket: Socket;
  /** Nearly always one at most: few clients pipeline. */
  readonly #responses: ServerResponse[];
  /** What made it a connection of another protocol; that one is in progress until the connection ends. */
  #upgrade: string | undefined;
  #bytesRead: number;

  constructor(socket: Socket, nowMs: number) {
    this.usedAtMs = nowMs;
    this.#socket = socket;
    this.#responses = [];
    this.#upgrade = undefined;
    this.#bytesRead = socket.bytesRead;
  }

  get busy(): boolean {
    return this.#responses.length > 0 || this.#upgrade !== undefined;
  }

  upgrade({ method, url }: IncomingMessage): void {
    this.#upgrade = `${nameOf(method, url)} (upgraded)`;
  }

  begin(response: ServerResponse): void {
    this.#responses.push(response);
  }

  end(response: ServerResponse): void {
    const responses = this.#responses;
    if (responses.length === 1 && responses[0] === response) {
      responses.pop();
      return;
    }
    const index = responses.indexOf(response);
    if (index >= 0) responses.splice(index, 1);
  }

  // Bytes, not requests: the head of a request may come in pieces.
  wasUsed(): boolean {
    const { bytesRead } = this.#socket;
    if (!this.busy && bytesRead === this.#bytesRead) return false;
    this.#bytesRead = bytesRead;
    return true;
  }

  // With the last one only: Node ends the connection after the response that says it, and drops what was pipelined behind.
  sendAway(): void {
    const last = this.#responses.length - 1;
    for (let index = 0; index <= last; index++) {
      const response = this.#responses[index]!;
      if (response.headersSent) continue;
      if (index === last) response.setHeader('connection', 'close');
      else if (response.getHeader('connection') === 'close') response.removeHeader('connection');
    }
  }

  // Not `end`: a request that crosses the end on its way would be served, and nobody would get the answer. This way it
  // is refused by the kernel, and the client knows that nothing was done.
  closeIdle(): void {
    this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  requests(): readonly string[] {
    const names = this.#responses.map(({ req }) => nameOf(req.method, req.url));
    return this.#upgrade === undefined ? names : [...names, this.#upgrade];
  }
}

/** The largest stream id: with it a GOAWAY asks for no new streams and refuses none that is on its way (RFC 9113, 6.8). */
const LAST_STREAM_ID = 2 ** 31 - 1;

export class Http2Connection implements ServedConnection {
  usedAtMs: number;
  readonly #session: ServerHttp2Session;
  readonly #socket: EventEmitter & Pick<Socket, 'destroy'>;
  readonly #streams: Map<ServerHttp2Stream, IncomingHttpHeaders>;
  #wasUsed: boolean;
  #isSentAway: boolean;

  constructor(session: ServerHttp2Session, nowMs: number) {
    this.usedAtMs = nowMs;
    this.#session = session;
    // What a session shows as its socket refuses to be destroyed; whose events they are, its methods for events return.
    this.#socket = session.socket.off('close', nothing);
    this.#streams = new Map();
    this.#wasUsed = false;
    this.#isSentAway = false;
  }

  get busy(): boolean {
    return this.#streams.size > 0;
  }

  begin(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    this.#streams.set(stream, headers);
    this.#wasUsed = true;
  }

  end(stream: ServerHttp2Stream): void {
    this.#streams.delete(stream);
    this.#wasUsed = true;
  }

  // Streams, not bytes: a client that only pings has nothing to wait for.
  wasUsed(): boolean {
    const used = this.busy || this.#wasUsed;
    this.#wasUsed = false;
    return used;
  }

  sendAway(): void {
    if (this.#isSentAway || this.#session.destroyed) return;
    this.#isSentAway = true;
    this.#session.goaway(0, LAST_STREAM_ID);
  }

  // Its second GOAWAY names the last stream that was served: the client knows what was not. One that does not go then is cut.
  closeIdle(): void {
    if (this.#session.closed) this.#socket.destroy();
    else this.#session.close();
  }

  destroy(): void {
    if (this.#session.destroyed) this.#socket.destroy();
    else this.#session.destroy();
  }

  requests(): readonly string[] {
    const names = [...this.#streams.values()];
    return names.map((headers) => nameOf(headers[':method'], headers[':path']));
  }
}

function nothing(): void {
  // Never called.
}

/** Without the query, which may hold what is nobody's business. */
function nameOf(method = '?', url = '?'): string {
  const end = url.indexOf('?');
  return `${method} ${end < 0 ? url : url.slice(0, end)}`.slice(0, 200);
}
