/** Everything on the port that is not gRPC, by path. */
import type { Clock } from '../../core/clock.ts';
import type { NodeBackend } from '../backend.ts';
import type { HttpHandler, HttpReply } from './exchange.ts';
import { sendText } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { handleHealth, type WithTimeout } from './health.ts';
import { metricsText, type ServerCounts } from './metrics.ts';

/** As etcd answers every request: browsers of any origin may call. */
export const CORS_HEADERS: Readonly<Record<string, string>> = {
  'access-control-allow-headers': 'accept, content-type, authorization',
  'access-control-allow-methods': 'POST, GET, OPTIONS, PUT, DELETE',
  'access-control-allow-origin': '*',
};

export function httpHandler(
  backend: NodeBackend,
  gateway: Gateway,
  counts: () => ServerCounts,
  clock: Clock,
): HttpHandler {
  const withTimeout = timeouts(clock);
  return (request, reply) => {
    const { path, method } = request;
    if (method === 'OPTIONS') return reply.send(200, {}, '');
    if (path.startsWith('/v3/') || path.startsWith('/v3beta/')) {
      return gateway.handle(request, reply);
    }
    if (path === '/metrics') return sendMetrics(metricsText(backend, counts()), reply);
    if (handleHealth(backend, withTimeout, request, reply)) return;
    sendText(reply, 404, '404 page not found\n');
  };
}

function sendMetrics(text: string, reply: HttpReply): void {
  reply.send(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }, text);
}

function timeouts(clock: Clock): WithTimeout {
  return async (timeoutMs, run) => {
    const controller = new AbortController();
    const cancel = clock.after(timeoutMs, () => controller.abort(new Error('timed out')));
    try {
      return await run(controller.signal);
    } finally {
      cancel();
    }
  };
}
