/** Locks on a real Consul: what is its own in them. The rules of all engines are in test/conformance. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from '../../src/core/errors.ts';
import {
  type ConsulLocksOptions,
  consulElections,
  consulLocks,
} from '../../src/drivers/consul/index.ts';
import type { Locks } from '../../src/locks/locks.ts';
import { testAuthority } from '../../src/testing/certificates.ts';
import { until } from '../support/cluster.ts';
import { ConsulServers, LEAST_TTL_MS, missingConsul } from '../support/consul.ts';
import { ConsulProxy } from '../support/consul-proxy.ts';
import { errorOf } from '../support/errors.ts';

const timeout = 60_000;

let names = 0;
const newName = (): string => `name-${++names}`;

describe('locks on one Consul', { skip: missingConsul() }, () => {
  let servers: ConsulServers;
  const opened: Locks<'monotonic'>[] = [];
  before(async () => {
    servers = await ConsulServers.start();
  });
  after(async () => {
    await Promise.all(opened.map((locks) => locks.close()));
    await servers?.close();
  });
  const open = (options: ConsulLocksOptions = {}): Locks<'monotonic'> => {
    const all = { address: servers.addresses, ttl: '10s', lockDelay: 0, ...options };
    const locks = consulLocks(all);
    opened.push(locks);
    return locks;
  };
  const keyOf = (name: string): string => `quorate/locks/${name}`;
  /** The session that holds a name. */
  const sessionOf = async (name: string): Promise<string> => {
    return (await servers.keys(keyOf(name)))[0]!.Session!;
  };

  test('tokens grow over deleted keys, keys that nobody holds, and values set by others', {
    timeout,
  }, async () => {
    const [a, b, name] = [open(), open(), newName()];
    const tokens: bigint[] = [];
    const lockIndexes: number[] = [];
    let ofNobody = 0n;
    const putOfNobody = async (): Promise<void> => {
      await servers.call('PUT', `/v1/kv/${keyOf(name)}`, 'of nobody');
      ofNobody = BigInt((await servers.keys(keyOf(name)))[0]!.ModifyIndex);
    };
    const grant = async (locks: Locks<'monotonic'>, meanwhile?: () => Promise<unknown>) => {
      const lock = await locks.acquire(name);
      tokens.push(lock.fencingToken);
      assert.ok(lock.fencingToken > ofNobody, 'it grows over what others wrote as well');
      await meanwhile?.();
      const [key] = await servers.keys(keyOf(name));
      lockIndexes.push(key?.LockIndex ?? -1);
      await lock.release();
      assert.deepEqual(await servers.keys(keyOf(name)), [], 'no key stays behind');
    };
    await grant(a);
    await grant(b);
    // Somebody writes it, and it is held on.
    await grant(a, () => servers.call('PUT', `/v1/kv/${keyOf(name)}`, 'other value'));
    // Somebody deletes it, and somebody makes one that nobody holds.
    await grant(b, () => servers.call('DELETE', `/v1/kv/${keyOf(name)}`));
    await putOfNobody();
    await grant(a);
    await putOfNobody();
    const tried = await b.tryAcquire(name);
    assert.ok(tried, 'a key that nobody holds is no lock');
    tokens.push(tried.fencingToken);
    assert.ok(tried.fencingToken > ofNobody);
    await tried.release();
    for (const [i, token] of tokens.entries()) {
      if (i > 0) assert.ok(token > tokens[i - 1]!, `${token} after ${tokens[i - 1]}`);
    }
    // What Consul calls a sequencer begins anew each time, so that it could not be the token.
    assert.ok(new Set(lockIndexes).size < lockIndexes.length, lockIndexes.join(' '));
  });

  test('a value that others put on the key does not take the lock away', { timeout }, async () => {
    const [locks, name] = [open(), newName()];
    const lock = await locks.acquire(name);
    await servers.call('PUT', `/v1/kv/${keyOf(name)}`, 'other value');
    await delay(200);
    lock.assertHeld();
    const [held] = await locks.holders(name);
    assert.equal(held?.holder, lock.holder);
    assert.equal(held?.fencingToken, lock.fencingToken);
    await lock.release();
    assert.deepEqual(await servers.keys(keyOf(name)), []);
  });

  test('a session of another program that holds the key excludes us, until it lets go', {
    timeout,
  }, async () => {
    const [locks, name] = [open(), newName()];
    const { ID } = (await servers.call('PUT', '/v1/session/create', { TTL: '60s' })) as {
      ID: string;
    };
    const path = `/v1/kv/${keyOf(name)}`;
    assert.equal(await servers.call('PUT', `${path}?acquire=${ID}`, 'another'), true);
    const [theirs] = await servers.keys(keyOf(name));
    assert.equal(await locks.tryAcquire(name), undefined);
    assert.match((await locks.holders(name))[0]!.holder, new RegExp(`^${ID}/`));
    const waiting = locks.acquire(name);
    await delay(100);
    // It leaves the key behind, as `?release` does.
    assert.equal(await servers.call('PUT', `${path}?release=${ID}`), true);
    const lock = await waiting;
    lock.assertHeld();
    assert.ok(lock.fencingToken > BigInt(theirs!.ModifyIndex));
    assert.equal(await servers.call('PUT', `${path}?acquire=${ID}`, 'another'), false);
    await lock.release();
    await servers.call('PUT', `/v1/session/destroy/${ID}`);
  });

  test('a deleted key is noticed at once, as stolen', { timeout }, async () => {
    const [locks, name] = [open({ ttl: '30s' }), newName()];
    const lock = await locks.acquire(name);
    const other = await locks.acquire(newName());
    await delay(100);
    const sentMs = performance.now();
    await servers.call('DELETE', `/v1/kv/${keyOf(name)}`);
    await until('it is lost', () => lock.lost.aborted);
    // A third of thirty seconds is when the next renewal would be.
    assert.ok(performance.now() - sentMs < 8000, `${performance.now() - sentMs} ms`);
    assert.ok(isQuorateError(lock.lost.reason, 'ERR_LOCK_LOST'));
    assert.equal(lock.lost.reason.loss, 'stolen');
    other.assertHeld();
    const next = await locks.acquire(name);
    assert.ok(next.fencingToken > lock.fencingToken);
    await lock.release();
    next.assertHeld();
  });

  test('a destroyed session is noticed at once, by all that live on it, and the next one is opened', {
    timeout,
  }, async () => {
    const [locks, name] = [open({ ttl: '30s' }), newName()];
    const lock = await locks.acquire(name);
    const other = await locks.acquire(newName());
    await delay(100);
    const sentMs = performance.now();
    await servers.call('PUT', `/v1/session/destroy/${await sessionOf(name)}`);
    await until('they are lost', () => lock.lost.aborted && other.lost.aborted);
    assert.ok(performance.now() - sentMs < 8000, `${performance.now() - sentMs} ms`);
    for (const { lost } of [lock, other]) assert.equal(lost.reason.loss, 'session');
    (await locks.acquire(name)).assertHeld();
  });

  test('the lock delay is waited for, not run against, and then the lock is had', {
    timeout,
  }, async () => {
    await using proxy = await ConsulProxy.to(servers.port);
    const name = newName();
    const locks = open({ lockDelay: '2s' });
    await locks.acquire(name);
    const waiting = open({ address: proxy.address }).acquire(name);
    await until('it waits', () => proxy.count('GET', '/v1/kv/') >= 2);
    const sentMs = performance.now();
    await servers.call('PUT', `/v1/session/destroy/${await sessionOf(name)}`);
    const endedMs = performance.now();
    const asked = proxy.count('PUT', '/v1/txn');
    assert.equal(await open().tryAcquire(name), undefined, 'a lock that is delayed is busy');
    (await waiting).assertHeld();
    assert.ok(performance.now() - sentMs >= 1990, `${performance.now() - sentMs} ms`);
    assert.ok(performance.now() - endedMs < 20_000, `${performance.now() - endedMs} ms`);
    const attempts = proxy.count('PUT', '/v1/txn') - asked;
    assert.ok(attempts <= 25, `${attempts} attempts`);
  });

  test('what is given back, also by close, is delayed for nobody', { timeout }, async () => {
    const name = newName();
    const locks = open({ lockDelay: '60s' });
    await (await locks.acquire(name)).release();
    (await open().tryAcquire(name))!.release();
    await until('it is free', async () => (await servers.keys(keyOf(name))).length === 0);
    await locks.acquire(name);
    await locks.close();
    const next = await open().tryAcquire(name);
    assert.ok(next, 'close gave it back before the session ended');
    await next.release();
  });

  test('the usual lock delay is the time to live, and sessions have no checks but that', {
    timeout,
  }, async () => {
    for (const [ttl, expected] of [
      ['12s', 12e9],
      ['2m', 60e9],
    ] as const) {
      const name = newName();
      await using locks = consulLocks({ address: servers.addresses, ttl, owner: 'its owner' });
      await locks.acquire(name);
      const info = await servers.call('GET', `/v1/session/info/${await sessionOf(name)}`);
      const [session] = info as Record<string, unknown>[];
      assert.equal(session!['LockDelay'], expected);
      assert.equal(session!['Behavior'], 'delete');
      assert.equal(session!['Name'], 'its owner');
      assert.deepEqual(session!['NodeChecks'], []);
    }
  });

  test('a time to live below the floor of the server is refused, and the floor is told', {
    timeout,
  }, async () => {
    const before = (await servers.sessions()).length;
    for (const call of ['acquire', 'tryAcquire'] as const) {
      const refused = open({ ttl: LEAST_TTL_MS / 2 })[call](newName());
      const error = await errorOf(refused, 'ERR_INVALID_ARGUMENT');
      assert.equal(error.outcome, 'not-applied');
      assert.match(error.message, /must be between \[200ms=24h/);
    }
    assert.equal((await servers.sessions()).length, before);
  });

  test('options that cannot be are refused before anything is connected', () => {
    const wrong: ConsulLocksOptions[] = [
      { ttl: 99 },
      { ttl: '25h' },
      { lockDelay: '61s' },
      { lockDelay: -1 },
      { prefix: 'a//b' },
      { prefix: '/a' },
      { prefix: 'ü' },
      { prefix: '' },
      { token: 'a b' },
      { token: 'a\r\nX-Other: 1' },
      { address: [] },
      { address: 'ftp://a' },
      { address: 'http://a/path' },
      { address: 'http://user:secret@a:8500' },
      { address: 'http://:secret@a:8500' },
      { address: 'http://a:8500#secret' },
      { address: 'http://a:0' },
      { address: 7 as never },
      { timeout: 0 },
      { maxWaits: 0 },
      { tls: { ca: 'none' } },
      { tls: { cert: 'alone' } },
    ];
    for (const options of wrong) {
      const shown = JSON.stringify(options);
      assert.throws(
        () => consulLocks(options),
        (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && !/secret/.test(error.message),
        shown,
      );
    }
  });

  test('the claims of one Locks stand in line: one asks Consul, and who gives up leaves it', {
    timeout,
  }, async () => {
    await using proxy = await ConsulProxy.to(servers.port);
    const [locks, name] = [open({ address: proxy.address }), newName()];
    const lock = await locks.acquire(name);
    const order: number[] = [];
    const waits = [0, 1, 2, 3].map(async (i) => {
      const next = await locks.acquire(name, i === 1 ? { wait: 100 } : {});
      order.push(i);
      await next.release();
    });
    await errorOf(waits[1]!, 'ERR_LOCK_BUSY');
    assert.equal(proxy.count('PUT', '/v1/txn'), 1, 'who stands in line asks nothing');
    assert.equal(await locks.tryAcquire(name), undefined);
    await lock.release();
    await Promise.all([waits[0], waits[2], waits[3]]);
    assert.deepEqual(order, [0, 2, 3]);
    // Taken and given back: two requests each.
    assert.equal(proxy.count('PUT', '/v1/txn'), 8);
  });

  test('an uncontended pair is two writes', { timeout }, async () => {
    await using proxy = await ConsulProxy.to(servers.port);
    const [locks, name] = [open({ address: proxy.address }), newName()];
    await (await locks.acquire(name)).release();
    proxy.seen.length = 0;
    for (let i = 0; i < 5; i++) await (await locks.acquire(name)).release();
    assert.equal(proxy.count('PUT', '/v1/txn'), 10);
  });

  test('with no connection to spare names are looked at now and then, and all is noticed', {
    timeout,
  }, async () => {
    await using proxy = await ConsulProxy.to(servers.port);
    const locks = open({ address: proxy.address, maxWaits: 1 });
    const all = [newName(), newName(), newName()];
    const held = await Promise.all(all.map((name) => locks.acquire(name)));
    const other = open({ maxWaits: 1 });
    const waiting = all.map((name) => other.acquire(name));
    await until('they are looked at', () => proxy.count('GET', '/v1/kv/') >= 6);
    const long = proxy.seen.filter(({ path }) => path.includes('wait=10000ms'));
    // Two where the first has come back by now.
    assert.ok(long.length <= 2, 'one at a time waits at the agent');
    await held[2]!.release();
    (await waiting[2]!).assertHeld();
    await servers.call('DELETE', `/v1/kv/${keyOf(all[1]!)}`);
    await until('it is lost', () => held[1]!.lost.aborted);
    (await waiting[1]!).assertHeld();
    held[0]!.assertHeld();
    await held[0]!.release();
    (await waiting[0]!).assertHeld();
    await locks.close();
  });

  test('values up to 128 KiB are proclaimed, larger ones refused', { timeout }, async () => {
    await using elections = consulElections({ address: servers.addresses });
    const sessions: (string | undefined)[] = [];
    for await (const term of elections.campaign(newName(), 'small')) {
      sessions.push(term.holder.split('/')[0]);
      if (sessions.length === 2) break;
      const most = Buffer.alloc(128 * 1024, 7);
      await term.proclaim(most);
      assert.deepEqual((await elections.leader(term.name))?.value, most);
      const larger = term.proclaim(Buffer.alloc(128 * 1024 + 1));
      await errorOf(larger, 'ERR_REQUEST_TOO_LARGE');
      await term.resign();
    }
    assert.equal(sessions[0], sessions[1], 'none of them is on its way any more');
  });
});

