/** What a guard promises, on each framework, on real servers: the same tests for all. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { suite, test } from 'node:test';
import { QuorateError } from '../../core/errors.ts';
import { bulkhead } from '../../resilience/bulkhead.ts';
import type { ClusterLimiter } from '../../resilience/limiter.ts';
import { fixedWindow, tokenBucket } from '../../resilience/limiters.ts';
import { shed } from '../../resilience/shed.ts';
import type { Refusal } from './index.ts';
import {
  type AnyOptions,
  ask,
  type Behaviour,
  oneConnection,
  type RunningServer,
  SERVERS,
  type StartServer,
} from './test-servers.ts';

/** Holds `/wait` until a test lets it go. */
class Gates implements Behaviour {
  readonly #waiting: (() => void)[] = [];
  #arrived: (() => void) | undefined;
  #isOpen = false;
  readonly signals: AbortSignal[] = [];

  readonly wait = (signal?: AbortSignal): Promise<void> => {
    if (signal !== undefined) this.signals.push(signal);
    if (this.#isOpen) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#arrived?.();
    });
  };

  readonly chunks = async function* (this: Gates): AsyncIterable<string> {
    yield 'one ';
    await this.wait();
    yield 'two';
  }.bind(this);

  async arrivals(count: number): Promise<void> {
    while (this.#waiting.length < count)
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
  }

  open(): void {
    this.#isOpen = true;
    for (const go of this.#waiting.splice(0)) go();
  }
}

type Test = (server: RunningServer, gates: Gates) => Promise<void>;

interface Case {
  readonly name: string;
  readonly options: () => AnyOptions;
  readonly run: Test;
}

const byTenant = ({ header }: { header(name: string): string | undefined }): string =>
  header('x-tenant') ?? 'nobody';

/** Waits for what the other side does when it gets round to it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** How many requests ended with each status. */
function statuses(server: RunningServer): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status, count } of server.stats().requests)
    counts[status] = (counts[status] ?? 0) + count;
  return counts;
}

const refusals: Refusal[] = [];
const errors: unknown[] = [];

