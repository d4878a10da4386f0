/** A guard as middleware of Express, which is known by its shape. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { answer, answerLate, beginOn, setHeaders } from './node-response.ts';
import { requireGuard } from './options.ts';
import type { Refusal } from './refusal.ts';
import type { RequestGuard } from './request-guard.ts';

/** What is used of requests of Express, 4 or later, besides what Node's have. */
export interface ExpressRequest extends IncomingMessage {
  readonly baseUrl: string;
  /** Set once one has matched. */
  readonly route?: { readonly path: unknown };
}

/**
 * Middleware for Express: `app.use(guardExpress(guard))` ahead of everything that reads bodies. Errors of handlers are
 * Express's affair, as ever.
 *
 * Routes in figures are those of Express. Routers below a path with parameters show what these were: give the guard a `route`
 * of its own where there are such.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * app.use(guardExpress(requestGuard<Request>({ shed: shed({ max: 200 }) })));
 * ```
 */
export function guardExpress<R extends ExpressRequest>(
  guard: RequestGuard<R>,
): (request: R, response: ServerResponse, next: (error?: unknown) => void) => void {
  requireGuard(guard);
  return (request, response, next) => {
    const { method, headers } = request;
    const guarded = beginOn(guard, response, request, method!, headers, KNOWN);
    const handle = (refusal: Refusal | undefined): void => {
      if (refusal !== undefined) {
        answer(response, refusal);
        return;
      }
      setHeaders(response, guarded);
      guarded.late(response, answerLate);
      guarded.run(next);
    };
    const refusal = guarded.enter();
    if (refusal instanceof Promise) void refusal.then(handle);
    else handle(refusal);
  };
}

function routeOf({ baseUrl, route }: ExpressRequest): string | undefined {
  return route === undefined ? undefined : baseUrl + String(route.path);
}

const KNOWN = { routeOf };