describe('the way to Consul', { skip: missingConsul() }, () => {
  test('with access lists a token of few rights is enough, and others are refused', {
    timeout,
  }, async () => {
    const token = '11111111-2222-3333-4444-555555555555';
    await using servers = await ConsulServers.start(1, {
      token,
      settings: {
        acl: {
          enabled: true,
          default_policy: 'deny',
          tokens: { initial_management: token, agent: token },
        },
      },
    });
    const Rules =
      'key_prefix "quorate/" { policy = "write" } session_prefix "" { policy = "write" }';
    await servers.call('PUT', '/v1/acl/policy', { Name: 'locks', Rules });
    const body = { Policies: [{ Name: 'locks' }] };
    const made = (await servers.call('PUT', '/v1/acl/token', body)) as { SecretID: string };
    const address = servers.addresses;
    await using locks = consulLocks({ address, token: made.SecretID });
    const lock = await locks.acquire('a');
    assert.equal((await locks.holders('a')).length, 1);
    await delay(100);
    lock.assertHeld();
    await lock.release();
    await using nobody = consulLocks({ address });
    const denied = await errorOf(nobody.acquire('a'), 'ERR_PERMISSION_DENIED');
    assert.equal(denied.outcome, 'not-applied');
    await using stranger = consulLocks({ address, token: '99999999-2222-3333-4444-555555555555' });
    const unknown = await errorOf(stranger.acquire('a'), 'ERR_UNAUTHENTICATED');
    assert.ok(!unknown.message.includes('99999999'), 'no token in a message');
    // Sessions it may have, but not these keys.
    await using elsewhere = consulLocks({ address, token: made.SecretID, prefix: 'other/' });
    await errorOf(elsewhere.acquire('a'), 'ERR_PERMISSION_DENIED');
    await errorOf(elsewhere.tryAcquire('a'), 'ERR_PERMISSION_DENIED');
  });

  test('TLS with a client certificate; of another authority it is refused with a clear reason', {
    timeout,
  }, async () => {
    const authority = testAuthority('consul authority');
    const own = authority.issue('server.dc1.consul');
    const { mkdtemp, rm, writeFile } = await import('node:fs/promises');
    const folder = await mkdtemp(`${(await import('node:os')).tmpdir()}/quorate-consul-tls-`);
    try {
      const files = { ca_file: authority.cert, cert_file: own.cert, key_file: own.key };
      const paths: Record<string, string> = {};
      for (const [name, pem] of Object.entries(files)) {
        paths[name] = `${folder}/${name}.pem`;
        await writeFile(paths[name], pem);
      }
      const https = { ...paths, verify_incoming: true };
      await using servers = await ConsulServers.start(1, { settings: { tls: { https } } });
      const address = `https://127.0.0.1:${servers.ports[0]!.https}`;
      const client = authority.issue('client');
      await using locks = consulLocks({ address, tls: { ca: authority.cert, ...client } });
      const lock = await locks.acquire('a');
      await delay(100);
      lock.assertHeld();
      await lock.release();
      await using distrustful = consulLocks({
        address,
        tls: { ca: testAuthority().cert, ...client },
      });
      const error = await errorOf(distrustful.acquire('a'), 'ERR_UNAVAILABLE');
      assert.match(error.message, /authority that is not trusted: check tls.ca/);
      assert.equal(error.outcome, 'not-applied');
      await using nameless = consulLocks({ address, tls: { ca: authority.cert } });
      await errorOf(nameless.acquire('a'), 'ERR_UNAVAILABLE');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
