/** A guard as middleware of Hono, which is known by its shape. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { GuardedRequest } from './guarded-request.ts';
import { answerLate, beginOn, setHeaders } from './node-response.ts';
import { requireGuard } from './options.ts';
import type { Refusal } from './refusal.ts';
import type { RequestGuard } from './request-guard.ts';

/** What is used of contexts of Hono, 4 or later. */
export interface HonoContextLike {
  readonly req: { readonly method: string; readonly raw: Request; readonly routePath: string };
  /** On Node there is the response of the server. */
  readonly env: unknown;
  readonly res: Response;
  header(name: string, value: string): void;
  body(body: string, status: never, headers: Record<string, string>): Response;
}

/**
 * Middleware for Hono: `app.use(guardHono(guard))` ahead of the routes. Errors of handlers are Hono's affair, as ever.
 *
 * On `@hono/node-server` a request is over when its response is sent; elsewhere when there is one.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * app.use(guardHono(requestGuard<Context>({ shed: shed({ max: 200 }) })));
 * ```
 */
export function guardHono<C extends HonoContextLike>(
  guard: RequestGuard<C>,
): (context: C, next: () => Promise<void>) => Promise<Response | undefined> {
  requireGuard(guard);
  return (context, next) => {
    const { method, raw } = context.req;
    const node = context.env as OnNode | undefined;
    const outgoing = node?.outgoing;
    if (outgoing === undefined) return withoutNode(guard, context, next);
    const headers = node!.incoming?.headers ?? raw.headers;
    const guarded = beginOn(guard, outgoing, context, method, headers, KNOWN);
    const handle = (refusal: Refusal | undefined): Promise<Response | undefined> => {
      if (refusal !== undefined) return Promise.resolve(respond(context, refusal));
      // What the handler returns may be any response, which knows nothing of headers that the context has.
      setHeaders(outgoing, guarded);
      guarded.late(outgoing, answerLate);
      return guarded.run(next) as Promise<undefined>;
    };
    const entering = guarded.enter();
    return entering instanceof Promise ? entering.then(handle) : handle(entering);
  };
}

/** What `@hono/node-server` gives. */
interface OnNode {
  readonly incoming?: IncomingMessage;
  readonly outgoing?: ServerResponse;
}

/** Requests as the innermost guard has them. */
const innermost = new WeakMap<Request, GuardedRequest>();

async function withoutNode<C extends HonoContextLike>(
  guard: RequestGuard<C>,
  context: C,
  next: () => Promise<void>,
): Promise<Response | undefined> {
  const { method, raw } = context.req;
  const outer = innermost.get(raw);
  const guarded = guard.begin(context, method, raw.headers, { outer, ...KNOWN });
  innermost.set(raw, guarded);
  const { signal } = raw;
  const onAbort = (): void => guarded.gone();
  signal.addEventListener('abort', onAbort, { once: true });
  let status = 500;
  try {
    const refusal = (await guarded.enter()) ?? (await handled(guarded, next));
    status = refusal?.status ?? context.res.status;
    if (refusal !== undefined) return respond(context, refusal);
    guarded.eachHeader(context, setHeaderOfContext);
    return undefined;
  } finally {
    signal.removeEventListener('abort', onAbort);
    guarded.end(signal.aborted ? 499 : status);
  }
}

/** Ends with the handler, or before it with the answer in its place. */
async function handled(
  guarded: GuardedRequest,
  next: () => Promise<void>,
): Promise<Refusal | undefined> {
  if (guarded.remainingMs === undefined) {
    await guarded.run(next);
    return undefined;
  }
  return new Promise((resolve, reject) => {
    guarded.late(resolve, tell);
    guarded.run(next).then(() => resolve(undefined), reject);
  });
}

function tell(resolve: (late: Refusal) => void, refuse: () => Refusal): void {
  resolve(refuse());
}

function respond(context: HonoContextLike, { status, headers, body }: Refusal): Response {
  return context.body(body, status as never, headers);
}

function routeOf({ req }: HonoContextLike): string | undefined {
  const { routePath } = req;
  return routePath === '*' || routePath === '/*' ? undefined : routePath;
}

function setHeaderOfContext(context: HonoContextLike, name: string, value: string): void {
  context.header(name, value);
}

const KNOWN = { routeOf };
