/** The end of services built with frameworks: each keeps what it was asked, and says that the connection ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { serve } from '@hono/node-server';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import { gracefulShutdown, type HealthChecks, healthChecks } from 'quorate/http';

interface Service {
  readonly server: Server;
  /** What the framework wants to be told in the end. */
  readonly close?: () => Promise<unknown>;
}

type Frame = (health: HealthChecks, work: () => Promise<string>) => Promise<Service>;

const frameworks: Record<string, Frame> = {
  'node:http': async (health, work) => ({
    server: createServer(async (request, response) => {
      if (health.handle(request, response)) return;
      response.end(await work());
    }),
  }),
  Express: async (health, work) => {
    const app = express();
    app.use((request, response, next) => {
      if (!health.handle(request, response)) next();
    });
    app.get('/work', async (_request, response) => {
      response.type('text').send(await work());
    });
    return { server: createServer(app) };
  },
  Fastify: async (health, work) => {
    const app = fastify();
    app.get('/readyz', async (request, reply) => {
      const { status, headers, body } = (await health.answer(request.raw))!;
      return reply.code(status).headers(headers).send(body);
    });
    app.get('/work', work);
    await app.ready();
    return { server: app.server, close: () => app.close() };
  },
  Hono: async (health, work) => {
    const app = new Hono();
    app.get('/readyz', async ({ req }) => {
      const { pathname, search } = new URL(req.url);
      const answer = await health.answer({ method: req.method, url: pathname + search });
      return new Response(answer!.body, answer!);
    });
    app.get('/work', async (context) => context.text(await work()));
    return { server: serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server };
  },
};

interface Answer {
  readonly status: number;
  readonly connection: string | undefined;
  readonly body: string;
}

function client(t: TestContext, port: number): (path: string) => Promise<Answer> {
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  return async (path) => {
    const request = get({ host: '127.0.0.1', port, path, agent });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let body = '';
    for await (const part of response.setEncoding('utf8')) body += part;
    return { status: response.statusCode!, connection: response.headers.connection, body };
  };
}

for (const [name, frame] of Object.entries(frameworks)) {
  test(`${name}: a request in progress is finished, one on a kept connection is served, and readiness is off`, async (t) => {
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const health = healthChecks();
    let isSlow = false;
    const { server, close } = await frame(health, async () => {
      if (!isSlow) return 'quick';
      begun.resolve();
      await gate.promise;
      return 'slow';
    });
    const shutdown = gracefulShutdown({
      servers: [server],
      health,
      signals: [],
      delay: 0,
      idle: '20s',
      deadlines: { finish: '30s' },
      flush: { app: () => close?.() },
    });
    t.after(() => server.closeAllConnections());
    if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
    const ask = client(t, (server.address() as AddressInfo).port);

    const [first, second, third] = await Promise.all([ask('/work'), ask('/work'), ask('/work')]);
    for (const { body, connection } of [first, second, third]) {
      assert.deepEqual([body, connection], ['quick', 'keep-alive']);
    }
    assert.equal((await ask('/readyz')).status, 200);
    isSlow = true;
    const slow = ask('/work');
    await begun.promise;
    isSlow = false;

    const stopping = shutdown.run();
    while (server.listening) await new Promise((resolve) => setTimeout(resolve, 5));
    const ready = await ask('/readyz');
    assert.deepEqual([ready.status, ready.connection], [503, 'close']);
    const kept = await ask('/work');
    assert.deepEqual([kept.status, kept.connection, kept.body], [200, 'close', 'quick']);
    gate.resolve();
    const { status, connection, body } = await slow;
    assert.deepEqual([status, connection, body], [200, 'close', 'slow']);
    const report = await stopping;
    assert.equal(report.exitCode, 0, JSON.stringify(report));
    const { steps } = report.phases.find(({ phase }) => phase === 'finish')!;
    assert.deepEqual([steps[0]?.finished, steps[0]?.abandoned], [3, 0]);
  });
}
