/** `quorate lock` and `elect` on other engines, as processes: real Redis with both clients, PostgreSQL and Consul. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../src/testing/certificates.ts';
import { Cli, type CliOptions, type Ended, until, withoutVariables } from './support/cli.ts';
import { ConsulServers, missingConsul } from './support/consul.ts';
import { freePorts } from './support/ports.ts';
import { missingPostgres, PostgresServer } from './support/postgres.ts';
import { missingRedis, RedisServer } from './support/redis.ts';

const timeout = 60_000;
let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'quorate-drivers-'));
  for (const client of ['redis', 'ioredis', 'pg', 'none']) {
    mkdirSync(join(folder, client, 'node_modules'), { recursive: true });
    if (client === 'none') continue;
    const installed = join(import.meta.dirname, '../node_modules', client);
    symlinkSync(installed, join(folder, client, 'node_modules', client));
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

interface Where {
  /** How to connect. */
  readonly flags: readonly string[];
  /** The client that the project has. */
  readonly client: string;
}

function start(args: readonly string[], where: Where, env: NodeJS.ProcessEnv = {}): Cli {
  const end = args.indexOf('--');
  const own = end < 0 ? args : args.slice(0, end);
  const program = end < 0 ? [] : args.slice(end);
  const options: CliOptions = {
    cwd: join(folder, where.client),
    env: { ...withoutVariables(), ...env },
  };
  return new Cli([...own, ...where.flags, ...program], options);
}

const run = (where: Where, ...args: string[]): Promise<Ended> => start(args, where).ended;

/** What holds on every engine. */
function locks(where: () => Where, promises: { tokens: boolean; queue: boolean }): void {
  test('a command under a lock finds its token and passes on its exit code', {
    timeout,
  }, async () => {
    const script = 'env | grep ^QUORATE_LOCK; exit 7';
    const tokens: string[] = [];
    for (let i = 0; i < 2; i++) {
      const env = { QUORATE_LOCK_TOKEN: 'of an outer lock' };
      const cli = start(
        ['lock', `a b/ü-${where().client}`, '--', 'sh', '-c', script],
        where(),
        env,
      );
      const { code, out, err } = await cli.ended;
      assert.equal(code, 7, err);
      assert.match(out, /^QUORATE_LOCK_NAME=a b\/ü-\w+$/m);
      tokens.push(/^QUORATE_LOCK_TOKEN=(.+)$/m.exec(out)?.[1] ?? 'none');
    }
    if (promises.tokens) assert.ok(BigInt(tokens[1]!) > BigInt(tokens[0]!), tokens.join(' '));
    else assert.deepEqual(tokens, ['none', 'none']);
  });

  test('the second waits, or gives up when told so, and ls shows both', { timeout }, async () => {
    const name = `one-${where().client}`;
    const log = join(folder, `${where().client}-${where().flags[1]}`);
    writeFileSync(log, '');
    const script = `echo in >>${log}; read x; echo out >>${log}`;
    await using holder = start(['lock', name, '--', 'sh', '-c', script], where());
    await until(() => readFileSync(log, 'utf8') !== '');
    const busy = await run(where(), 'lock', name, '--no-wait', '--', 'true');
    assert.deepEqual([busy.code, busy.err], [1, `quorate: the lock '${name}' is not free\n`]);
    const late = await run(where(), 'lock', name, '--wait', '100ms', '--', 'true');
    assert.match(late.err, /was not free within 0\.1 s/);
    const second = run(where(), 'lock', name, '--', 'sh', '-c', `echo second >>${log}`);
    const states = async (): Promise<string[]> => {
      const { out, err } = await run(where(), 'lock', 'ls', name, '--json');
      assert.equal(err, '');
      const { locks } = JSON.parse(out) as { locks: { holders: { waiting: boolean }[] }[] };
      return locks[0]!.holders.map(({ waiting }) => (waiting ? 'waits' : 'holds'));
    };
    if (promises.queue) await until(async () => (await states()).length === 2);
    assert.deepEqual(await states(), promises.queue ? ['holds', 'waits'] : ['holds']);
    holder.child.stdin!.end('\n');
    assert.equal((await holder.ended).code, 0, holder.err);
    assert.equal((await second).code, 0);
    assert.equal(readFileSync(log, 'utf8'), 'in\nout\nsecond\n');
    assert.equal((await run(where(), 'lock', 'ls', name, '--json')).out, '{"locks":[]}\n');
  });

  test('release --force ends the command of the holder, with exit code 4', {
    timeout,
  }, async () => {
    const name = `forced-${where().client}`;
    const args = ['lock', name, '--ttl', '3s', '--', 'sh', '-c', 'echo started; sleep 30'];
    await using holder = start(args, where());
    await holder.said(/started/);
    const { code, out } = await run(where(), 'lock', 'release', '--force', name);
    assert.equal(code, 0);
    assert.match(out, /^forced-\w+ +holds +(\d+|-) +\S+ +\S+$/m);
    const ended = await holder.ended;
    assert.equal(ended.code, 4);
    assert.match(
      ended.err,
      /^quorate: the lock 'forced-.*' was lost: .*; the command was ended\n$/,
    );
    const again = await run(where(), 'lock', 'release', '--force', name);
    assert.deepEqual([again.code, again.err], [3, `quorate: nobody holds the lock '${name}'\n`]);
  });

  test('the lock of a holder that was killed is free soon', { timeout }, async () => {
    const name = `killed-${where().client}`;
    await using holder = start(['lock', name, '--ttl', '1s'], where());
    await holder.said(/\n/);
    holder.kill('SIGKILL');
    await holder.ended;
    const next = await run(where(), 'lock', name, '--wait', '10s', '--', 'true');
    assert.equal(next.code, 0, next.err);
  });
}

