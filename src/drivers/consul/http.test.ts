import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { systemClock } from '../../core/clock.ts';
import { HttpConnections, type HttpRequest, type Lane, NoReply } from './http.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** An agent that answers as the test says, and the connections to it. */
class Agent implements AsyncDisposable {
  readonly connections: HttpConnections;
  accepted = 0;
  readonly #server: Server;

  private constructor(server: Server, isSecure: boolean) {
    this.#server = server;
    server.on('connection', () => {
      this.accepted += 1;
    });
    const { port } = server.address() as AddressInfo;
    const target = { name: 'here', host: '127.0.0.1', port, isSecure };
    this.connections = new HttpConnections(target, {
      clock: systemClock,
      tls: {},
      token: undefined,
    });
  }

  static async start(answer: Answer, { isSecure = false } = {}): Promise<Agent> {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Agent(server, isSecure);
  }

  get(path: string, lane?: Lane, also: Partial<HttpRequest> = {}) {
    const message = { method: 'GET', path, timeoutMs: 10_000, ...also } as const;
    return this.connections.send(message, lane);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connections.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('requests to an agent', () => {
  it('that speaks no TLS fail with what to check', async () => {
    await using agent = await Agent.start(() => undefined, { isSecure: true });
    await assert.rejects(agent.get('/'), {
      message: /speaks no TLS: is the address one for http:/,
    });
  });

  it('what stood in line for a connection and was sent may have been done, where it has no answer', async () => {
    const waiting: ServerResponse[] = [];
    await using agent = await Agent.start((request, response) => {
      if (request.url !== '/first') return void request.socket.destroy();
      if (waiting.push(response) === 32) for (const one of waiting) one.end('done');
    });
    const first = Array.from({ length: 32 }, () => agent.get('/first'));
    const inLine = agent.get('/second');
    await Promise.all(first);
    const error = await inLine.catch((reason: unknown) => reason);
    assert.ok(error instanceof NoReply);
    assert.equal(error.wasSent, true);
    assert.equal(agent.accepted, 32);
  });

  it('what stood in line has its whole time for the answer, and leaves no listener', async (t) => {
    const warnings: Error[] = [];
    const warned = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warned);
    t.after(() => process.off('warning', warned));
    let isFirst = true;
    await using agent = await Agent.start((request, response) => {
      const delayMs = request.url === '/slow' ? 2300 : isFirst ? 50 : 0;
      isFirst = false;
      setTimeout(() => response.end('done'), delayMs);
    });
    const all = Array.from({ length: 1000 }, () => agent.get('/quick'));
    all.push(agent.get('/slow'));
    for (const reply of await Promise.all(all)) assert.equal(reply.text, 'done');
    assert.equal(agent.accepted, 32);
    assert.deepEqual(warnings, []);
  });

  it('an answer of another protocol is told at once', async () => {
    await using agent = await Agent.start(({ socket }) => {
      const head = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: other'];
      socket.write(`${head.join('\r\n')}\r\n\r\n`);
    });
    const error = await agent.get('/').catch((reason: unknown) => reason);
    assert.ok(error instanceof NoReply);
    assert.equal(error.isNonsense, true);
    assert.equal(error.wasSent, true);
    assert.match(error.message, /another protocol/);
  });

  it('looks use few connections, however many there are, and leave calls theirs', async () => {
    const looks: ServerResponse[] = [];
    await using agent = await Agent.start((request, response) => {
      if (request.url === '/look') looks.push(response);
      else response.end('done');
    });
    const stop = new AbortController();
    const { signal } = stop;
    const all = Array.from({ length: 500 }, () => agent.get('/look', 'look', { signal }));
    const ended = Promise.allSettled(all);
    assert.equal((await agent.get('/call')).text, 'done');
    assert.equal((await agent.get('/renewal', 'apart')).text, 'done');
    while (looks.length < 8) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(agent.accepted, 10);
    stop.abort(new Error('enough'));
    for (const { status } of await ended) assert.equal(status, 'rejected');
  });
});
