/** How a guard and the responses of Node's servers come together, which Express and Fastify use as well. */
import type { ServerResponse } from 'node:http';
import type { GuardedRequest } from './guarded-request.ts';
import type { Refusal } from './refusal.ts';

/** What a response remembers of its request. */
interface Watched {
  [slot: symbol]: GuardedRequest | undefined;
}

/** Tells requests that their responses are over, with one listener for all of them. */
export class ResponseWatch {
  readonly #slot: symbol;
  readonly #onClose: () => void;

  /** @param routeOf - the template of the route of a request, as the framework has it, once it is over */
  constructor(routeOf: (native: unknown) => string | undefined = noRoute) {
    const slot = Symbol('guarded');
    this.#slot = slot;
    this.#onClose = function onClose(this: unknown): void {
      const response = this as ServerResponse & Watched;
      const guarded = response[slot]!;
      const isWhole = response.writableFinished;
      if (!isWhole) guarded.gone();
      guarded.end(isWhole ? response.statusCode : 499, routeOf(guarded.native));
    };
  }

  begin(response: ServerResponse, guarded: GuardedRequest): void {
    (response as ServerResponse & Watched)[this.#slot] = guarded;
    response.on('close', this.#onClose);
  }

  guardedOf(response: ServerResponse): GuardedRequest | undefined {
    return (response as ServerResponse & Watched)[this.#slot];
  }
}

function noRoute(): undefined {
  return undefined;
}

export function setHeader(response: ServerResponse, name: string, value: string): void {
  response.setHeader(name, value);
}

/** Answers in place of the handler. Node reads on to the end of the request by itself, so the connection can be used again. */
export function answer(response: ServerResponse, { status, headers, body }: Refusal): void {
  if (response.headersSent || response.writableEnded || response.destroyed) return;
  response.writeHead(status, headers);
  response.end(body);
}

/** What belongs to another answer than the one that is sent. */
const OF_THE_CONTENT =
  /^(content-(?!security-policy).*|transfer-encoding|etag|last-modified|cache-control|expires|trailer|location)$/;

/** Answers a request whose time is over; what its handler writes from now on goes nowhere. */
export function answerLate(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent || response.writableEnded || response.destroyed) return;
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
