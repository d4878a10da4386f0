/** The same routes on all four frameworks, on real servers, for tests that are the same for all of them. */
import { once } from 'node:events';
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import express from 'express';
import fastify, { type FastifyRequest } from 'fastify';
import { type Context, Hono } from 'hono';
import { remainingTimeMs } from '../../resilience/deadline.ts';
import {
  currentRequest,
  guardExpress,
  guardFastify,
  guardHono,
  guardNode,
  type RequestGuard,
  type RequestGuardOptions,
  requestGuard,
  traceHeaders,
} from './index.ts';

/** What the routes do, in the hands of a test. */
export interface Behaviour {
  /** `/wait` answers when it resolves. @param signal - of the request */
  readonly wait: (signal: AbortSignal) => Promise<void>;
  /** `/stream` sends these. */
  readonly chunks: () => AsyncIterable<string>;
}

/** A request of any of the frameworks, as the functions of a guard's options see it. */
export interface AnyRequest {
  header(name: string): string | undefined;
}

export type AnyOptions = Omit<RequestGuardOptions<never>, 'limit' | 'priority' | 'route'> & {
  readonly limit?: Omit<NonNullable<RequestGuardOptions<never>['limit']>, 'key' | 'cost'> & {
    readonly key: (request: AnyRequest) => string;
    readonly cost?: (request: AnyRequest) => number;
  };
  readonly priority?: (request: AnyRequest) => number;
};

export interface RunningServer {
  readonly port: number;
  readonly stats: RequestGuard<never>['stats'];
  readonly stop: () => Promise<void>;
}

/** Starts a server with a guard of these options. */
export type StartServer = (options: AnyOptions, behaviour: Behaviour) => Promise<RunningServer>;

/** What the routes say of the request that they run for. */
function aboutRequest() {
  const { requestId, traceId, spanId, isSampled, remainingMs } = currentRequest()!;
  const carriedMs = remainingTimeMs();
  return { requestId, traceId, spanId, isSampled, remainingMs, carriedMs, ...traceHeaders() };
}

function optionsFor<R>(
  options: AnyOptions,
  view: (request: R) => AnyRequest,
): RequestGuardOptions<R> {
  const { limit, priority } = options;
  const { cost } = limit ?? {};
  return {
    ...options,
    limit: limit && {
      ...limit,
      key: (native) => limit.key(view(native)),
      cost: cost && ((native) => cost(view(native))),
    },
    priority: priority && ((native) => priority(view(native))),
  } as RequestGuardOptions<R>;
}

const ofNode = (native: IncomingMessage): AnyRequest => ({
  header: (name) => native.headers[name] as string | undefined,
});

async function listening(
  server: Server,
  stats: RunningServer['stats'],
  close?: () => Promise<unknown>,
) {
  if (!server.listening) await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    stats,
    async stop() {
      server.closeAllConnections();
      if (close !== undefined) await close();
      else await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function stream(response: ServerResponse, chunks: AsyncIterable<string>): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/plain' });
  for await (const chunk of chunks) response.write(chunk);
  response.end();
}

const startNode: StartServer = async (options, { wait, chunks }) => {
  const guard = requestGuard(optionsFor(options, ofNode));
  const routes: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
    '/hello': (_, response) => response.end('hello'),
    '/about': (_, response) => response.end(JSON.stringify(aboutRequest())),
    '/wait': async (_, response) => {
      await wait(currentRequest()!.signal);
      response.setHeader('content-type', 'text/plain');
      response.end('waited');
    },
    '/stream': (_, response) => stream(response, chunks()),
    '/throw': async () => {
      throw new Error('a secret of the handler');
    },
    '/echo': async (native, response) => {
      let body = '';
      for await (const chunk of native) body += String(chunk);
      response.end(JSON.stringify({ length: body.length, ...aboutRequest() }));
    },
  };
  const handler = guardNode(guard, (native, response) => routes[native.url!]!(native, response));
  return listening(createServer(handler).listen(0, '127.0.0.1'), guard.stats.bind(guard));
};

