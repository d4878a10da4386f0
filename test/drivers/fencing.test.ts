/**
 * What is written to refuses the holder that was stopped past the life of its lock: a real process is stopped,
 * and goes on to write to a real PostgreSQL, a real Redis and a server over HTTP.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type pg from 'pg';
import { isQuorateError } from '../../src/core/errors.ts';
import { redisFence, redisLocks } from '../../src/drivers/redis/index.ts';
import {
  type FencedStatement,
  type FencedWrite,
  fencedUpdate,
  fencedUpsert,
  fencingTokenFrom,
  tokenFence,
} from '../../src/locks/index.ts';
import { Cli, withoutVariables } from '../support/cli.ts';
import { missingPostgres, PostgresServer } from '../support/postgres.ts';
import { CLIENTS, missingRedis, openClient, RedisServer } from '../support/redis.ts';

const timeout = 60_000;
const refused = (error: unknown): boolean =>
  isQuorateError(error, 'ERR_LOCK_LOST') && error.outcome === 'not-applied';

const noPostgres = missingPostgres();
const noRedis = missingRedis();

describe('in PostgreSQL', { skip: noPostgres }, () => {
  let server: PostgresServer;
  let pool: pg.Pool;
  before(async () => {
    server = await PostgresServer.start();
    pool = server.pool();
    await pool.query('create table reports (id int primary key, body text, fencing_token bigint)');
  });
  after(() => server.close());

  const write = (id: number, body: string, token: bigint): FencedWrite => {
    return { table: 'public.reports', key: { id }, set: { body }, token };
  };
  const run = async (by: pg.Pool | pg.PoolClient, statement: FencedStatement): Promise<void> => {
    statement.check((await by.query(statement.text, statement.values)).rowCount);
  };
  const bodyOf = async (id: number): Promise<unknown> =>
    (await pool.query('select body from reports where id = $1', [id])).rows[0]?.body;

  for (const [name, build] of Object.entries({ fencedUpdate, fencedUpsert })) {
    const id = name === 'fencedUpdate' ? 1 : 2;
    test(`${name}: equal and higher tokens write, lower ones do not`, async () => {
      await pool.query(`insert into reports values (${id}, '', null)`);
      const big = 2n ** 62n;
      for (const token of [3n, 3n, big]) await run(pool, build(write(id, `${token}`, token)));
      await assert.rejects(run(pool, build(write(id, 'late', big - 1n))), refused);
      assert.equal(await bodyOf(id), `${big}`);
    });

    test(`${name}: of two transactions the later token wins, whichever commits first`, async () => {
      const row = 100 + id;
      await pool.query(`insert into reports values (${row}, '', 0)`);
      const [one, two] = await Promise.all([pool.connect(), pool.connect()]);
      try {
        await one.query('begin');
        await run(one, build(write(row, 'new', 8n)));
        // Waits for the row, and then sees the token that was committed.
        const late = run(two, build(write(row, 'late', 7n)));
        late.catch(() => undefined);
        await one.query('commit');
        await assert.rejects(late, refused);
        assert.equal(await bodyOf(row), 'new');
      } finally {
        one.release();
        two.release();
      }
    });
  }

  test('what node-postgres takes as a query is what the statement is', async () => {
    const statement = fencedUpsert(write(1000, 'x', 1n));
    statement.check((await pool.query(statement)).rowCount);
    assert.equal(await bodyOf(1000), 'x');
  });
});

for (const kind of CLIENTS) {
  describe(`in Redis, with ${kind}`, { skip: noRedis }, () => {
    let server: RedisServer;
    before(async () => {
      server = await RedisServer.start();
    });
    after(() => server.close());

    test('equal and higher tokens run their command, lower ones do not', async () => {
      const { client, close } = await openClient(kind, server.port);
      try {
        const fence = redisFence(client, { keep: '1h' });
        const big = 2n ** 62n;
        for (const token of [9n, 9n, 10n, 100n, 2n ** 53n, 2n ** 53n + 1n, big]) {
          assert.equal(await fence.run('r', token, ['SET', 'report', `${token}`]), 'OK');
        }
        for (const token of [0n, 9n, 2n ** 53n, big - 1n]) {
          await assert.rejects(fence.run('r', token, ['SET', 'report', 'late']), refused);
          await assert.rejects(fence.check('r', token), refused);
        }
        assert.equal(await fence.run('r', big, ['GET', 'report']), `${big}`);
        assert.equal(await fence.run('other', 1n, ['GET', 'none']), null);
        assert.equal(await fence.run('other', 1n, ['INCRBY', 'count', '5']), 5);
        await fence.check('other', 2n);
        await assert.rejects(fence.run('other', 1n, ['INCRBY', 'count', '5']), /2 has been there/);
        assert.equal(await server.command('GET', 'count'), '5');
        const ttl = Number(await server.command('PTTL', 'quorate:fence:{r}'));
        assert.ok(ttl > 3_500_000 && ttl <= 3_600_000, `${ttl}`);
      } finally {
        close();
      }
    });

    test('what cannot be is refused; an error of the command is told as one', async () => {
      const { client, close } = await openClient(kind, server.port);
      try {
        const fence = redisFence(client);
        for (const command of [[], ['SET', 'a', 1], 'SET a b', new Array(1001).fill('x')]) {
          const wrong = fence.run('r', 1n, command as string[]);
          await assert.rejects(wrong, (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT'));
        }
        await assert.rejects(fence.run('', 1n, ['PING']), /name:/);
        await assert.rejects(fence.run('x', 1n, ['NOSUCH', 'x']), (error) => {
          return isQuorateError(error, 'ERR_PROTOCOL');
        });
        assert.throws(() => redisFence(client, { keep: 0 }), /keep/);
        assert.throws(() => redisFence({} as never), /client/);
      } finally {
        close();
      }
    });
  });
}

/** Holds the lock `nightly`, says so, and writes when it is told to, without looking at the lock again. */
const HOLDER = `
import { createClient } from 'redis';
import pg from 'pg';
import { redisFence, redisLocks } from 'quorate/drivers/redis';
import { fencedUpdate, fencingHeaders } from 'quorate/locks';
const { REDIS, POSTGRES, HTTP } = process.env;
const client = createClient({ url: REDIS });
await client.connect();
const pool = new pg.Pool({ connectionString: POSTGRES });
pool.on('error', () => {});
await pool.query('select 1');
const locks = redisLocks(client, { ttl: 300 });
const lock = await locks.acquire('nightly');
process.stdout.write('holds ' + lock.fencingToken + '\\n');
await new Promise((resolve) => process.stdin.once('data', resolve));
const ways = {
  sql: async () => {
    const write = fencedUpdate({ table: 'r', key: { id: 1 }, set: { body: 'old' }, token: lock });
    write.check((await pool.query(write.text, write.values)).rowCount);
  },
  redis: () => redisFence(client).run('r', lock, ['SET', 'r', 'old']),
  http: async () => {
    const { status } = await fetch(HTTP, { method: 'PUT', body: 'old', headers: fencingHeaders(lock) });
    if (status !== 204) throw Object.assign(new Error(), { code: status });
  },
};
for (const [way, write] of Object.entries(ways)) {
  const outcome = await write().then(() => 'written', (error) => error.code ?? error.message);
  process.stdout.write(way + ': ' + outcome + '\\n');
}
process.exit(0);
`;