const noRedis = missingRedis();
describe('on Redis', { skip: noRedis, concurrency: 2 }, () => {
  const servers: RedisServer[] = [];
  before(async () => {
    for (let i = 0; i < 4; i++) servers.push(await RedisServer.start());
  });
  after(() => Promise.all(servers.map((server) => server.close())));
  const url = (server: RedisServer): string => `redis://127.0.0.1:${server.port}`;

  for (const client of ['redis', 'ioredis']) {
    describe(`one, with ${client}`, () => {
      const where = (): Where => {
        return { client, flags: ['--driver', 'redis', '--redis-url', url(servers[0]!)] };
      };
      locks(where, { tokens: true, queue: true });

      test('what was to be connected and cannot is named, without its password', {
        timeout,
      }, async () => {
        const [port] = await freePorts(1);
        const flags = ['--driver', 'redis', '--redis-url', `redis://:sesame@127.0.0.1:${port}`];
        const { code, err } = await run({ client, flags }, 'lock', client, '--', 'true');
        assert.equal(code, 1);
        const said = new RegExp(`^quorate: Redis at redis://127.0.0.1:${port}: .*ECONNREFUSED`);
        assert.match(err, said);
        assert.doesNotMatch(err, /sesame/);
      });

      test('TLS: with the right authority it works, with none or another it is refused', {
        timeout,
      }, async () => {
        const server = await RedisServer.start();
        try {
          const [port] = await freePorts(1);
          const path = (name: string): string => join(folder, `${client}-${name}.pem`);
          const [ours, theirs] = [testAuthority('ours'), testAuthority('theirs')];
          const { cert, key } = ours.issue('redis');
          const files = { cert, key, ca: ours.cert, other: theirs.cert };
          for (const [name, text] of Object.entries(files)) writeFileSync(path(name), text);
          const settings = ['tls-cert-file', path('cert'), 'tls-key-file', path('key')];
          settings.push('tls-ca-cert-file', path('ca'), 'tls-port', `${port}`);
          await server.command('CONFIG', 'SET', ...settings);
          const own = ['--cert', path('cert'), '--key', path('key')];
          for (const [flags, code, said] of [
            [['--cacert', path('ca'), ...own], 0, /^$/],
            [['--insecure-skip-tls-verify', ...own], 0, /^$/],
            [['--cacert', path('other'), ...own], 1, /Redis at rediss:.*certificate/],
            [own, 1, /Redis at rediss:.*certificate/],
          ] as const) {
            const where = ['--driver', 'redis', '--redis-url', `rediss://127.0.0.1:${port}`];
            const at = { client, flags: [...where, ...flags] };
            const ended = await run(at, 'lock', 'a', '--', 'true');
            assert.equal(ended.code, code, ended.err);
            assert.match(ended.err, said);
          }
        } finally {
          await server.close();
        }
      });

      test('a password that is missing, or wrong, is said at once', { timeout }, async () => {
        const locked = servers[3]!;
        const at = `127.0.0.1:${locked.port}`;
        await locked.command('CONFIG', 'SET', 'requirepass', 'sesame');
        try {
          for (const [given, code, said] of [
            ['', 1, /NOAUTH/],
            [':wrong@', 1, /WRONGPASS/],
            [':sesame@', 0, /^$/],
          ] as const) {
            const flags = ['--driver', 'redis', '--redis-url', `redis://${given}${at}`];
            const ended = await run({ client, flags }, 'lock', client, '--', 'true');
            assert.equal(ended.code, code, ended.err);
            assert.match(ended.err, said);
          }
        } finally {
          await locked.command('CONFIG', 'SET', 'requirepass', '');
        }
      });
    });

    describe(`several, with ${client}`, () => {
      const where = (): Where => {
        const urls = servers.slice(0, 3).flatMap((server) => ['--redis-url', url(server)]);
        return { client, flags: ['--driver', 'redlock', ...urls] };
      };
      if (client === 'redis') locks(where, { tokens: false, queue: false });

      test('a minority may be gone, a majority may not', { timeout }, async () => {
        const [first, second] = (await freePorts(2)).map((port) => `redis://127.0.0.1:${port}`);
        const at = (...urls: string[]): Where => {
          const flags = urls.flatMap((one) => ['--redis-url', one]);
          return { client, flags: ['--driver', 'redlock', ...flags] };
        };
        const one = at(url(servers[0]!), url(servers[1]!), first!);
        assert.equal((await run(one, 'lock', client, '--', 'true')).code, 0);
        const two = await run(at(url(servers[0]!), first!, second!), 'lock', client, '--', 'true');
        assert.equal(two.code, 1);
        assert.match(two.err, /^quorate: only 1 of 3 servers answer, 2 are needed: Redis at /);
      });
    });
  }

  test('one candidate leads, listeners see it, and the next takes over', { timeout }, async () => {
    const where = {
      client: 'redis',
      flags: ['--driver', 'redis', '--redis-url', url(servers[0]!)],
    };
    const script = 'echo "lead $QUORATE_ELECTION_VALUE"; read x';
    await using first = start(['elect', 'e', 'one', '--', 'sh', '-c', script], where);
    await first.said(/lead one/);
    await using listener = start(['elect', '--listen', 'e'], where);
    await listener.said(/^one\n/);
    await using second = start(['elect', 'e', 'two'], where);
    first.child.stdin!.end('\n');
    assert.equal((await first.ended).code, 0, first.err);
    await second.said(/\ntwo\n/);
    await listener.said(/^one\ntwo\n/);
  });

  test('the driver and its addresses come from the environment too', { timeout }, async () => {
    const env = {
      QUORATE_DRIVER: 'redlock',
      QUORATE_REDIS_URL: servers.slice(0, 3).map(url).join(','),
    };
    const where = { client: 'redis', flags: [] };
    const { code, out } = await start(['lock', 'e', '--', 'echo', 'held'], where, env).ended;
    assert.deepEqual([code, out], [0, 'held\n']);
  });
});