const startExpress: StartServer = async (options, { wait, chunks }) => {
  const guard = requestGuard<express.Request>(optionsFor(options, ofNode));
  const app = express();
  app.use(guardExpress(guard));
  app.use(express.text({ limit: '1mb' }));
  app.get('/hello', (_, response) => void response.send('hello'));
  app.get('/about', (_, response) => void response.send(JSON.stringify(aboutRequest())));
  app.get('/wait', async (_, response) => {
    await wait(currentRequest()!.signal);
    response.type('text/plain').send('waited');
  });
  app.get('/stream', (_, response) => stream(response, chunks()));
  app.get('/throw', async () => {
    throw new Error('a secret of the handler');
  });
  app.post('/echo', (native, response) => {
    response.send(JSON.stringify({ length: String(native.body).length, ...aboutRequest() }));
  });
  app.use((_: unknown, __: express.Request, response: express.Response, ___: unknown) => {
    response.status(500).send('the app says that it failed');
  });
  return listening(app.listen(0, '127.0.0.1'), guard.stats.bind(guard));
};

const startFastify: StartServer = async (options, { wait, chunks }) => {
  const guard = requestGuard(optionsFor<FastifyRequest>(options, ({ raw }) => ofNode(raw)));
  const app = fastify();
  await app.register(guardFastify(guard));
  app.get('/hello', async () => 'hello');
  app.get('/about', async () => JSON.stringify(aboutRequest()));
  app.get('/wait', async (_, reply) => {
    await wait(currentRequest()!.signal);
    reply.type('text/plain');
    return 'waited';
  });
  app.get('/stream', async (_, reply) => {
    reply.hijack();
    await stream(reply.raw, chunks());
  });
  app.get('/throw', async () => {
    throw new Error('a secret of the handler');
  });
  app.post('/echo', { bodyLimit: 1_000_000 }, async ({ body }) =>
    JSON.stringify({ length: String(body).length, ...aboutRequest() }),
  );
  app.setErrorHandler((_, __, reply) => reply.code(500).send('the app says that it failed'));
  await app.listen({ port: 0, host: '127.0.0.1' });
  return listening(app.server, guard.stats.bind(guard), () => app.close());
};

const startHono: StartServer = async (options, { wait, chunks }) => {
  const guard = requestGuard<Context>(
    optionsFor(options, ({ req }) => ({ header: (name) => req.header(name) })),
  );
  const app = new Hono();
  app.use(guardHono(guard));
  app.get('/hello', (c) => c.text('hello'));
  app.get('/about', (c) => c.text(JSON.stringify(aboutRequest())));
  app.get('/wait', async (c) => {
    await wait(currentRequest()!.signal);
    return c.text('waited');
  });
  app.get('/stream', () => {
    const encoder = new TextEncoder();
    const source = chunks()[Symbol.asyncIterator]();
    const body = new ReadableStream({
      async pull(controller) {
        const { value, done } = await source.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/plain' } });
  });
  app.get('/throw', async () => {
    throw new Error('a secret of the handler');
  });
  app.post('/echo', async (c) => {
    const body = await c.req.text();
    return c.text(JSON.stringify({ length: body.length, ...aboutRequest() }));
  });
  app.onError((_, c) => c.text('the app says that it failed', 500));
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server;
  return listening(server, guard.stats.bind(guard));
};

export const SERVERS: Readonly<Record<string, StartServer>> = {
  'node:http': startNode,
  Express: startExpress,
  Fastify: startFastify,
  Hono: startHono,
};

export interface Answer {
  readonly status: number;
  /** The text beside the status. */
  readonly reason: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Of the client's end: the same for the same connection. */
  readonly localPort: number;
}

export interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string;
  readonly agent?: Agent;
  readonly signal?: AbortSignal;
}

/** Asks a server on this machine. */
export function ask(port: number, path: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body, agent, signal } = question;
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', path, method, headers, agent, signal };
    const sent = request(options as object, async (response: IncomingMessage) => {
      try {
        const { localPort } = response.socket;
        let text = '';
        for await (const chunk of response) text += String(chunk);
        resolve({
          status: response.statusCode!,
          reason: response.statusMessage!,
          headers: response.headers,
          text,
          localPort: localPort!,
        });
      } catch (error) {
        reject(error);
      }
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** An agent with one connection. */
export function oneConnection(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}