describe('a holder that is stopped past the life of its lock', {
  skip: noPostgres || noRedis,
}, () => {
  for (const stopped of [false, true]) {
    const name = stopped
      ? 'is refused by whatever it writes to when it goes on'
      : 'and one that is not stopped writes';
    test(name, { timeout }, async () => {
      await using redis = await RedisServer.start();
      await using postgres = await PostgresServer.start();
      const pool = postgres.pool();
      await pool.query('create table r (id int, body text, fencing_token bigint)');
      await pool.query(`insert into r values (1, '', 0)`);
      const fence = tokenFence();
      let body = '';
      const http = createServer(async (request, response) => {
        try {
          const token = fencingTokenFrom(request.headers);
          await fence.run(request.url!, token, async () => {
            body = (await request.toArray()).join('');
          });
          response.writeHead(204).end();
        } catch (error) {
          response.writeHead(isQuorateError(error, 'ERR_LOCK_LOST') ? 412 : 400).end();
        }
      }).listen(0, '127.0.0.1');
      await once(http, 'listening');
      const HTTP = `http://127.0.0.1:${(http.address() as AddressInfo).port}/r`;
      const { client, close } = await openClient('redis', redis.port);
      const env = {
        ...withoutVariables(),
        HTTP,
        REDIS: `redis://127.0.0.1:${redis.port}`,
        POSTGRES: postgres.url,
      };
      const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
      const program = [process.execPath, ...flags, '--input-type=module', '--eval'] as const;
      await using holder = new Cli([HOLDER], { env, program });
      try {
        await holder.said(/holds \d+\n/);
        if (stopped) {
          holder.kill('SIGSTOP');
          await using locks = redisLocks(client, { ttl: '5s' });
          await using lock = await locks.acquire('nightly');
          const write = fencedUpdate({
            table: 'r',
            key: { id: 1 },
            set: { body: 'new' },
            token: lock,
          });
          write.check((await pool.query(write)).rowCount);
          await redisFence(client).run('r', lock, ['SET', 'r', 'new']);
          await fence.run('/r', lock, () => {
            body = 'new';
          });
          holder.child.stdin!.write('go\n');
          holder.kill('SIGCONT');
        } else holder.child.stdin!.write('go\n');
        const { out, err } = await holder.ended;
        const outcome = stopped
          ? ['ERR_LOCK_LOST', 'ERR_LOCK_LOST', '412']
          : Array(3).fill('written');
        const wanted = `sql: ${outcome[0]}\nredis: ${outcome[1]}\nhttp: ${outcome[2]}\n`;
        assert.equal(out.replace(/^holds .*\n/, ''), wanted, err);
        const [row] = (await pool.query('select body from r')).rows as { body: string }[];
        const value = stopped ? 'new' : 'old';
        assert.deepEqual([row?.body, await redis.command('GET', 'r'), body], [value, value, value]);
      } finally {
        holder.kill('SIGKILL');
        close();
        http.closeAllConnections();
        http.close();
      }
    });
  }
});
