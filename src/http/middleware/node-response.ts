/** How a guard and the responses of Node's servers come together, which Express, Fastify and Hono use as well. */
import type { ServerResponse } from 'node:http';
import type { RequestHeaders } from '../../core/headers.ts';
import type { BeginOptions, GuardedRequest } from './guarded-request.ts';
import type { Refusal } from './refusal.ts';
import type { RequestGuard } from './request-guard.ts';

const GUARDED = Symbol('guarded');

/** What a response remembers: its request, as the innermost guard has it. */
interface Watched extends ServerResponse {
  [GUARDED]?: GuardedRequest | undefined;
  /** Of HTTP/2. */
  readonly stream?: { readonly rstCode?: number | undefined };
}

/** A request has come; it ends with its response. @param known - of all requests of an adapter */
export function beginOn<R>(
  guard: RequestGuard<R>,
  response: ServerResponse,
  native: R,
  method: string,
  headers: RequestHeaders,
  known?: BeginOptions<R>,
): GuardedRequest {
  const watched = response as Watched;
  const outer = watched[GUARDED];
  const options = outer === undefined ? known : { ...known, outer };
  const guarded = guard.begin(native, method, headers, options);
  watched[GUARDED] = guarded;
  // One listener for all responses, and all guards of one.
  if (outer === undefined) response.on('close', onClose);
  return guarded;
}

function onClose(this: Watched): void {
  // A stream of HTTP/2 has finished as well where its client reset it.
  const isWhole = this.writableFinished && !this.stream?.rstCode;
  for (let one = this[GUARDED]; one !== undefined; one = one.outer) {
    if (!isWhole) one.gone();
    one.end(isWhole ? this.statusCode : 499);
  }
}

/** The headers of a response whose request was let in. */
export function setHeaders(response: ServerResponse, guarded: GuardedRequest): void {
  // Somebody else may have answered while it waited to be let in.
  if (!response.headersSent) guarded.eachHeader(response, setHeader);
}

function setHeader(response: ServerResponse, name: string, value: string): void {
  response.setHeader(name, value);
}

/** Answers in place of the handler. Node reads on to the end of the request by itself, so the connection can be used again. */
export function answer(response: ServerResponse, { status, headers, body }: Refusal): void {
  if (!isOpen(response)) return;
  response.writeHead(status, headers);
  // Node would drop a body, or throw: see its `rejectNonStandardBodyWrites`.
  if (response.req?.method === 'HEAD') response.end();
  else response.end(body);
}

function isOpen({ headersSent, writableEnded, destroyed }: ServerResponse): boolean {
  return !(headersSent || writableEnded || destroyed);
}

/** What belongs to another answer than the one that is sent. */
const OF_THE_CONTENT =
  /^(content-(?!security-policy).*|transfer-encoding|etag|last-modified|cache-control|expires|trailer|location)$/;

/** Answers a request whose time is over, unless its handler has begun to. */
export function answerLate(response: ServerResponse, refuse: () => Refusal): void {
  if (isOpen(response)) answerInstead(response, refuse());
}

/** Answers in place of a handler that has begun; what it writes from now on goes nowhere. */
export function answerInstead(response: ServerResponse, refusal: Refusal): void {
  if (!isOpen(response)) return;
  // That of the handler, which may not even be valid. Responses of HTTP/2 have none.
  if (Object.hasOwn(response, 'statusMessage')) response.statusMessage = '';
  for (const name of response.getHeaderNames()) {
    if (OF_THE_CONTENT.test(name)) response.removeHeader(name);
  }
  answer(response, refusal);
  const nothing = (): ServerResponse => response;
  const unheard = {
    writeHead: nothing,
    setHeader: nothing,
    setHeaders: nothing,
    appendHeader: nothing,
    removeHeader: nothing,
    flushHeaders: nothing,
    write: () => true,
    end: nothing,
  };
  Object.assign(response, unheard);
}
