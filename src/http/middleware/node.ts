/** A guard in front of a handler of `node:http` and `node:https`. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { invalid } from '../../core/errors.ts';
import type { GuardedRequest } from './guarded-request.ts';
import { answer, answerInstead, answerLate, beginOn, setHeaders } from './node-response.ts';
import { requireGuard } from './options.ts';
import type { Refusal } from './refusal.ts';
import type { RequestGuard } from './request-guard.ts';

/** A handler of `node:http`; it may be asynchronous. */
export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => unknown;

/**
 * A handler that passes requests on to another once the guard has let them in. What that throws, or rejects with, goes to
 * the guard's `onError`; the client is answered with 500 where nothing was sent yet, else cut off.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * createServer(guardNode(guard, async (request, response) => response.end(await render(request.url))));
 * ```
 */
export function guardNode(
  guard: RequestGuard<IncomingMessage>,
  handler: NodeHandler,
): (request: IncomingMessage, response: ServerResponse) => void {
  requireGuard(guard);
  if (typeof handler !== 'function') throw invalid('handler: a function is needed');
  const handle = (
    guarded: GuardedRequest,
    request: IncomingMessage,
    response: ServerResponse,
    refusal: Refusal | undefined,
  ): void => {
    if (refusal !== undefined) {
      answer(response, refusal);
      return;
    }
    setHeaders(response, guarded);
    guarded.late(response, answerLate);
    try {
      const result = guarded.run(handler, request, response);
      if (result instanceof Promise)
        result.catch((error: unknown) => fail(guarded, response, error));
    } catch (error) {
      fail(guarded, response, error);
    }
  };

  return (request, response) => {
    const guarded = beginOn(guard, response, request, request.method!, request.headers);
    const refusal = guarded.enter();
    if (refusal instanceof Promise)
      void refusal.then((later) => handle(guarded, request, response, later));
    else handle(guarded, request, response, refusal);
  };
}

function fail(guarded: GuardedRequest, response: ServerResponse, error: unknown): void {
  const failure = guarded.fail(error);
  if (response.headersSent) {
    if (!response.writableEnded) response.destroy();
  } else if (failure !== undefined) {
    answerInstead(response, failure);
  }
}
