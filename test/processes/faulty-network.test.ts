/** The links that chaos hurts do what is said of them; otherwise chaos would prove nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { until } from '../support/cluster.ts';
import { FaultyNetwork } from '../support/faulty-network.ts';

const timeout = 20_000;

/** `a` dials `b` through a network; what each end has got so far. */
class Pair implements AsyncDisposable {
  readonly network = new FaultyNetwork();
  readonly atB: { readonly socket: Socket; text: string; error: string }[] = [];
  readonly #server: Server;
  #port = 0;
  readonly #dialed: Socket[] = [];

  constructor() {
    this.#server = createServer((socket) => {
      const end = { socket, text: '', error: '' };
      this.atB.push(end);
      socket.on('data', (chunk) => {
        end.text += chunk.toString();
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        end.error = error.code ?? '';
      });
    });
  }

  async open(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const { port } = this.#server.address() as { port: number };
    this.#port = await this.network.listen('b', port, (first) =>
      first.length > 0 ? 'a' : undefined,
    );
    return this;
  }

  dial(): { readonly socket: Socket; text: string; error: string; closed: boolean } {
    const end = { socket: connect(this.#port, '127.0.0.1'), text: '', error: '', closed: false };
    this.#dialed.push(end.socket);
    end.socket.on('data', (chunk) => {
      end.text += chunk.toString();
    });
    end.socket.on('error', (error: NodeJS.ErrnoException) => {
      end.error = error.code ?? '';
    });
    end.socket.on('close', () => {
      end.closed = true;
    });
    return end;
  }

  /** Both ends of a connection over which one word has gone each way. */
  async connected() {
    const a = this.dial();
    a.socket.write('hello');
    const b = await until('b has it', () => this.atB.find(({ text }) => text === 'hello'));
    b.socket.write('welcome');
    await until('a has it', () => a.text === 'welcome');
    return { a, b };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#dialed) socket.destroy();
    for (const { socket } of this.atB) socket.destroy();
    await this.network.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const aToB = (from: string, to: string): boolean => from === 'a' && to === 'b';

test('bytes and ends go through', { timeout }, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  a.socket.end('x'.repeat(1_000_000));
  await until('all is there', () => b.text.length === 1_000_005);
  await until('both are closed', () => a.closed && b.socket.destroyed);
  assert.deepEqual([a.error, b.error], ['', '']);
});

test('a cut resets what is open and refuses what is new', { timeout }, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  const lift = pair.network.impair(aToB, { cut: true });
  await until('both are told', () => a.error === 'ECONNRESET' && b.error === 'ECONNRESET');
  const late = pair.dial();
  late.socket.write('hello?');
  await until('it is refused', () => late.error === 'ECONNRESET');
  lift();
  pair.atB.length = 0;
  await pair.connected();
});

test('held bytes arrive late, in one direction only', { timeout }, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  const lift = pair.network.impair(aToB, { hold: true });
  a.socket.write(' 1');
  a.socket.write(' 2');
  b.socket.write(' back');
  await until('the other direction is open', () => a.text === 'welcome back');
  assert.equal(b.text, 'hello');
  lift();
  await until('they arrive', () => b.text === 'hello 1 2');
});

test('whoever dies behind a held link is not heard of until it is lifted', {
  timeout,
}, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  const lift = pair.network.impair(aToB, { hold: true });
  a.socket.resetAndDestroy();
  b.socket.write('are you there?');
  await until('a is gone', () => a.closed);
  assert.equal(b.error, '');
  lift();
  await until('b hears of it', () => b.error !== '' || b.socket.destroyed);
});

test('swallowed bytes never arrive, and their connection breaks when it is lifted', {
  timeout,
}, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  const lift = pair.network.impair(aToB, { swallow: true });
  a.socket.write('gone');
  b.socket.write(' back');
  await until('the other direction is open', () => a.text === 'welcome back');
  assert.deepEqual([b.text, a.error, b.error], ['hello', '', '']);
  lift();
  await until('both are told', () => a.error === 'ECONNRESET' && b.error === 'ECONNRESET');
  assert.equal(b.text, 'hello');
});

test('latency and bandwidth take their time and keep the order', { timeout }, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  const lift = pair.network.impair(aToB, { latencyMs: 100, bytesPerSecond: 100_000 });
  const startedAt = performance.now();
  a.socket.write('a'.repeat(10_000));
  await until('the first has gone', () => b.text.length === 10_005);
  assert.ok(performance.now() - startedAt >= 99);
  a.socket.write('b'.repeat(10_000));
  a.socket.write('c');
  await until('all is there', () => b.text.endsWith('c'));
  assert.ok(performance.now() - startedAt >= 290, 'twice the latency, and 100 ms for 10 kB');
  a.socket.write('d'.repeat(5_000_000));
  lift();
  await until('nothing waits for what was lifted', () => b.text.length === 5_020_006);
});

test('a reset in the middle of a frame delivers a part of it', { timeout }, async () => {
  await using pair = await new Pair().open();
  const { a, b } = await pair.connected();
  assert.equal(pair.network.resetMidFrame(aToB), 1);
  a.socket.write('0123456789');
  await new Promise((resolve) => setImmediate(resolve));
  a.socket.write('never');
  await until('both are told', () => a.error === 'ECONNRESET' && b.error === 'ECONNRESET');
  assert.ok('hello01234'.startsWith(b.text), b.text);
});
