import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import {
  FENCING_TOKEN_HEADER,
  fencingHeaders,
  fencingTokenFrom,
  memoryTokens,
  tokenFence,
} from './fencing-http.ts';
import { localLocks } from './local.ts';

const refused = (error: unknown): boolean =>
  isQuorateError(error, 'ERR_LOCK_LOST') &&
  error.outcome === 'not-applied' &&
  error.loss === 'stolen';

test('an equal token passes, a higher one does, a lower one is refused, each resource by itself', async () => {
  const fence = tokenFence();
  await fence.check('a', 5n);
  await fence.check('a', 5n);
  await fence.check('b', 1n);
  await fence.check('a', 7n);
  await assert.rejects(fence.check('a', 5n), refused);
  await assert.rejects(
    fence.check('a', 6n),
    /'a' was not written: the token 6 .* 7 has been there/,
  );
  await fence.check('a', 7n);
});

test('a header carries the token of a lock, whichever form the headers have', async () => {
  await using locks = localLocks();
  const lock = await locks.acquire('a');
  const headers = fencingHeaders(lock);
  assert.deepEqual(headers, { [FENCING_TOKEN_HEADER]: `${lock.fencingToken}` });
  assert.equal(fencingTokenFrom(headers), lock.fencingToken);
  assert.equal(fencingTokenFrom(new Headers(headers)), lock.fencingToken);
  assert.equal(fencingTokenFrom(fencingHeaders(2n ** 63n - 1n)), 2n ** 63n - 1n);
});

test('what is no token is refused, on both sides', async () => {
  const invalid = (error: unknown): boolean => isQuorateError(error, 'ERR_INVALID_ARGUMENT');
  for (const text of [
    '',
    ' 1',
    '1, 2',
    '-1',
    '1e3',
    '0x1',
    '9223372036854775808',
    '1'.repeat(999),
  ]) {
    const headers = { [FENCING_TOKEN_HEADER]: text };
    assert.throws(() => fencingTokenFrom(headers), invalid, text);
  }
  assert.throws(() => fencingTokenFrom({}), invalid);
  assert.throws(() => fencingTokenFrom(new Headers()), invalid);
  assert.throws(() => fencingTokenFrom({ [FENCING_TOKEN_HEADER]: ['1', '2'] }), invalid);
  for (const token of [undefined, 1, '1', -1n, 2n ** 63n, { fencingToken: undefined }, null]) {
    assert.throws(() => fencingHeaders(token as never), invalid, String(token));
    await assert.rejects(tokenFence().check('a', token as never), invalid);
  }
  await assert.rejects(tokenFence().check('', 1n), invalid);
});

test('memory is bounded: one more resource is refused until one was not written for long', async () => {
  const clock = new VirtualClock();
  const fence = tokenFence(memoryTokens({ maxResources: 2, keep: '1h', clock }));
  await fence.check('a', 9n);
  await clock.advance(1_800_000);
  await fence.check('b', 1n);
  await assert.rejects(fence.check('c', 1n), (error) => isQuorateError(error, 'ERR_BUSY'));
  await assert.rejects(fence.check('a', 8n), refused);
  await clock.advance(1_800_000);
  await assert.rejects(fence.check('a', 8n), refused);
  await clock.advance(1_800_000);
  // Since then `b` has been silent for an hour, `a` for half of one.
  await fence.check('c', 1n);
  await assert.rejects(fence.check('a', 8n), refused);
  await assert.rejects(fence.check('b', 1n), (error) => isQuorateError(error, 'ERR_BUSY'));
  assert.throws(() => memoryTokens({ maxResources: 0 }), /maxResources/);
});

test('run leaves nothing between the check and the work', async () => {
  const fence = tokenFence();
  const written: string[] = [];
  const { promise: go, resolve } = Promise.withResolvers<void>();
  const old = fence.run('a', 1n, async () => {
    written.push('old begins');
    await go;
    written.push('old ends');
  });
  const next = fence.run('a', 2n, () => written.push('new'));
  const late = fence.run('a', 1n, () => written.push('late'));
  late.catch(() => undefined);
  await fence.run('b', 1n, () => written.push('other resource'));
  resolve();
  await Promise.all([old, next]);
  await assert.rejects(late, refused);
  assert.deepEqual(written, ['old begins', 'other resource', 'old ends', 'new']);
});

test('a store of the user keeps the highest, and what it fails with is passed on', async () => {
  const highest = new Map<string, bigint>([['a', 7n]]);
  const fence = tokenFence({
    raise: async (resource, token) => {
      if (resource === 'down') throw new Error('out of reach');
      const known = highest.get(resource) ?? 0n;
      if (token > known) highest.set(resource, token);
      return token > known ? token : known;
    },
  });
  await assert.rejects(fence.check('a', 6n), refused);
  await fence.check('a', 8n);
  assert.equal(highest.get('a'), 8n);
  await assert.rejects(fence.check('down', 6n), /out of reach/);
});
