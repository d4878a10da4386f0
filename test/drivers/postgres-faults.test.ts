/** Locks on a real PostgreSQL when something breaks. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { isQuorateError } from '../../src/core/errors.ts';
import {
  type PostgresLocksOptions,
  type PostgresPool,
  postgresLocks,
} from '../../src/drivers/postgres/index.ts';
import type { Lock, Locks } from '../../src/locks/index.ts';
import { until } from '../support/cluster.ts';
import { FaultyNetwork } from '../support/faulty-network.ts';
import { missingPostgres, PostgresServer } from '../support/postgres.ts';

describe('locks on PostgreSQL under faults', { skip: missingPostgres() }, () => {
  let server: PostgresServer;
  let network: FaultyNetwork;
  const opened: Locks[] = [];
  before(async () => {
    // The log is flushed by commits alone, not by its writer, which would hide what they do not flush.
    server = await PostgresServer.start({ wal_writer_delay: '10s', log_min_messages: 'fatal' });
  });
  after(() => server.close());
  beforeEach(async () => {
    network = new FaultyNetwork();
    await server.start();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((locks) => locks.close()));
    await network.close();
  });

  function open(options: PostgresLocksOptions = {}, pool: PostgresPool = server.pool()): Locks {
    const locks = postgresLocks(pool, { heartbeat: 200, connectTimeout: 500, ...options });
    opened.push(locks);
    return locks;
  }

  /** Locks whose connections go through the faulty network. `onRemoved`: a socket of theirs is closed. */
  async function openBehind(onRemoved = (): void => undefined): Promise<Locks> {
    const port = await network.listen('server', server.port, () => 'client');
    const to = { host: '127.0.0.1', port, user: 'postgres', database: 'postgres' };
    const pool = server.pool({ ...to, connectionString: undefined });
    pool.on('remove', onRemoved);
    return open({}, pool);
  }

  const waits = (locks: Locks, name: string): Promise<unknown> =>
    until(`somebody waits for '${name}'`, async () =>
      (await locks.holders(name)).some(({ waiting }) => waiting),
    );

  /** When it was lost, in milliseconds from now; that it was, with its session. */
  async function losing(lock: Lock): Promise<number> {
    const startMs = performance.now();
    if (!lock.lost.aborted) await once(lock.lost, 'abort');
    assert.ok(isQuorateError(lock.lost.reason, 'ERR_LOCK_LOST'));
    assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST' });
    assert.equal(lock.remainingMs(), 0);
    return performance.now() - startMs;
  }

  test('a connection that is cut is noticed at once by the holder, and by who waits', async () => {
    const [locks, other] = [await openBehind(), open()];
    const lock = await locks.acquire('n');
    const theirs = await other.acquire('theirs');
    const waiting = locks.acquire('theirs').catch((error: unknown) => error);
    await waits(other, 'theirs');
    const heal = network.impair(() => true, { cut: true });
    assert.ok((await losing(lock)) < 150);
    const error = await waiting;
    assert.ok(isQuorateError(error, 'ERR_LOCK_LOST'), String(error));
    assert.equal(error.retryable, true);
    const down = await locks.acquire('n').catch((reason: unknown) => reason);
    assert.ok(isQuorateError(down, 'ERR_UNAVAILABLE') || isQuorateError(down, 'ERR_TIMEOUT'));
    // The server has seen it, too, and the place in its queue is gone.
    await (await other.acquire('n', { wait: '2s' })).release();
    await until('the queue is empty', async () => (await other.holders('theirs')).length === 1);
    await theirs.release();
    heal();
    await (await locks.acquire('n')).release();
    await lock.release();
  });

  test('a connection that is silent is noticed by the heartbeat, before three of them are over', async () => {
    let removed = 0;
    const [locks, other] = [await openBehind(() => removed++), open()];
    const lock = await locks.acquire('n');
    const theirs = await other.acquire('theirs');
    const waiting = locks.acquire('theirs').catch((error: unknown) => error);
    await waits(other, 'theirs');
    const heal = network.impair(() => true, { swallow: true });
    const tookMs = await losing(lock);
    assert.ok(tookMs < 650, `${tookMs} ms`);
    const error = await waiting;
    assert.ok(isQuorateError(error, 'ERR_LOCK_LOST'), String(error));
    await assert.rejects(locks.acquire('other'), { code: 'ERR_TIMEOUT' });
    await until('no socket is left open', () => removed >= 2);
    heal();
    await (await other.acquire('n', { wait: '2s' })).release();
    await theirs.release();
    await (await locks.acquire('theirs', { wait: '2s' })).release();
  });

  test('a reply that is lost is an unknown outcome, and what it granted is freed', async () => {
    const [locks, other] = [await openBehind(), open()];
    await (await locks.acquire('warm')).release();
    const heal = network.impair((from) => from === 'server', { swallow: true });
    const error = await locks.acquire('n').catch((reason: unknown) => reason);
    assert.ok(isQuorateError(error, 'ERR_UNAVAILABLE'), String(error));
    assert.equal(error.outcome, 'unknown');
    heal();
    await (await other.acquire('n', { wait: '2s' })).release();
  });

  test('a holder that was stopped for longer than its heartbeats says lost at the first look', async () => {
    const locks = open();
    const lock = await locks.acquire('n');
    const other = open();
    await other.holders('n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
    assert.equal(lock.lost.aborted, true);
    assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST' });
    // PostgreSQL had kept it; now it goes to others.
    await (await open().acquire('n', { wait: '2s' })).release();
  });

  test('... and closes its socket, also where the server does not answer', async () => {
    let removed = 0;
    const locks = await openBehind(() => removed++);
    const lock = await locks.acquire('n');
    network.impair(() => true, { swallow: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
    assert.equal(lock.lost.aborted, true);
    await until('the socket is closed', () => removed === 1, 2000);
  });

  test('a cancellation that overtakes the wait which it is for leaves no place in the queue', async () => {
    const port = await network.listen('server', server.port, () => 'client');
    const [direct, slow] = [
      server.pool(),
      server.pool({ host: '127.0.0.1', port, user: 'postgres', connectionString: undefined }),
    ];
    let count = 0;
    const locks = open({}, { connect: () => (count++ === 0 ? direct : slow).connect() });
    const other = open();
    const held = await other.acquire('n');
    // Opens the slow connection, which then is idle.
    await assert.rejects(locks.acquire('n', { wait: 50 }), { code: 'ERR_LOCK_BUSY' });
    await until('it is idle', async () => (await other.holders('n')).length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    network.impair(() => true, { latencyMs: 60 });
    await assert.rejects(locks.acquire('n', { wait: 5 }), { code: 'ERR_LOCK_BUSY' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(count, 2);
    assert.deepEqual(
      (await other.holders('n')).filter(({ waiting }) => waiting),
      [],
    );
    await held.release();
    await (await locks.acquire('n')).release();
  });

  test('an operator who ends the backend is noticed at once, and the next one is served', async () => {
    const [locks, other] = [open(), open()];
    const lock = await locks.acquire('n');
    const next = other.acquire('n');
    await waits(other, 'n');
    await server.query('select pg_terminate_backend($1)', [Number.parseInt(lock.holder, 10)]);
    assert.ok((await losing(lock)) < 150);
    const granted = await next;
    assert.ok(granted.fencingToken > lock.fencingToken);
    await granted.release();
    await (await locks.acquire('n')).release();
  });

  test('an operator who cancels a wait ends it with ERR_LOCK_LOST, and nothing else', async () => {
    const [locks, other] = [open(), open()];
    const lock = await locks.acquire('n');
    const waiting = assert.rejects(other.acquire('n'), { code: 'ERR_LOCK_LOST', retryable: true });
    await waits(other, 'n');
    await server.query(
      "select pg_cancel_backend(pid) from pg_locks where locktype = 'advisory' and not granted",
    );
    await waiting;
    lock.assertHeld();
    await lock.release();
    await (await other.acquire('n')).release();
  });

  test('kill -9 of a backend, with which the whole server starts again: all is lost, and works again', async () => {
    const [locks, other] = [open(), open()];
    const [lock, theirs] = [await locks.acquire('n'), await other.acquire('theirs')];
    process.kill(Number.parseInt(lock.holder, 10), 'SIGKILL');
    await Promise.all([losing(lock), losing(theirs)]);
    const again = await until('the server is back', () =>
      locks.acquire('n').catch(() => undefined),
    );
    assert.ok(again.fencingToken > lock.fencingToken);
    await again.release();
  });

  test('a restart of the server loses what is held and waited for; then all works again', async () => {
    const locks = open();
    const lock = await locks.acquire('n');
    const waiting = assert.rejects(locks.acquire('n'), { code: 'ERR_LOCK_LOST' });
    await waits(locks, 'n');
    const lost = losing(lock);
    await server.stop();
    await lost;
    await waiting;
    const startMs = performance.now();
    await assert.rejects(locks.acquire('n'), { code: 'ERR_UNAVAILABLE', outcome: 'not-applied' });
    await assert.rejects(locks.tryAcquire('n'), { code: 'ERR_UNAVAILABLE' });
    assert.ok(performance.now() - startMs < 450, 'at once, not after a time limit');
    await lock.release();
    await server.start();
    const again = await locks.acquire('n');
    assert.ok(again.fencingToken > lock.fencingToken);
    await again.release();
  });

  test('tokens grow over crashes of the server', async () => {
    const locks = open();
    let last = 0n;
    for (let crash = 0; crash < 4; crash++) {
      for (let i = 0; i < 10 + crash * 15; i++) {
        const lock = await locks.acquire('n');
        assert.ok(lock.fencingToken > last, `${lock.fencingToken} after ${last}`);
        last = lock.fencingToken;
        await lock.release();
      }
      await server.stop('SIGKILL');
      await server.start();
      await until('it is noticed', () =>
        locks.tryAcquire('n').then(
          (lock) => lock?.release().then(() => true),
          () => false,
        ),
      );
    }
  });

  test('... also where the log of the sequence was that of a transaction that did not commit', async () => {
    const locks = open();
    await (await locks.acquire('n')).release();
    const client = await server.pool().connect();
    client.on('error', () => undefined);
    // Logs the next 32 numbers, and does not commit: nobody flushed that log.
    await client.query("select nextval('quorate_lock_tokens') from generate_series(1, 31)");
    await client.query('checkpoint');
    await client.query('begin');
    await client.query("select nextval('quorate_lock_tokens') from generate_series(1, 3)");
    const before = await locks.acquire('n');
    await server.stop('SIGKILL');
    client.release(true);
    await server.start();
    await losing(before);
    const after = await open().acquire('n');
    assert.ok(
      after.fencingToken > before.fencingToken,
      `${after.fencingToken} after ${before.fencingToken}`,
    );
  });

  test('a process that is killed frees what it held and leaves the queue, soon', async () => {
    const other = open();
    const theirs = await other.acquire('theirs');
    const program = `
      import pg from 'pg';
      import { postgresLocks } from 'quorate/drivers/postgres';
      const locks = postgresLocks(new pg.Pool({ connectionString: '${server.url}' }));
      await locks.acquire('n');
      locks.acquire('theirs');
      console.log('held');`;
    const child = spawn(
      process.execPath,
      ['--conditions=quorate-source', '--input-type=module', '--eval', program],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(child.stdout, 'data');
    await waits(other, 'theirs');
    child.kill('SIGSTOP');
    assert.equal(await other.tryAcquire('n'), undefined, 'who is only stopped keeps its lock');
    const killedMs = performance.now();
    child.kill('SIGKILL');
    await (await other.acquire('n')).release();
    assert.ok(performance.now() - killedMs < 100, 'as soon as its sockets are closed');
    // Who waits is looked after once a second.
    await until('its place is gone', async () => (await other.holders('theirs')).length === 1);
    await theirs.release();
  });

  test('the server is told to give up a connection later than its holder does', async () => {
    let client: Awaited<ReturnType<PostgresPool['connect']>> | undefined;
    const pool = server.pool();
    const locks = open(
      { heartbeat: '2s' },
      { connect: async () => (client = await pool.connect()) },
    );
    const lock = await locks.acquire('n');
    const setting = async (name: string): Promise<number> => {
      const { rows } = await client!.query({
        text: 'select setting::int as value from pg_settings where name = $1',
        values: [name],
      });
      return (rows[0] as { value: number }).value;
    };
    const verdictMs = lock.remainingMs();
    assert.ok(verdictMs > 5000 && verdictMs <= 6000);
    assert.ok((await setting('tcp_user_timeout')) > 6000);
    assert.ok((await setting('tcp_keepalives_idle')) * 1000 >= 6000);
    assert.equal(await setting('client_connection_check_interval'), 1000);
  });
});
