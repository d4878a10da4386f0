/** One HTTP request and its reply, within a time, with a bounded body, and with what is known where it fails. */
import { Agent, type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent as SecureAgent, request as secureRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Cancel, Clock } from '../../core/clock.ts';
import type { ConsulTls, Target } from './options.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'PUT';
  /** With its query; nothing in it needs an escape. */
  readonly path: string;
  readonly body?: string | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpReply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** Why there is no reply. */
export class NoReply extends Error {
  /** Whether the request may have reached the server. */
  readonly wasSent: boolean;
  /** Whether what came was no HTTP, or more than is taken. */
  readonly isNonsense: boolean;

  constructor(message: string, wasSent: boolean, isNonsense: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.wasSent = wasSent;
    this.isNonsense = isNonsense;
  }
}

/** Consul's values have 512 KiB at most, in base64. */
const MAX_BODY_BYTES = 2 * 1024 * 1024;
const MAX_CONNECT_MS = 2000;
/** Requests beyond that wait for a connection, within their time. */
const MAX_SOCKETS = 32;
/** Of thousands who look now and then, too: agents count the connections of a client. */
const MAX_LOOKING_SOCKETS = 8;

/**
 * Which connections a request may use: `apart` those of their own, for requests that wait for changes, and must not
 * hold up the others, and for renewals, which must not stand in line; `look` a few, for what many may ask at a time.
 */
export type Lane = 'call' | 'look' | 'apart';

/** Of a connection: whether anything can have reached the agent on it. */
interface Way {
  isOpen: boolean;
}

/** The connections to one agent. */
export class HttpConnections {
  readonly target: Target;
  readonly #clock: Clock;
  readonly #tls: ConsulTls;
  readonly #token: string | undefined;
  readonly #lanes: Readonly<Record<Lane, Agent>>;
  readonly #ways: WeakMap<Socket, Way>;

  constructor(
    target: Target,
    parts: { readonly clock: Clock; readonly tls: ConsulTls; readonly token: string | undefined },
  ) {
    this.target = target;
    this.#clock = parts.clock;
    this.#tls = parts.tls;
    this.#token = parts.token;
    const Kind = target.isSecure ? SecureAgent : Agent;
    this.#lanes = {
      call: new Kind({ keepAlive: true, maxSockets: MAX_SOCKETS }),
      look: new Kind({ keepAlive: true, maxSockets: MAX_LOOKING_SOCKETS }),
      apart: new Kind({ keepAlive: true, maxFreeSockets: 8 }),
    };
    this.#ways = new WeakMap();
  }

  /** Rejects with `NoReply`, or with the reason of the signal. */
  send(message: HttpRequest, lane: Lane = 'call'): Promise<HttpReply> {
    const { signal } = message;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const open = this.target.isSecure ? secureRequest : plainRequest;
      const request = open(this.#optionsOf(message, this.#lanes[lane]));
      // Before there is a connection nothing of it can have reached anybody.
      let way: Way = { isOpen: false };
      let cancelConnect: Cancel = () => undefined;
      const done = (): void => {
        cancelConnect();
        cancelAll();
        signal?.removeEventListener('abort', onAbort);
      };
      const fail = (why: string, isNonsense: boolean, cause?: unknown): void => {
        done();
        reject(new NoReply(why, way.isOpen, isNonsense, cause));
        request.destroy();
      };
      const onAbort = (): void => {
        done();
        reject(signal?.reason);
        request.destroy();
      };
      const cancelAll = this.#clock.after(message.timeoutMs, () => {
        fail(`no answer within ${message.timeoutMs} ms`, false);
      });
      request.once('socket', (socket: Socket) => {
        way = this.#wayOf(socket);
        if (way.isOpen) return;
        cancelConnect = this.#clock.after(MAX_CONNECT_MS, () => {
          if (!way.isOpen) fail(`no connection within ${MAX_CONNECT_MS} ms`, false);
        });
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      request.on('error', (error: NodeJS.ErrnoException) => {
        fail(reasonOf(error), error.code?.startsWith('HPE_') === true, error);
      });
      request.on('upgrade', (_response, socket) => {
        socket.destroy();
        fail('an answer of another protocol', true);
      });
      request.on('response', (response) => {
        receive(response, fail, (text) => {
          done();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
        });
      });
      request.end(message.body);
    });
  }

  /** Ends all connections, with what is under way on them. */
  close(): void {
    for (const agent of Object.values(this.#lanes)) agent.destroy();
  }

  /** Who stood in line gets a connection that others used before: then it does not connect once more. */
  #wayOf(socket: Socket): Way {
    const known = this.#ways.get(socket);
    if (known !== undefined) return known;
    const way = { isOpen: !socket.connecting };
    this.#ways.set(socket, way);
    socket.once(this.target.isSecure ? 'secureConnect' : 'connect', () => {
      way.isOpen = true;
    });
    return way;
  }

  #optionsOf({ method, path, body }: HttpRequest, agent: Agent): object {
    const { host, port, isSecure } = this.target;
    const headers: Record<string, string | number> = {};
    if (this.#token !== undefined) headers['X-Consul-Token'] = this.#token;
    if (body !== undefined) headers['Content-Length'] = Buffer.byteLength(body);
    const plain = { method, path, host, port, agent, headers };
    if (!isSecure) return plain;
    const { serverName, insecureSkipVerify, ...certificates } = this.#tls;
    return {
      ...plain,
      ...certificates,
      ...(serverName === undefined ? {} : { servername: serverName }),
      rejectUnauthorized: insecureSkipVerify !== true,
    };
  }
}

function receive(
  response: IncomingMessage,
  fail: (why: string, isNonsense: boolean, cause?: unknown) => void,
  succeed: (text: string) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) fail(`an answer of more than ${MAX_BODY_BYTES} bytes`, true);
    else chunks.push(chunk);
  });
  response.on('end', () => {
    if (response.complete) succeed(Buffer.concat(chunks).toString());
  });
  response.on('error', (error) => fail(reasonOf(error), false, error));
  response.on('close', () => {
    if (!response.complete) fail('the connection ended in the middle of the answer', false);
  });
}

/** What went wrong, in words. */
function reasonOf(error: Error): string {
  // Node says nothing of its own where it tried several addresses of a name.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (!(inner instanceof Error)) return String(inner);
  const code = 'code' in inner ? String(inner.code) : '';
  if (/^(UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|CERT_SIGNATURE)/.test(code)) {
    return `the agent's certificate is of an authority that is not trusted: check tls.ca (${inner.message})`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `the agent's certificate is for another name: check tls.serverName (${inner.message})`;
  }
  if (/wrong version number/.test(inner.message)) {
    return 'the other side speaks no TLS: is the address one for http://?';
  }
  return inner.message.trim() || code;
}
