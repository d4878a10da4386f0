/**
 * Lines for the head of a response, added when that is written. `setHeader` for what every response has costs more than all
 * else that a guard does. Node keeps the head as text until it is sent, in a property that has no documentation: so once, before
 * it is relied on, it is tried whether a line that is put there arrives. Where it does not there is `setHeader`.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';

/** Whose lines they are: asked when the head is written. */
export interface LineSource {
  /** Lines of `name: value`, each with its end; nothing in them may be of a client's making. */
  headerLines(): string;
}

/** Where a response has them. */
export const SOURCE = Symbol('guarded');
const BEFORE = Symbol('before');

type WriteHead = (this: Lined, status: number, reason?: unknown, headers?: unknown) => unknown;

interface Lined {
  _header?: string;
  [SOURCE]?: LineSource;
  /** What somebody else has put in the place of `writeHead`. */
  [BEFORE]?: WriteHead | undefined;
  writeHead: WriteHead;
}

const NODES = ServerResponse.prototype.writeHead as unknown as WriteHead;
let isTried = false;
let canAdd = false;

/** Whether lines can be added to the response: not if it is of another kind, such as those of HTTP/2 or of mocks. */
export function takesLines(response: object): boolean {
  if (!isTried) {
    isTried = true;
    canAdd = arrives();
  }
  return canAdd && response.constructor === ServerResponse;
}

/** Adds the lines of what is in its `SOURCE` then. Once for each response. */
export function addLines(response: object): void {
  const lined = response as Lined;
  const before = lined.writeHead;
  if (before !== NODES) lined[BEFORE] = before;
  lined.writeHead = writeHead;
}

/** As if none had been added: the head is another one's. */
export function dropLines(response: object): void {
  const lined = response as Lined;
  if (lined.writeHead === writeHead) lined.writeHead = lined[BEFORE] ?? NODES;
}

function writeHead(this: Lined, status: number, reason?: unknown, headers?: unknown): unknown {
  const before = this[BEFORE];
  const result =
    before === undefined
      ? NODES.call(this, status, reason, headers)
      : before.call(this, status, reason, headers);
  const head = this._header;
  // It ends with an empty line.
  if (typeof head === 'string')
    this._header = `${head.slice(0, -2)}${this[SOURCE]!.headerLines()}\r\n`;
  return result;
}

function arrives(): boolean {
  const request = new IncomingMessage(undefined as unknown as Socket);
  request.method = 'GET';
  request.httpVersionMajor = 1;
  request.httpVersionMinor = 1;
  const response = new ServerResponse(request);
  let sent = '';
  const sink = new Writable({
    write(chunk, _, done) {
      sent += String(chunk);
      done();
    },
  });
  try {
    response.assignSocket(sink as unknown as Socket);
    (response as unknown as Lined)[SOURCE] = { headerLines: () => 'x-tried: 1\r\n' };
    addLines(response);
    response.writeHead(200);
    response.end('body');
    return /^HTTP\/1\.1 200 OK\r\n([^\r\n]+\r\n)*x-tried: 1\r\n\r\n/.test(sent);
  } catch {
    return false;
  } finally {
    sink.destroy();
  }
}
