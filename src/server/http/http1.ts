/** HTTP/1.1 by Node's own server, fed with sockets that the listener has accepted. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type HttpHandler, type HttpReply, parseTarget } from './exchange.ts';
import { CORS_HEADERS } from './handler.ts';

/** A client may be silent this long within a request. */
const IDLE_MS = 60_000;

/** A server without a port of its own; give it sockets by `emit('connection', socket)`. */
export function http1Server(handler: HttpHandler, maxBodyBytes: number): Server {
  const server = createServer({ keepAliveTimeout: 5000 }, (request, response) => {
    response.once('finish', () => {
      if (stopping.has(server)) request.socket.end();
    });
    collectBody(request, maxBodyBytes, (body) => {
      if (body === undefined) return refuse(response, 413, 'Request Entity Too Large\n');
      const target = parseTarget(request.url ?? '');
      if (target === undefined) return refuse(response, 400, '400 Bad Request\n');
      handler({ method: request.method ?? 'GET', ...target, body }, replyOn(response));
    });
  });
  // From this event on Node keeps account of connections: of idle ones, and of slow requests.
  server.emit('listening');
  server.timeout = IDLE_MS;
  server.on('timeout', (socket) => {
    if (!streaming.has(socket)) socket.destroy();
  });
  return server;
}

/** Sockets on which a stream runs: a watch may be silent for as long as it likes. */
const streaming = new WeakSet<object>();

/** Servers whose connections end with the response in progress. */
const stopping = new WeakSet<Server>();

/** Ends idle connections now and the others after their response. */
export function stopHttp1(server: Server): void {
  stopping.add(server);
  server.closeIdleConnections();
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    // What follows on this connection is the rest of a body that nobody reads.
    connection: 'close',
  });
  response.end(text);
}

function collectBody(
  request: IncomingMessage,
  maxBytes: number,
  done: (body: Buffer | undefined) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) return void chunks.push(chunk);
    if (bytes - chunk.length > maxBytes) return;
    chunks.length = 0;
    done(undefined);
  });
  request.on('end', () => {
    if (bytes <= maxBytes) done(Buffer.concat(chunks));
  });
}

function replyOn(response: ServerResponse): HttpReply {
  return {
    send(status, headers, body) {
      response.writeHead(status, {
        ...CORS_HEADERS,
        ...headers,
        'content-length': Buffer.byteLength(body),
      });
      response.end(body);
    },
    stream(status, headers) {
      response.writeHead(status, { ...CORS_HEADERS, ...headers });
      response.flushHeaders();
      if (response.socket !== null) streaming.add(response.socket);
      return {
        write: (text) => response.write(text),
        end: () => void response.end(),
        onWritable: (run) => void response.on('drain', run),
      };
    },
    onClosed: (run) =>
      void response.once('close', () => {
        if (!response.writableFinished) run();
      }),
  };
}
