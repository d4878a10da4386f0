/** Between locks and Consul: counts requests, answers some in its place, and loses replies to others. */
import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';

export interface ProxiedRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly body: string;
}

/**
 * `lose`: it is done, and its reply is lost; `garble`: it is done, and the reply is another; `late`: its connection
 * breaks, and it arrives with `deliver`.
 */
export type Treatment = 'pass' | 'lose' | 'garble' | 'late' | Answer;

/** What is said in the place of Consul. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

export class ConsulProxy implements AsyncDisposable {
  /** All that came, in order. */
  readonly seen: ProxiedRequest[] = [];
  /** What happens to a request. */
  treat: (request: ProxiedRequest) => Treatment | Promise<Treatment> = () => 'pass';
  readonly #server: Server;
  readonly #port: number;
  readonly #late: ProxiedRequest[];

  private constructor(port: number) {
    this.#port = port;
    this.#late = [];
    this.#server = createServer((incoming, outgoing) => void this.#serve(incoming, outgoing));
  }

  static async to(port: number): Promise<ConsulProxy> {
    const proxy = new ConsulProxy(port);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** How many came that match. */
  count(method: string, path: string): number {
    return this.seen.filter((one) => one.method === method && one.path.startsWith(path)).length;
  }

  /** What was late arrives, in order; resolves with what Consul answers. */
  async deliver(): Promise<readonly Answer[]> {
    const answers: Answer[] = [];
    for (const { method, path, body } of this.#late.splice(0)) {
      const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { method, body });
      answers.push({ status: response.status, text: await response.text() });
    }
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    try {
      const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>));
      const { method = '', url: path = '', headers } = incoming;
      const one = { method, path, body: body.toString() };
      this.seen.push(one);
      const treatment = await this.treat(one);
      if (typeof treatment === 'object') {
        outgoing.writeHead(treatment.status, { 'X-Consul-Index': '1' }).end(treatment.text);
        return;
      }
      if (treatment === 'late') {
        this.#late.push(one);
        incoming.socket.destroy();
        return;
      }
      const forwarded = request({ host: '127.0.0.1', port: this.#port, method, path, headers });
      outgoing.on('close', () => forwarded.destroy());
      forwarded.on('error', () => incoming.socket.destroy());
      forwarded.on('response', (answer) => {
        if (treatment === 'lose') {
          answer.resume().on('end', () => incoming.socket.destroy());
          return;
        }
        if (treatment === 'garble') {
          answer.resume().on('end', () => outgoing.end('<html>'));
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      });
      forwarded.end(body);
    } catch {
      incoming.socket.destroy();
    }
  }
}