const CASES: readonly Case[] = [
  {
    name: 'a request within its limit says how much is left',
    options: () => ({
      limit: { limiter: fixedWindow({ rate: '10/h' }), key: byTenant, window: '1h' },
    }),
    async run({ port }) {
      const { status, headers, text } = await ask(port, '/hello');
      assert.equal(status, 200);
      assert.equal(text, 'hello');
      assert.equal(headers['ratelimit-policy'], '"default";q=10;w=3600');
      assert.match(String(headers['ratelimit']), /^"default";r=9;t=\d+$/);
    },
  },
  {
    name: 'one beyond it gets 429, when to come back, and problem details',
    options: () => ({
      limit: { limiter: tokenBucket({ rate: '1/m' }), key: byTenant, name: 'per "tenant"' },
    }),
    async run({ port, stats }) {
      const first = await ask(port, '/hello', { headers: { 'x-tenant': 'a' } });
      assert.equal(first.status, 200);
      const { status, headers, text } = await ask(port, '/hello', { headers: { 'x-tenant': 'a' } });
      assert.equal(status, 429);
      assert.equal(headers['content-type'], 'application/problem+json');
      const seconds = Number(headers['retry-after']);
      assert.ok(seconds > 30 && seconds <= 60, headers['retry-after']);
      assert.equal(headers['ratelimit'], `"per \\"tenant\\"";r=0;t=${seconds}`);
      const problem = JSON.parse(text);
      assert.equal(problem.status, 429);
      assert.deepEqual(problem['violated-policies'], ['per "tenant"']);
      assert.equal((await ask(port, '/hello', { headers: { 'x-tenant': 'b' } })).status, 200);
      assert.equal(stats().refused.limited, 1);
    },
  },
  {
    name: 'a cost is taken at once',
    options: () => ({
      limit: { limiter: tokenBucket({ rate: '10/h' }), key: byTenant, cost: () => 6 },
    }),
    async run({ port }) {
      assert.equal((await ask(port, '/hello')).status, 200);
      const { status, headers } = await ask(port, '/hello');
      assert.equal(status, 429);
      assert.match(String(headers['ratelimit']), /;r=4;/);
    },
  },
  {
    name: 'a refused request is refused before its body is read, and its connection is used again',
    options: () => ({ limit: { limiter: tokenBucket({ rate: '1/h' }), key: byTenant } }),
    async run({ port }) {
      const agent = oneConnection();
      const headers = { 'content-type': 'text/plain' };
      try {
        const first = await ask(port, '/hello', { agent });
        const body = 'x'.repeat(200_000);
        const second = await ask(port, '/echo', { method: 'POST', body, headers, agent });
        const third = await ask(port, '/hello', { agent });
        assert.deepEqual([first.status, second.status, third.status], [200, 429, 429]);
        assert.equal(third.localPort, first.localPort);
      } finally {
        agent.destroy();
      }
    },
  },
  {
    name: 'a refusal of HEAD has headers and no body',
    options: () => ({ limit: { limiter: tokenBucket({ rate: '1/h' }), key: byTenant } }),
    async run({ port }) {
      const agent = oneConnection();
      try {
        await ask(port, '/hello', { agent });
        const { status, headers, text } = await ask(port, '/hello', { method: 'HEAD', agent });
        assert.equal(status, 429);
        assert.ok(headers['retry-after']);
        assert.equal(text, '');
        assert.equal((await ask(port, '/hello', { agent })).status, 429);
      } finally {
        agent.destroy();
      }
    },
  },
  {
    name: 'a key that fails lets nobody in, and says nothing of why',
    options: () => ({
      limit: {
        limiter: tokenBucket({ rate: '9/s' }),
        key: () => {
          throw new Error('a secret of the key');
        },
      },
      onError: (error) => void errors.push(error),
    }),
    async run({ port, stats }) {
      errors.length = 0;
      const { status, headers, text } = await ask(port, '/hello');
      assert.equal(status, 500);
      assert.equal(headers['content-type'], 'application/problem+json');
      assert.doesNotMatch(text, /secret/);
      assert.match(String(errors[0]), /a secret of the key/);
      assert.equal(stats().refused.failed, 1);
    },
  },
  {
    name: 'a key that is no text lets nobody in',
    options: () => ({
      limit: { limiter: tokenBucket({ rate: '9/s' }), key: () => undefined as never },
      onError: (error) => void errors.push(error),
    }),
    async run({ port }) {
      errors.length = 0;
      assert.equal((await ask(port, '/hello')).status, 500);
      assert.equal((errors[0] as QuorateError).code, 'ERR_INVALID_ARGUMENT');
    },
  },
  {
    name: 'a limit that many processes share refuses with 429, and with 503 where its store is down',
    options: () => {
      const down = new QuorateError('ERR_UNAVAILABLE', 'the store is down', { retryable: true });
      const limiter = {
        scope: 'cluster',
        allow: async (key: string) => {
          if (key === 'down') return { ok: false, retryAfterMs: 2500, down };
          if (key === 'rejects') throw down;
          return { ok: key === 'nobody', retryAfterMs: 1001 };
        },
      };
      return {
        limit: {
          limiter: limiter as unknown as ClusterLimiter,
          key: byTenant,
          quota: 5,
          window: 1500,
        },
        onError: () => undefined,
      };
    },
    async run({ port }) {
      const answers = await Promise.all(
        ['nobody', 'many', 'down', 'rejects'].map((tenant) =>
          ask(port, '/hello', { headers: { 'x-tenant': tenant } }),
        ),
      );
      assert.deepEqual(
        answers.map(({ status, headers }) => [
          status,
          headers['retry-after'],
          headers['ratelimit'],
        ]),
        [
          [200, undefined, undefined],
          [429, '2', '"default";r=0;t=2'],
          [503, '3', undefined],
          [503, undefined, undefined],
        ],
      );
      assert.equal(answers[1]!.headers['ratelimit-policy'], '"default";q=5;w=2');
    },
  },
  {
    name: 'who finds no place gets 503 at once, and places come back when responses are sent',
    options: () => ({
      shed: shed({ max: 1, queue: 0 }),
      onRefuse: (refusal) => void refusals.push(refusal),
    }),
    async run({ port, stats }, gates) {
      refusals.length = 0;
      const first = ask(port, '/wait');
      await gates.arrivals(1);
      assert.equal(stats().active, 1);
      const { status, headers, text } = await ask(port, '/hello');
      assert.equal(status, 503);
      assert.equal(headers['retry-after'], '1');
      assert.equal(JSON.parse(text).title, 'Service Unavailable');
      assert.deepEqual(
        refusals.map(({ reason }) => reason),
        ['shed'],
      );
      gates.open();
      assert.equal((await first).status, 200);
      await until(() => stats().active === 0);
      for (let i = 0; i < 5; i++) {
        assert.equal((await ask(port, '/hello')).status, 200);
        await until(() => stats().active === 0);
      }
    },
  },
  {
    name: 'requests that matter more take the places of those that matter less',
    options: () => ({
      shed: shed({ max: 1, queue: 1, interval: '60s' }),
      priority: ({ header }) => Number(header('x-priority')),
    }),
    async run({ port }, gates) {
      const first = ask(port, '/wait', { headers: { 'x-priority': '1' } });
      await gates.arrivals(1);
      const little = ask(port, '/hello', { headers: { 'x-priority': '3' } });
      const much = ask(port, '/hello', { headers: { 'x-priority': '0' } });
      // Whichever came first, the one that matters less is refused.
      assert.equal((await little).status, 503);
      gates.open();
      assert.equal((await first).status, 200);
      assert.equal((await much).status, 200);
    },
  },
  {
    name: 'a client that goes away while it waits for a place leaves none taken',
    options: () => ({ shed: bulkhead({ max: 1, queue: 1 }) }),
    async run(server, gates) {
      const { port, stats } = server;
      const first = ask(port, '/wait');
      await gates.arrivals(1);
      const gone = new AbortController();
      const second = ask(port, '/hello', { signal: gone.signal });
      await until(() => stats().active === 2);
      gone.abort();
      await assert.rejects(second);
      await until(() => stats().active === 1);
      gates.open();
      assert.equal((await first).status, 200);
      assert.equal((await ask(port, '/hello')).status, 200);
      await until(() => stats().active === 0);
      assert.deepEqual(statuses(server), { 200: 2, 499: 1 });
      assert.equal(stats().refused.aborted, 1);
    },
  },
  {
    name: 'a client that goes away ends what is under way for it',
    options: () => ({ shed: bulkhead({ max: 1 }) }),
    async run(server, gates) {
      const { port, stats } = server;
      const gone = new AbortController();
      const asked = ask(port, '/wait', { signal: gone.signal });
      await gates.arrivals(1);
      assert.equal(gates.signals[0]!.aborted, false);
      gone.abort();
      await assert.rejects(asked);
      await until(() => gates.signals[0]!.aborted);
      assert.equal(gates.signals[0]!.reason.code, 'ERR_CLOSED');
      await until(() => stats().active === 0);
      gates.open();
      assert.equal((await ask(port, '/hello')).status, 200);
      assert.equal(gates.signals.length, 1);
    },
  },
  {
    name: 'a response that is streamed keeps its place to its end',
    options: () => ({ shed: bulkhead({ max: 1 }) }),
    async run(server, gates) {
      const { port, stats } = server;
      const streamed = ask(port, '/stream');
      await gates.arrivals(1);
      assert.equal((await ask(port, '/hello')).status, 503);
      gates.open();
      assert.equal((await streamed).text, 'one two');
      await until(() => stats().active === 0);
      assert.equal((await ask(port, '/hello')).status, 200);
    },
  },
  {
    name: 'a client that goes away in the middle of a response gives its place back',
    options: () => ({ shed: bulkhead({ max: 1 }) }),
    async run(server, gates) {
      const { port, stats } = server;
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write('GET /stream HTTP/1.1\r\nHost: here\r\n\r\n');
      await once(socket, 'data');
      await gates.arrivals(1);
      socket.destroy();
      await until(() => stats().active === 0);
      gates.open();
      assert.equal((await ask(port, '/hello')).status, 200);
      await until(() => stats().active === 0);
      assert.deepEqual(statuses(server), { 200: 1, 499: 1 });
    },
  },
  {
    name: 'a request has the deadline of its client, up to that of the service',
    options: () => ({ deadline: { max: '60s' } }),
    async run({ port }) {
      const headers = { 'grpc-timeout': '20S' };
      const short = JSON.parse((await ask(port, '/about', { headers })).text);
      assert.ok(short.remainingMs > 10_000 && short.remainingMs <= 20_000, short.remainingMs);
      assert.ok(short.carriedMs > 10_000 && short.carriedMs <= 20_000, short.carriedMs);
      const long = { 'grpc-timeout': '2H' };
      const bounded = JSON.parse((await ask(port, '/about', { headers: long })).text);
      assert.ok(bounded.carriedMs > 40_000 && bounded.carriedMs <= 60_000, bounded.carriedMs);
    },
  },
  {
    name: 'a request without deadline has none',
    options: () => ({}),
    async run({ port }) {
      const { status, text } = await ask(port, '/about', { headers: { 'grpc-timeout': '1S' } });
      assert.equal(status, 200);
      assert.equal(JSON.parse(text).remainingMs, undefined);
      assert.equal(JSON.parse(text).carriedMs, undefined);
    },
  },
  {
    name: 'a request with no time left is not begun',
    options: () => ({ deadline: { least: '50ms' }, shed: bulkhead({ max: 1 }) }),
    async run({ port, stats }) {
      const late = await ask(port, '/hello', { headers: { 'grpc-timeout': '20m' } });
      assert.equal(late.status, 504);
      assert.equal(JSON.parse(late.text).title, 'Gateway Timeout');
      assert.equal((await ask(port, '/hello', { headers: { 'grpc-timeout': '9S' } })).status, 200);
      assert.equal(stats().refused.deadline, 1);
    },
  },
  {
    name: 'a request whose time is over is answered with 504, once, whatever its handler does then',
    options: () => ({ deadline: { max: '60s' }, shed: bulkhead({ max: 1, queue: 1 }) }),
    async run(server, gates) {
      const { port, stats } = server;
      const agent = oneConnection();
      try {
        const headers = { 'grpc-timeout': '30m', 'x-request-id': 'late-1' };
        const late = await ask(port, '/wait', { headers, agent });
        assert.equal(gates.signals[0]!.reason.code, 'ERR_TIMEOUT');
        assert.equal(late.status, 504);
        assert.equal(late.headers['content-type'], 'application/problem+json');
        assert.equal(late.headers['x-request-id'], 'late-1');
        gates.open();
        const next = await ask(port, '/hello', { agent });
        assert.equal(next.text, 'hello');
        assert.equal(next.localPort, late.localPort);
        await until(() => stats().active === 0);
        assert.deepEqual(statuses(server), { 200: 1, 504: 1 });
      } finally {
        agent.destroy();
      }
    },
  },
  {
    name: 'time spent waiting for a place counts',
    options: () => ({ deadline: {}, shed: bulkhead({ max: 1, queue: 1 }) }),
    async run({ port, stats }, gates) {
      const first = ask(port, '/wait');
      await gates.arrivals(1);
      const late = await ask(port, '/hello', { headers: { 'grpc-timeout': '20m' } });
      assert.equal(late.status, 504);
      gates.open();
      assert.equal((await first).status, 200);
      assert.equal((await ask(port, '/hello')).status, 200);
      await until(() => stats().active === 0);
    },
  },
  {
    name: 'the id of a client is used and sent back if it is harmless, else there is one of ours',
    options: () => ({}),
    async run({ port }) {
      const good = await ask(port, '/about', { headers: { 'x-request-id': 'Ab9_.:+/=@~-z' } });
      assert.equal(good.headers['x-request-id'], 'Ab9_.:+/=@~-z');
      assert.equal(JSON.parse(good.text).requestId, 'Ab9_.:+/=@~-z');
      const seen = new Set<string>();
      for (const bad of ['', 'a b', 'a"b', 'a,b', '<b>', 'x'.repeat(129), 'ü']) {
        const headers = { 'x-request-id': Buffer.from(bad).toString('latin1') };
        const answer = await ask(port, '/about', { headers });
        const id = String(answer.headers['x-request-id']);
        assert.notEqual(id, bad);
        assert.match(id, /^[\da-z]{13}-[\da-z]+$/);
        assert.equal(JSON.parse(answer.text).requestId, id);
        seen.add(id);
      }
      assert.equal(seen.size, 7);
    },
  },
  {
    name: 'ids of clients are left aside where they are not to be trusted',
    options: () => ({ requestId: { header: 'X-Correlation-Id', accept: false } }),
    async run({ port }) {
      const { headers } = await ask(port, '/about', { headers: { 'x-correlation-id': 'mine' } });
      assert.match(String(headers['x-correlation-id']), /^[\da-z]{13}-1$/);
    },
  },
  {
    name: 'a trace goes on with an id of our own',
    options: () => ({}),
    async run({ port }) {
      const traceId = '0af7651916cd43dd8448eb211c80319c';
      const headers = {
        traceparent: `00-${traceId}-b7ad6b7169203331-01`,
        tracestate: 'rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE',
      };
      const about = JSON.parse((await ask(port, '/about', { headers })).text);
      assert.equal(about.traceId, traceId);
      assert.notEqual(about.spanId, 'b7ad6b7169203331');
      assert.equal(about.traceparent, `00-${traceId}-${about.spanId}-01`);
      assert.equal(about.tracestate, 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    },
  },
  {
    name: 'a trace that is wrong, or sent twice, is begun anew',
    options: () => ({ sampled: false }),
    async run({ port }) {
      const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      for (const traceparent of ['', 'nonsense', `${parent}-x`, [parent, parent]]) {
        const headers = { traceparent, tracestate: 'rojo=1' };
        const about = JSON.parse((await ask(port, '/about', { headers })).text);
        assert.match(about.traceparent, /^00-[\da-f]{32}-[\da-f]{16}-00$/);
        assert.notEqual(about.traceId, '0af7651916cd43dd8448eb211c80319c');
        assert.equal(about.tracestate, undefined);
      }
    },
  },
  {
    name: 'a handler that read the body still knows its request',
    options: () => ({ deadline: { max: '60s' } }),
    async run({ port }) {
      const headers = { 'content-type': 'text/plain', 'x-request-id': 'posted' };
      const body = 'y'.repeat(300_000);
      const { status, text } = await ask(port, '/echo', { method: 'POST', headers, body });
      assert.equal(status, 200);
      const about = JSON.parse(text);
      assert.deepEqual([about.length, about.requestId], [300_000, 'posted']);
      assert.ok(about.carriedMs > 0);
    },
  },
  {
    name: 'a handler that fails ends its request, once',
    options: () => ({ shed: bulkhead({ max: 1 }), onError: () => undefined }),
    async run(server) {
      const { port, stats } = server;
      for (let i = 0; i < 3; i++) {
        const { status, headers, text } = await ask(port, '/throw', {
          headers: { 'x-request-id': 'failing' },
        });
        assert.equal(status, 500);
        assert.doesNotMatch(text, /secret/);
        assert.equal(headers['x-request-id'], 'failing');
        await until(() => stats().active === 0);
      }
      assert.deepEqual(statuses(server), { 500: 3 });
    },
  },
  {
    name: 'many requests at once are each counted once, and leave nothing behind',
    options: () => ({
      limit: { limiter: tokenBucket({ rate: '100/s' }), key: byTenant },
      shed: shed({ max: 3, queue: 5 }),
      deadline: { max: '10s' },
    }),
    async run(server) {
      const { port, stats } = server;
      const sent = 200;
      await Promise.all(
        Array.from({ length: sent }, (_, i) =>
          ask(port, '/hello', { headers: { 'x-tenant': `tenant ${i % 3}` } }),
        ),
      );
      await until(() => stats().active === 0);
      const { requests, refused } = stats();
      const counted = requests.reduce((sum, { count }) => sum + count, 0);
      const inBuckets = requests.reduce(
        (sum, { durations }) => sum + durations.counts.reduce((a, b) => a + b),
        0,
      );
      const refusedInAll = Object.values(refused).reduce((a, b) => a + b);
      assert.deepEqual([counted, inBuckets], [sent, sent]);
      assert.equal(sent - refusedInAll, statuses(server)[200] ?? 0);
    },
  },
];

for (const [name, start] of Object.entries(SERVERS)) {
  suite(name, () => {
    for (const one of CASES) test(one.name, { timeout: 30_000 }, () => run(start, one));
  });
}

async function run(start: StartServer, { options, run: body }: Case): Promise<void> {
  const gates = new Gates();
  const server = await start(options(), gates);
  try {
    await body(server, gates);
  } finally {
    gates.open();
    await server.stop();
  }
}
