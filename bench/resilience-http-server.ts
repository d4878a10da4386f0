/** A hello route on one framework, with a guard or without, for `resilience-http.ts`: a process of its own. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import express from 'express';
import fastify, { type FastifyRequest } from 'fastify';
import { type Context, Hono } from 'hono';
import {
  guardExpress,
  guardFastify,
  guardHono,
  guardNode,
  type RequestGuardOptions,
  requestGuard,
} from '../src/http/middleware/index.ts';
import { shed, tokenBucket } from '../src/resilience/index.ts';

const [framework, guarded] = process.argv.slice(2);

/** All that a guard does: limit, shedding, deadline, ids, trace context, figures. */
function bundle<R>(tenantOf: (request: R) => string): RequestGuardOptions<R> {
  const limiter = tokenBucket({ rate: '10000000/m', burst: 10_000_000 });
  return {
    limit: { limiter, key: tenantOf, window: '1m' },
    shed: shed({ max: 1000 }),
    deadline: { max: '30s' },
  };
}

const ofHeaders = ({ headers }: { readonly headers: object }): string =>
  String((headers as Record<string, unknown>)['x-tenant']);

const START: Readonly<Record<string, (isGuarded: boolean) => Promise<Server> | Server>> = {
  node(isGuarded) {
    const hello = (_: unknown, response: { end(text: string): unknown }) => response.end('hello');
    const handler = isGuarded ? guardNode(requestGuard(bundle(ofHeaders)), hello) : hello;
    return createServer(handler).listen(0, '127.0.0.1');
  },
  express(isGuarded) {
    const app = express();
    if (isGuarded) app.use(guardExpress(requestGuard<express.Request>(bundle(ofHeaders))));
    app.get('/hello', (_, response) => void response.send('hello'));
    return app.listen(0, '127.0.0.1');
  },
  async fastify(isGuarded) {
    const app = fastify();
    if (isGuarded)
      await app.register(guardFastify(requestGuard(bundle<FastifyRequest>(ofHeaders))));
    app.get('/hello', (_, reply) => void reply.send('hello'));
    await app.listen({ port: 0, host: '127.0.0.1' });
    return app.server;
  },
  hono(isGuarded) {
    const app = new Hono();
    if (isGuarded) {
      const byHeader = bundle<Context>(({ req }) => String(req.header('x-tenant')));
      app.use(guardHono(requestGuard(byHeader)));
    }
    app.get('/hello', (c) => c.text('hello'));
    return serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server;
  },
};

const server = await START[framework!]!(guarded === 'guarded');
const tell = (): void => void process.send!({ port: (server.address() as AddressInfo).port });
if (server.listening) tell();
else server.once('listening', tell);
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send!({ cpuUs: user + system });
});
process.on('disconnect', () => process.exit());
