/**
 * What a guard with all its parts costs a hello route, on each framework: with and without, in turns, each in a process
 * of its own, asked over connections that are kept, one request at a time on each.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { median, type Report } from './report.ts';

const FRAMEWORKS = ['node', 'express', 'fastify', 'hono'] as const;
const CONNECTIONS = 32;
const REQUEST = Buffer.from('GET /hello HTTP/1.1\r\nHost: localhost\r\nx-tenant: a\r\n\r\n');
/** What a response ends with; nothing before it has such a line. */
const END = Buffer.from('\r\n\r\nhello');
const CHUNKED_END = Buffer.from('hello\r\n0\r\n\r\n');

class Subject {
  readonly #child: ChildProcess;
  readonly #port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#port = port;
  }

  static async start(framework: string, variant: string): Promise<Subject> {
    const file = fileURLToPath(new URL('./resilience-http-server.ts', import.meta.url));
    const child = fork(file, [framework, variant], { execArgv: process.execArgv });
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    return new Subject(child, port);
  }

  /** Asks for so long; resolves with requests a second, and microseconds of the server's processor for each. */
  async measure(ms: number): Promise<{ readonly rate: number; readonly cpuUs: number }> {
    const sockets = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        const socket = connect(this.#port, '127.0.0.1');
        socket.setNoDelay(true);
        await once(socket, 'connect');
        return socket;
      }),
    );
    const before = await this.#cpuUs();
    const begun = performance.now();
    const counts = await Promise.all(sockets.map((socket) => ask(socket, begun + ms)));
    const tookMs = performance.now() - begun;
    const after = await this.#cpuUs();
    for (const socket of sockets) socket.destroy();
    const requests = counts.reduce((sum, count) => sum + count, 0);
    return { rate: (requests / tookMs) * 1000, cpuUs: (after - before) / requests };
  }

  async #cpuUs(): Promise<number> {
    this.#child.send('cpu');
    const [{ cpuUs }] = (await once(this.#child, 'message')) as [{ cpuUs: number }];
    return cpuUs;
  }

  async stop(): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }
}

/** One request after the other on a connection. */
function ask(socket: Socket, untilMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let count = 0;
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      if (chunk.indexOf(END) < 0 && chunk.indexOf(CHUNKED_END) < 0) {
        reject(new Error(`an answer that is not hello: ${chunk}`));
        return;
      }
      count += 1;
      if (performance.now() < untilMs) socket.write(REQUEST);
      else resolve(count);
    });
    socket.write(REQUEST);
  });
}

export async function benchHttp(report: Report, quick: boolean): Promise<void> {
  const rounds = quick ? 5 : 21;
  const ms = quick ? 300 : 500;
  for (const framework of FRAMEWORKS) {
    const [plain, guarded] = await Promise.all([
      Subject.start(framework, 'plain'),
      Subject.start(framework, 'guarded'),
    ]);
    const rates: Record<string, number[]> = { quorate: [], 'no guard': [] };
    const cpu: Record<string, number[]> = { quorate: [], 'no guard': [] };
    try {
      for (const subject of [plain, guarded]) await subject.measure(ms);
      for (let round = 0; round < rounds; round++) {
        const turns = [
          ['no guard', plain],
          ['quorate', guarded],
        ] as const;
        for (const [name, subject] of round % 2 === 0 ? turns : turns.toReversed()) {
          const { rate, cpuUs } = await subject.measure(ms);
          rates[name]!.push(rate);
          cpu[name]!.push(cpuUs);
        }
        report.note(`${framework}: round ${round + 1} of ${rounds}`);
      }
    } finally {
      await Promise.all([plain.stop(), guarded.stop()]);
    }
    const share = median(rates['quorate']!.map((rate, i) => rate / rates['no guard']![i]!));
    report.note(
      `${framework}: ${((1 - share) * 100).toFixed(1)} % less throughput in the median round`,
    );
    report.add({ name: `hello on ${framework}`, unit: 'requests/s', better: 'higher' }, rates);
    report.add({ name: `hello on ${framework}`, unit: 'processor µs', better: 'lower' }, cpu);
  }
}
