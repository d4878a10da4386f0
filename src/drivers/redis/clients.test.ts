import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, test } from 'node:test';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import { connectionOf, type RedisClient, whenReady } from './clients.ts';
import { redisElections, redisLocks } from './locks.ts';
import { keyOf, prefixOf } from './names.ts';
import { redlock } from './redlock.ts';
import { fromClient, listOf, tokenOf } from './replies.ts';

const nothing = (): undefined => undefined;

/** As much of a client as is looked at. */
function fakeClient(given: object = {}): RedisClient {
  const usual = {
    on: nothing,
    duplicate: nothing,
    isReady: true,
    isOpen: true,
    sendCommand: nothing,
  };
  return { ...usual, ...given } as unknown as RedisClient;
}

describe('a client', () => {
  test('that is none is refused, and so is one of a cluster or with a key prefix', () => {
    for (const client of [
      undefined,
      null,
      'redis://x',
      {},
      { sendCommand: nothing },
      () => undefined,
    ]) {
      assert.throws(() => redisLocks(client as never), { code: 'ERR_INVALID_ARGUMENT' });
      assert.throws(() => redisElections(client as never), { code: 'ERR_INVALID_ARGUMENT' });
    }
    for (const cluster of [{ isCluster: true }, { slots: [] }]) {
      assert.throws(() => connectionOf(fakeClient(cluster)), { code: 'ERR_UNSUPPORTED' });
    }
    const prefixed = { call: nothing, status: 'ready', options: { keyPrefix: 'app:' } };
    assert.throws(() => connectionOf(fakeClient(prefixed)), { code: 'ERR_INVALID_ARGUMENT' });
  });

  test('that is not ready is waited for, and then refused with nothing sent', async () => {
    const clock = new VirtualClock();
    const listeners = new Set<() => void>();
    const state = {
      isReady: false,
      isOpen: true,
      on: (_: string, listener: () => void) => listeners.add(listener),
    };
    const client = fakeClient();
    const connection = connectionOf(Object.assign(client, state));
    const usual = listeners.size;
    const ready = whenReady(connection, clock, 100);
    for (const listener of [...listeners]) listener();
    await ready;
    const refused = assert.rejects(whenReady(connection, clock, 100), {
      code: 'ERR_UNAVAILABLE',
      outcome: 'not-applied',
    });
    await clock.advance(100);
    await refused;
    assert.equal(listeners.size, usual);
    Object.assign(client, { isOpen: false });
    await assert.rejects(whenReady(connection, clock, 100), { code: 'ERR_UNAVAILABLE' });
  });

  test('that is not ready has no more listeners the more wait for it', async () => {
    const emitter = new EventEmitter();
    const methods = { duplicate: nothing, sendCommand: nothing };
    const client = Object.assign(emitter, { ...methods, isReady: false, isOpen: true });
    const connection = connectionOf(client);
    const waiting = Array.from({ length: 20 }, () =>
      whenReady(connection, new VirtualClock(), 100),
    );
    assert.equal(emitter.listenerCount('ready'), 2);
    emitter.emit('ready');
    await Promise.all(waiting);
  });
});

describe('options', () => {
  test('that are none are refused', () => {
    const client = fakeClient();
    for (const ttl of [0, -1, 99, '25h', 'soon', Number.NaN]) {
      assert.throws(() => redisLocks(client, { ttl }), { code: 'ERR_INVALID_ARGUMENT' });
    }
    for (const prefix of ['', 'a{b', 'a b', 'x'.repeat(201), 7 as never]) {
      assert.throws(() => redisLocks(client, { prefix }), { code: 'ERR_INVALID_ARGUMENT' });
    }
    assert.throws(() => redisLocks(client, { fencing: 'no' as never }), {
      code: 'ERR_INVALID_ARGUMENT',
    });
  });

  test('a Redlock needs an odd number of different masters, at least three', () => {
    const clients = [1, 2, 3, 4, 5].map(() => fakeClient());
    const same = clients[0]!;
    const wrong = [[], clients.slice(0, 1), clients.slice(0, 2), clients.slice(0, 4)];
    for (const given of [...wrong, undefined as never]) {
      assert.throws(() => redlock(given), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /an odd number/,
      });
    }
    const twice = { code: 'ERR_INVALID_ARGUMENT', message: /one is given twice/ };
    assert.throws(() => redlock([same, same, clients[1]!]), twice);
    assert.equal(redlock(clients).guarantees.fencing, 'none');
    for (const options of [
      { drift: -1 },
      { drift: 0.5 },
      { nodeTimeout: '6s' },
      { nodeTimeout: 0 },
    ]) {
      assert.throws(() => redlock(clients, options), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });
});

describe('names', () => {
  test('of any form have keys of their own, with all of the name in the part that chooses the slot', () => {
    assert.equal(keyOf('p:', 'orders/42'), 'p:{orders/42}');
    const names = ['}', '{}', '{a}', 'a}b', '%', '%007d', 'a\ud800', 'a\udfff', 'a\ufffd', '😀'];
    const keys = names.map((name) => Buffer.from(keyOf('p:', name)).toString('latin1'));
    assert.equal(new Set(keys).size, names.length);
    for (const key of keys) assert.match(key, /^p:\{[^{}]+\}$/);
  });

  test('a prefix with braces is refused', () => {
    assert.equal(prefixOf(undefined, 'usual:'), 'usual:');
    assert.throws(() => prefixOf('a{', 'usual:'), { code: 'ERR_INVALID_ARGUMENT' });
  });
});

describe('replies', () => {
  test('of refusals say what happened: nothing', () => {
    const codes = {
      'NOAUTH Authentication required.': 'ERR_UNAUTHENTICATED',
      'NOPERM this user': 'ERR_PERMISSION_DENIED',
      'OOM command not allowed': 'ERR_NO_SPACE',
      "READONLY You can't write": 'ERR_UNAVAILABLE',
      'LOADING Redis is loading': 'ERR_UNAVAILABLE',
      'WRONGTYPE Operation against': 'ERR_PROTOCOL',
    };
    for (const [message, code] of Object.entries(codes)) {
      const error = fromClient(new Error(message));
      assert.deepEqual([error.code, error.outcome], [code, 'not-applied'], message);
    }
  });

  test('that do not come leave open what happened', () => {
    assert.equal(fromClient(new Error('Socket closed unexpectedly')).outcome, 'unknown');
    assert.equal(fromClient(new Error('ERR Error running script')).outcome, 'unknown');
    class ClientClosedError extends Error {}
    assert.equal(fromClient(new ClientClosedError('The client is closed')).outcome, 'not-applied');
  });

  test('that no script gives are an error', () => {
    for (const reply of [null, 'OK', 1, {}, [null], [1.5], [[]]]) {
      assert.throws(() => listOf(reply), { code: 'ERR_PROTOCOL', outcome: 'unknown' });
    }
    for (const token of [undefined, '', 'x', -1, '1'.repeat(21)]) {
      assert.throws(() => tokenOf(token), { code: 'ERR_PROTOCOL' });
    }
    assert.equal(tokenOf('1795285126192454'), 1_795_285_126_192_454n);
  });
});
