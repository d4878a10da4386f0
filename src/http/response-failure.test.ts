import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { isQuorateError, type QuorateError } from '../core/errors.ts';
import { retry } from '../resilience/retry.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { requireAnswer } from './response-failure.ts';

function failureOf(status: number, headers: Record<string, string> = {}): QuorateError {
  try {
    requireAnswer(new Response(null, { status, headers }), { clock: new VirtualClock() });
  } catch (error) {
    assert(isQuorateError(error));
    return error;
  }
  return assert.fail(`${status} is an answer`);
}

test('what a service decided is an answer, whatever it decided', () => {
  for (const status of [200, 204, 304, 400, 401, 404, 409, 410, 422, 451]) {
    const response = new Response(null, { status });
    assert.equal(requireAnswer(response), response);
  }
});

test('what keeps a service from an answer is a failure', () => {
  const codes = [408, 425, 429, 500, 501, 502, 503, 504, 505, 599].map((status) => {
    const { code, outcome, retryable } = failureOf(status);
    return [status, code, outcome, retryable];
  });
  assert.deepEqual(codes, [
    [408, 'ERR_TIMEOUT', 'unknown', true],
    [425, 'ERR_BUSY', 'not-applied', true],
    [429, 'ERR_RATE_LIMITED', 'not-applied', true],
    [500, 'ERR_UNAVAILABLE', 'unknown', true],
    [501, 'ERR_UNAVAILABLE', 'unknown', false],
    [502, 'ERR_UNAVAILABLE', 'unknown', true],
    [503, 'ERR_OVERLOADED', 'unknown', true],
    [504, 'ERR_TIMEOUT', 'unknown', true],
    [505, 'ERR_UNAVAILABLE', 'unknown', false],
    [599, 'ERR_UNAVAILABLE', 'unknown', true],
  ]);
});

test('what is no response is refused, and it says that an await is missing', () => {
  const refused = (given: unknown, message: string) =>
    assert.throws(() => requireAnswer(given as Response), {
      code: 'ERR_INVALID_ARGUMENT',
      message: `response: ${message}; a response of fetch is needed`,
    });
  refused(Promise.resolve(new Response()), 'a promise; await it first');
  refused(undefined, 'undefined');
  refused({}, 'object');
});

test('Retry-After is read as seconds or as a date; what is neither says nothing', () => {
  const after = (headers: Record<string, string>) => failureOf(503, headers).retryAfterMs;
  assert.equal(after({}), undefined);
  assert.equal(after({ 'retry-after': '0' }), 0);
  assert.equal(after({ 'retry-after': ' 120 ' }), 120_000);
  const date = 'Fri, 31 Dec 1999 23:59:59 GMT';
  assert.equal(after({ 'retry-after': date, date: 'Fri, 31 Dec 1999 23:58:59 GMT' }), 60_000);
  assert.equal(after({ 'retry-after': date, date: 'Sat, 01 Jan 2000 00:00:00 GMT' }), 0);
  // Without a Date by the clock: the virtual one begins at or after the epoch, long before the date.
  const wallMs = new VirtualClock().wallNow();
  const expected = Math.max(0, Date.UTC(2999, 11, 31, 23, 59, 59) - wallMs);
  assert.equal(after({ 'retry-after': 'Tue, 31 Dec 2999 23:59:59 GMT' }), expected);
  const nonsense = [
    '-1',
    '1.5',
    'soon',
    '99999999999',
    '2999-12-31',
    'Fri, 31 Foo 1999 23:59:59 GMT',
  ];
  for (const text of nonsense) assert.equal(after({ 'retry-after': text }), undefined, text);
});

test('an error names the service, and nothing else of the address', async () => {
  const response = { status: 502, url: 'https://stock.example:8443/a?token=secret' };
  const error = (() => {
    try {
      return requireAnswer({ ...response, headers: new Headers() });
    } catch (thrown) {
      return thrown as QuorateError;
    }
  })() as QuorateError;
  assert.match(error.message, /^https:\/\/stock\.example:8443 answered with 502: /);
  assert.doesNotMatch(error.message, /secret/);
});

test('a retry waits as long as the response asks for', { timeout: 60_000 }, async (t) => {
  let requests = 0;
  const { url, firstClosed } = await listen(t, (response) => {
    requests += 1;
    // More than fits into buffers: somebody has to read it, or to drop it.
    if (requests === 1) response.writeHead(503, { 'retry-after': '7' }).end(Buffer.alloc(2 ** 24));
    else response.end('now');
  });
  const clock = new VirtualClock();
  const calls = retry({ clock });
  const call = calls.run(async ({ signal }) => requireAnswer(await fetch(url, { signal })));
  while (clock.pending === 0) await settled();
  await clock.advance(6999);
  assert.equal(requests, 1);
  await clock.advance(1);
  assert.equal(await (await call).text(), 'now');
  // What nobody reads keeps no connection.
  await firstClosed;
});

async function listen(t: TestContext, answer: (response: ServerResponse) => void) {
  const server = createServer((_, response) => answer(response));
  const firstClosed = new Promise<void>((resolve) => {
    server.once('connection', (socket) => socket.once('close', () => resolve()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, firstClosed };
}
