/** A guard as a plugin of Fastify, which is known by its shape. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerLate, beginOn, setHeaders } from './node-response.ts';
import { requireGuard } from './options.ts';
import type { Refusal } from './refusal.ts';
import type { RequestGuard } from './request-guard.ts';

/** What is used of requests of Fastify, 4.10 or later. */
export interface FastifyRequestLike {
  readonly raw: IncomingMessage;
  readonly routeOptions: { readonly url?: string | undefined };
}

/** What is used of replies of Fastify. */
export interface FastifyReplyLike {
  readonly raw: ServerResponse;
  code(status: number): unknown;
  header(name: string, value: string): unknown;
  send(body: Uint8Array): unknown;
}

type Hook<R> = (request: R, reply: FastifyReplyLike, done: () => void) => void;

/** What is used of Fastify. */
export interface FastifyLike<R> {
  addHook(name: 'onRequest', hook: Hook<R>): unknown;
}

/** Of a plugin that is for all routes, not only for those that are registered within it. */
const SKIP_OVERRIDE = Symbol.for('skip-override');
const NAME = Symbol.for('fastify.display-name');

/**
 * A plugin for Fastify: `await app.register(guardFastify(guard))` ahead of the routes; it is for all that are registered
 * where it is, and below. Errors of handlers are Fastify's affair, as ever.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * await app.register(guardFastify(requestGuard<FastifyRequest>({ shed: shed({ max: 200 }) })));
 * ```
 */
export function guardFastify<R extends FastifyRequestLike>(
  guard: RequestGuard<R>,
): (app: FastifyLike<R>, options: object, done: () => void) => void {
  requireGuard(guard);
  const onRequest: Hook<R> = (request, reply, done) => {
    const { method, headers } = request.raw;
    const guarded = beginOn(guard, reply.raw, request, method!, headers, KNOWN);
    const handle = (refusal: Refusal | undefined): void => {
      if (refusal === undefined) {
        setHeaders(reply.raw, guarded);
        guarded.late(reply.raw, answerLate);
        guarded.run(done);
        return;
      }
      reply.code(refusal.status);
      for (const [name, value] of Object.entries(refusal.headers)) reply.header(name, value);
      // To text Fastify adds a charset, which the media type does not have.
      reply.send(Buffer.from(refusal.body));
    };
    const refusal = guarded.enter();
    if (refusal instanceof Promise) void refusal.then(handle);
    else handle(refusal);
  };

  const plugin = (app: FastifyLike<R>, _: object, done: () => void): void => {
    app.addHook('onRequest', onRequest);
    done();
  };
  return Object.assign(plugin, { [SKIP_OVERRIDE]: true, [NAME]: 'quorate-guard' });
}

function routeOf({ routeOptions }: FastifyRequestLike): string | undefined {
  return routeOptions.url;
}

const KNOWN = { routeOf };
