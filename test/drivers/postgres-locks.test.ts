/** Locks on a real PostgreSQL: what the suite of all engines does not ask. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import type pg from 'pg';
import { isQuorateError } from '../../src/core/errors.ts';
import {
  lockInTransaction,
  type PostgresLocksOptions,
  type PostgresPool,
  postgresLocks,
} from '../../src/drivers/postgres/index.ts';
import type { Lock, Locks } from '../../src/locks/index.ts';
import { until } from '../support/cluster.ts';
import { missingPostgres, PostgresServer } from '../support/postgres.ts';

describe('locks on PostgreSQL, one server', { skip: missingPostgres() }, () => {
  let server: PostgresServer;
  const opened: Locks[] = [];
  before(async () => {
    // So soon that waits are checked for deadlocks, which must not change their order.
    server = await PostgresServer.start({ deadlock_timeout: '10ms', log_min_messages: 'fatal' });
  });
  after(() => server.close());
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((locks) => locks.close()));
    const locks = "select pid, objid, granted from pg_locks where locktype = 'advisory'";
    await until('nothing is left behind', async () => (await server.query(locks)).length === 0);
  });

  function open(options: PostgresLocksOptions = {}, pool: PostgresPool = server.pool()): Locks {
    const locks = postgresLocks(pool, { connectTimeout: '2s', ...options });
    opened.push(locks);
    return locks;
  }

  const waits = (locks: Locks, name: string, count: number): Promise<unknown> =>
    until(`${count} wait for '${name}'`, async () => {
      const holders = await locks.holders(name);
      return holders.filter(({ waiting }) => waiting).length === count;
    });

  test('a free lock takes one round trip, and one to give it back', async () => {
    const { pool, queries } = counting(server.pool());
    const locks = open({}, pool);
    await (await locks.acquire('warm')).release();
    queries.length = 0;
    const lock = await locks.acquire('n');
    assert.equal(queries.length, 1);
    await lock.release();
    assert.equal(queries.length, 2);
  });

  test('what is held without waiting shares one connection', async () => {
    const pool = server.pool();
    const locks = open({}, pool);
    const held = await Promise.all(Array.from({ length: 200 }, (_, i) => locks.acquire(`n${i}`)));
    assert.equal(pool.totalCount, 1);
    const other = open();
    for (const { name } of held) assert.equal(await other.tryAcquire(name), undefined);
  });

  test('who waits has a connection, up to maxConnections; beyond that it is ERR_BUSY', async () => {
    const pool = server.pool();
    const locks = open({ maxConnections: 3 }, pool);
    const held = await locks.acquire('n');
    const waiting = [locks.acquire('n'), locks.acquire('n')];
    await waits(open(), 'n', 2);
    const error = await locks.acquire('n').catch((reason: unknown) => reason);
    assert.ok(isQuorateError(error, 'ERR_BUSY'), String(error));
    assert.equal(error.retryable, true);
    // What needs no connection of its own goes on.
    await (await locks.acquire('other')).release();
    assert.equal(pool.totalCount, 3);
    await held.release();
    await Promise.all(waiting.map(async (one) => (await one).release()));
    await (await locks.acquire('n')).release();
  });

  test('waiters of many processes, readers among them, are served in the order of the queue', async () => {
    const clients = [open(), open(), open()];
    const first = await clients[0]!.acquire('n');
    const order: number[] = [];
    const done: Promise<void>[] = [];
    for (let i = 0; i < 15; i++) {
      const shared = i % 5 === 1 || i % 5 === 2;
      const one = clients[i % 3]!.acquire('n', { shared }).then(async (lock) => {
        order.push(i);
        await lock.release();
      });
      done.push(one);
      await waits(clients[0]!, 'n', i + 1);
    }
    // Longer than the deadlock timeout: every wait was checked.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await first.release();
    await Promise.all(done);
    // Two readers in a row hold together: which of both says so first is open.
    const pairs = order.map((i) => (i % 5 === 2 ? i - 1 : i));
    assert.deepEqual(
      pairs,
      [...pairs].sort((a, b) => a - b),
    );
    assert.deepEqual(
      [...order].sort((a, b) => a - b),
      Array.from({ length: 15 }, (_, i) => i),
    );
  });

  test('a wait that is ended while its lock is granted leaves nothing locked', async () => {
    const [locks, other] = [open(), open()];
    await other.acquire('warm');
    for (let i = 0; i < 150; i++) {
      const held = await locks.acquire('n');
      const stop = new AbortController();
      const waiting = other.acquire('n', { signal: stop.signal }).then(
        (lock) => lock.release(),
        () => undefined,
      );
      if (i % 3 > 0) await waits(locks, 'n', 1);
      if (i % 2 === 0) {
        stop.abort();
        await held.release();
      } else {
        const releasing = held.release();
        stop.abort();
        await releasing;
      }
      await waiting;
      await locks.run('n', () => undefined, { wait: '2s' });
    }
  });

  test('a wait that is ended before PostgreSQL heard of it leaves no place in the queue', async () => {
    const [locks, other] = [open(), open()];
    const held = await locks.acquire('n');
    const busy = await other.acquire('n', { wait: 1 }).catch((error: unknown) => error);
    assert.ok(isQuorateError(busy, 'ERR_LOCK_BUSY'));
    for (let i = 0; i < 30; i++) {
      const stop = new AbortController();
      const waiting = other.acquire('n', { signal: stop.signal });
      for (let turn = 0; turn < i % 10; turn++) await Promise.resolve();
      stop.abort(new Error('enough'));
      await assert.rejects(waiting, /enough/);
    }
    const endedMs = performance.now();
    await waits(locks, 'n', 0);
    assert.ok(performance.now() - endedMs < 500, 'before PostgreSQL looks after who waits');
    await held.release();
  });

  test('timeouts that the pool or the role sets for queries end no wait', async () => {
    await server.query(
      "create role hurried login; alter role hurried set statement_timeout = '100ms'; alter role hurried set lock_timeout = '100ms'; alter role hurried set idle_session_timeout = '100ms'; create sequence hurried_tokens; grant all on sequence hurried_tokens to hurried",
    );
    const url = server.url.replace('postgres@', 'hurried@');
    const pool = server.pool({ connectionString: url, statement_timeout: 100, query_timeout: 100 });
    const locks = open({ sequence: 'hurried_tokens' }, pool);
    const held = await open({ sequence: 'hurried_tokens' }).acquire('n');
    const waiting = locks.acquire('n');
    const longer = (state: string): Promise<unknown> => {
      const age = `clock_timestamp() - state_change > '250ms'`;
      const of = `usename = 'hurried' and state = '${state}'`;
      const text = `select pid from pg_stat_activity where ${of} and ${age}`;
      const what = `a connection is ${state} for longer than any of them allows`;
      return until(what, async () => (await server.query(text)).length > 0);
    };
    await longer('active');
    await held.release();
    const lock = await waiting;
    await longer('idle');
    lock.assertHeld();
    await lock.release();
  });

  test('a pool that is used up is a typed error in time', async () => {
    const pool = server.pool({ max: 1 });
    const taken = await pool.connect();
    const locks = open({ connectTimeout: 100 }, pool);
    await assert.rejects(locks.acquire('n'), { code: 'ERR_TIMEOUT', retryable: true });
    await assert.rejects(locks.tryAcquire('n'), /pool is used up/);
    taken.release();
    // What came too late for those calls went back to the pool.
    await (await locks.acquire('n')).release();
  });

  test('locks of another namespace or database have nothing to do with each other', async () => {
    await server.query('create database other');
    const url = server.url.replace(/postgres$/, 'other');
    const all = [
      open(),
      open({ namespace: 'mine' }),
      open({}, server.pool({ connectionString: url })),
    ];
    for (const locks of all) await locks.acquire('n');
    for (const locks of all) assert.equal((await locks.holders('n')).length, 1);
  });

  test('tokens come from the sequence, and who looks sees them', async () => {
    await server.query(
      "create schema app; create sequence app.tokens; select setval('app.tokens', 6000000000)",
    );
    const locks = open({ sequence: 'app.tokens', owner: 'me' });
    const lock = await locks.acquire('n');
    assert.equal(lock.fencingToken, 6_000_000_001n);
    for (let i = 0; i < 3; i++) await (await locks.acquire('other')).release();
    const [holder] = await open({ sequence: 'app.tokens' }).holders('n');
    assert.deepEqual(holder, {
      holder: lock.holder,
      fencingToken: 6_000_000_001n,
      owner: 'me',
      waiting: false,
    });
  });

  test('without the right to create the sequence it is ERR_PERMISSION_DENIED, unless it is there', async () => {
    await server.query('create role humble login; revoke create on schema public from public');
    const url = server.url.replace('postgres@', 'humble@');
    const locks = open({ sequence: 'missing' }, server.pool({ connectionString: url }));
    await assert.rejects(locks.acquire('n'), {
      code: 'ERR_PERMISSION_DENIED',
      message: /permission denied for schema public; docs\/postgres.md says which rights/,
    });
    await server.query('create sequence missing; grant usage on sequence missing to humble');
    await (await locks.acquire('n')).release();
  });

  test('a token that cannot be had leaves nothing locked', async () => {
    const locks = open({ sequence: 'short_lived' });
    const held = await locks.acquire('mine');
    const other = open({ sequence: 'short_lived' });
    const holder = await other.acquire('n');
    const waiting = locks.acquire('n');
    await waits(other, 'n', 1);
    await server.query('drop sequence short_lived');
    await assert.rejects(locks.acquire('free'), { code: 'ERR_INTERNAL' });
    await assert.rejects(locks.tryAcquire('free'), { code: 'ERR_INTERNAL' });
    await holder.release();
    await assert.rejects(waiting, { code: 'ERR_INTERNAL' });
    held.assertHeld();
    const left = await server.query("select 1 from pg_locks where locktype = 'advisory'");
    assert.equal(left.length, 2, 'the lock that was held before, and its mark');
  });

  test('forceRelease takes the one lock, and leaves its holder what else it has', async () => {
    const locks = open();
    const [lock, other] = [await locks.acquire('n'), await locks.acquire('other')];
    const next = open().acquire('n');
    const operator = open();
    await waits(operator, 'n', 1);
    const startMs = performance.now();
    const taken = await operator.forceRelease('n');
    assert.deepEqual(
      taken.map(({ holder, fencingToken }) => [holder, fencingToken]),
      [[lock.holder, lock.fencingToken]],
    );
    await until('it is lost', () => lock.lost.aborted);
    assert.ok(performance.now() - startMs < 400, 'by push, not by force');
    assert.equal(isQuorateError(lock.lost.reason) && lock.lost.reason.loss, 'stolen');
    other.assertHeld();
    assert.equal((await operator.holders('other')).length, 1);
    await lock.release();
    (await next).assertHeld();
  });

  test('forceRelease ends the connection of who does not listen, where it may', async () => {
    const key = await keyOf(open(), server, 'n');
    const stranger = await server.pool().connect();
    stranger.on('error', () => undefined);
    await stranger.query('select pg_advisory_lock($1)', [key]);
    await server.query('create role guest login');
    const url = server.url.replace('postgres@', 'guest@');
    await server.query('grant usage, select on sequence quorate_lock_tokens to guest');
    const guest = open({}, server.pool({ connectionString: url }));
    await assert.rejects(guest.forceRelease('n'), { code: 'ERR_PERMISSION_DENIED' });
    const operator = open();
    assert.equal((await operator.forceRelease('n')).length, 1);
    await (await operator.acquire('n', { wait: '2s' })).release();
    stranger.release(true);
  });

  test('a pooler that gives each transaction another connection is refused', async () => {
    const locks = open({}, transactionPooler(server.pool(), server.pool()));
    // One of two in a row goes to the other server.
    const both = locks.acquire('n').then(() => locks.acquire('other'));
    const error = await both.catch((reason: unknown) => reason);
    assert.ok(isQuorateError(error, 'ERR_UNSUPPORTED'), String(error));
    assert.match(error.message, /pooler/);
  });

  test('... and where it gives two the same one, which would hold a lock together', async () => {
    const client = await server.pool().connect();
    const same: PostgresPool = {
      connect: async () => ({
        query: (query) => client.query(query),
        on: () => undefined,
        release: () => undefined,
      }),
    };
    const [locks, other] = [open({}, same), open({}, same)];
    await locks.acquire('n');
    await assert.rejects(other.acquire('n'), { code: 'ERR_UNSUPPORTED' });
    await assert.rejects(other.tryAcquire('n'), { code: 'ERR_UNSUPPORTED' });
    await locks.close();
    client.release(true);
  });

  test('bad options are refused at the door', () => {
    const pool = server.pool();
    const bad: [unknown, object][] = [
      [undefined, {}],
      [{}, {}],
      [pool, { owner: 'x'.repeat(64) }],
      [pool, { owner: 'häuptling' }],
      [pool, { namespace: 'a\0b' }],
      [pool, { sequence: 'a; drop table b' }],
      [pool, { sequence: '' }],
      [pool, { maxConnections: 1 }],
      [pool, { maxConnections: 2.5 }],
      [pool, { heartbeat: 0 }],
      [pool, { heartbeat: 'soon' }],
      [pool, { connectTimeout: '0s' }],
    ];
    for (const [one, options] of bad) {
      const call = (): unknown => postgresLocks(one as PostgresPool, options);
      assert.throws(call, { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(options));
    }
  });

  describe('in a transaction', () => {
    test('a lock excludes those of sessions, and ends with the commit or the rollback', async () => {
      const locks = open();
      const client = await server.pool().connect();
      for (const end of ['commit', 'rollback']) {
        await client.query('begin');
        assert.equal(await lockInTransaction(client, 'n'), true);
        assert.equal(await locks.tryAcquire('n'), undefined);
        await client.query(end);
        await (await locks.acquire('n')).release();
      }
      client.release();
    });

    test('wait: false says whether it is locked; shared ones share', async () => {
      const [one, other] = [await server.pool().connect(), await server.pool().connect()];
      await one.query('begin');
      await other.query('begin');
      assert.equal(await lockInTransaction(one, 'n', { shared: true, wait: false }), true);
      assert.equal(await lockInTransaction(other, 'n', { wait: false }), false);
      assert.equal(await lockInTransaction(other, 'n', { shared: true }), true);
      await one.query('commit');
      await other.query('commit');
      one.release();
      other.release();
    });

    test('lock_timeout is ERR_LOCK_BUSY; outside of a transaction it is refused', async () => {
      const client = await server.pool().connect();
      const older = { query: client.query.bind(client) };
      for (const one of [client, older]) {
        await assert.rejects(lockInTransaction(one, 'n'), { code: 'ERR_INVALID_ARGUMENT' });
      }
      await client.query('begin');
      assert.equal(await lockInTransaction(older, 'n'), true);
      await client.query('rollback');
      const held: Lock = await open().acquire('n');
      await client.query('begin');
      await client.query("set local lock_timeout = '50ms'");
      await assert.rejects(lockInTransaction(client, 'n'), { code: 'ERR_LOCK_BUSY' });
      await client.query('rollback');
      await held.release();
      client.release();
    });
  });
});

test('a full lock table is ERR_BUSY, and leaves what is held', {
  skip: missingPostgres(),
}, async () => {
  const settings = {
    max_locks_per_transaction: '10',
    max_connections: '20',
    shared_buffers: '1MB',
  };
  await using server = await PostgresServer.start({ ...settings, log_min_messages: 'fatal' });
  await using locks = postgresLocks(server.pool());
  const held: Lock[] = [];
  const failure = await (async () => {
    while (held.length < 20_000) held.push(await locks.acquire(`n${held.length}`));
  })().catch((error: unknown) => error);
  assert.ok(isQuorateError(failure, 'ERR_BUSY'), String(failure));
  for (const lock of held) lock.assertHeld();
  for (const lock of held) await lock.release();
  await (await locks.acquire('n')).release();
  const left = "select 1 from pg_locks where locktype = 'advisory'";
  assert.deepEqual(await server.query(left), []);
});

test('the examples of docs/postgres.md run and print what they say', {
  skip: missingPostgres(),
}, async () => {
  await using server = await PostgresServer.start();
  const page = readFileSync(new URL('../../docs/postgres.md', import.meta.url), 'utf8');
  const program = [...page.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
  const wanted = [...program.matchAll(/console\.log\(.*\); \/\/ (.+)$/gm)].map(([, said]) => said);
  assert.equal(wanted.length, 1);
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, '--input-type=module-typescript', '--eval', program],
    { encoding: 'utf8', timeout: 30_000, env: { ...process.env, DATABASE_URL: server.url } },
  );
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trimEnd().split('\n'), wanted);
});

/** A pool that notes what is asked. */
function counting(pool: pg.Pool): { readonly pool: PostgresPool; readonly queries: unknown[] } {
  const queries: unknown[] = [];
  const counted = {
    async connect() {
      const client = await pool.connect();
      const query = client.query.bind(client);
      client.query = ((...args: Parameters<typeof query>) => {
        queries.push(args[0]);
        return query(...args);
      }) as typeof client.query;
      return client;
    },
  };
  return { pool: counted, queries };
}

/** What pgbouncer does in transaction mode: queries of one client run on servers in turns. */
function transactionPooler(one: pg.Pool, other: pg.Pool): PostgresPool {
  return {
    async connect() {
      const [client, second] = [await one.connect(), await other.connect()];
      second.on('error', () => undefined);
      const query = client.query.bind(client);
      const secondQuery = second.query.bind(second);
      const release = client.release.bind(client);
      let count = 0;
      client.query = ((...args: Parameters<typeof query>) =>
        count++ % 2 === 0 ? query(...args) : secondQuery(...args)) as typeof client.query;
      client.release = (destroy) => {
        second.release(destroy);
        release(destroy);
      };
      return client;
    },
  };
}

/** The key of a name, as PostgreSQL shows it. */
async function keyOf(locks: Locks, server: PostgresServer, name: string): Promise<string> {
  const lock = await locks.acquire(name);
  const [row] = await server.query<{ key: string }>(
    "select ((classid::bigint << 32) | objid::bigint)::text as key from pg_locks where locktype = 'advisory' and objsubid = 1 and pid = $1",
    [Number.parseInt(lock.holder, 10)],
  );
  await lock.release();
  return row!.key;
}