const noPostgres = missingPostgres();
describe('on PostgreSQL', { skip: noPostgres }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await PostgresServer.start();
  });
  after(() => server.close());
  const where = (): Where => {
    return { client: 'pg', flags: ['--driver', 'postgres', '--postgres-url', server.url] };
  };
  locks(where, { tokens: true, queue: true });

  test('the address comes from the environment too, also as of psql', { timeout }, async () => {
    const at = { client: 'pg', flags: ['--driver', 'postgres'] };
    const psql = { PGHOST: '127.0.0.1', PGPORT: `${server.port}`, PGUSER: 'postgres' };
    for (const env of [{ QUORATE_POSTGRES_URL: server.url }, psql]) {
      const { code, err } = await start(['lock', 'e', '--', 'true'], at, env).ended;
      assert.equal(code, 0, err);
    }
  });
});

const noConsul = missingConsul();
describe('on Consul', { skip: noConsul }, () => {
  let servers: ConsulServers;
  before(async () => {
    servers = await ConsulServers.start();
  });
  after(() => servers.close());
  const where = (): Where => {
    return { client: 'none', flags: ['--driver', 'consul', '--consul-url', servers.addresses[0]!] };
  };
  locks(where, { tokens: true, queue: false });

  test('elect runs one at a time, and --listen follows', { timeout }, async () => {
    await using listener = start(['elect', '--listen', 'e'], where());
    await using first = start(['elect', 'e', 'one', '--', 'sh', '-c', 'read x'], where());
    await listener.said(/^one\n/);
    await using second = start(['elect', 'e', 'two'], where());
    first.child.stdin!.end('\n');
    assert.equal((await first.ended).code, 0, first.err);
    await second.said(/\ntwo\n/);
    await listener.said(/^one\ntwo\n/);
  });

  test("the address comes from Consul's own variables too, with and without a scheme", {
    timeout,
  }, async () => {
    const at = { client: 'none', flags: ['--driver', 'consul'] };
    for (const address of [servers.addresses[0]!, `127.0.0.1:${servers.port}`]) {
      const env = { CONSUL_HTTP_ADDR: address };
      const { code, err } = await start(['lock', 'e', '--', 'true'], at, env).ended;
      assert.equal(code, 0, err);
    }
  });

  test('an agent that is not there is named', { timeout }, async () => {
    const [port] = await freePorts(1);
    const flags = ['--driver', 'consul', '--consul-url', `http://127.0.0.1:${port}`];
    const { code, err } = await run({ client: 'none', flags }, 'lock', 'a', '--', 'true');
    assert.equal(code, 1);
    assert.match(err, new RegExp(`^quorate: .*ECONNREFUSED.*Consul at 127.0.0.1:${port}`));
  });
});
