// The same small service on plain node:http and on three frameworks. Whatever it is built with, what is shut down is Node's server.

import { createServer, type Server } from 'node:http';
import type { HealthChecks } from 'quorate/http';

/** What `/work` does. */
export type Work = (body: string) => Promise<object>;

type Build = (health: HealthChecks, work: Work) => Promise<Server>;

export const FRAMEWORKS: Readonly<Record<string, Build>> = {
  async node(health, work) {
    return createServer(async (request, response) => {
      if (health.handle(request, response)) return;
      let body = '';
      for await (const part of request.setEncoding('utf8')) body += part;
      const answer = await work(body);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  },

  async express(health, work) {
    const { default: express } = await import('express');
    const app = express();
    app.use((request, response, next) => {
      if (!health.handle(request, response)) next();
    });
    app.use(express.text());
    app.all('/work', async (request, response) => {
      response.json(await work(String(request.body ?? '')));
    });
    return createServer(app);
  },

  async fastify(health, work) {
    const { default: fastify } = await import('fastify');
    const app = fastify();
    for (const path of ['/livez', '/readyz', '/startupz']) {
      app.get(path, async (request, reply) => {
        const { status, headers, body } = (await health.answer(request.raw))!;
        return reply.code(status).headers(headers).send(body);
      });
    }
    app.all('/work', (request) => work(String(request.body ?? '')));
    await app.ready();
    return app.server;
  },

  async hono(health, work) {
    const [{ Hono }, { createAdaptorServer }] = await Promise.all([
      import('hono'),
      import('@hono/node-server'),
    ]);
    const app = new Hono();
    app.all('/work', async (context) => context.json(await work(await context.req.text())));
    app.all('*', async ({ req }) => {
      const { pathname, search } = new URL(req.url);
      const answer = await health.answer({ method: req.method, url: pathname + search });
      return answer === undefined
        ? new Response(null, { status: 404 })
        : new Response(answer.body, answer);
    });
    return createAdaptorServer({ fetch: app.fetch }) as Server;
  },
};
