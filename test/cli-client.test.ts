/**
 * The client commands as processes, against a node of ours and against the real etcd: the same
 * commands give the same output.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cli, cli, type Ended, until } from './support/cli.ts';
import { freePorts } from './support/ports.ts';

const timeout = 60_000;
const etcd = process.env['QUORATE_ETCD'];
const engines = process.env['QUORATE_ENGINES'] ?? join(homedir(), '.cache/quorate-engines/bin');
const etcdctl = join(engines, 'etcdctl');
const noEtcdctl = existsSync(etcdctl) ? false : 'etcdctl is not installed (npm run engines)';
if (etcd === undefined && process.env['QUORATE_REQUIRE_ENGINES'] === '1') {
  throw new Error('QUORATE_ETCD is not set, but engines are required');
}

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-client-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('against a node of ours', () => {
  let node: Cli;
  const target = { endpoints: '' };
  before(async () => {
    const [clientPort, peerPort] = await freePorts(2);
    const peer = `http://127.0.0.1:${peerPort}`;
    node = new Cli([
      ...['serve', '--data-dir', join(folder, 'node')],
      ...['--listen-client-urls', `http://127.0.0.1:${clientPort}`, '--listen-peer-urls', peer],
      ...['--initial-advertise-peer-urls', peer],
    ]);
    const [, endpoint] = await node.said(/ready to serve.*"http:\/\/(127\.0\.0\.1:\d+)"/);
    target.endpoints = endpoint!;
  });
  after(() => node[Symbol.asyncDispose]());
  commands('ours', target);
});

const absent = 'the real etcd is not installed (npm run engines)';
describe('against the real etcd', { skip: etcd === undefined ? absent : false }, () => {
  commands('etcd', { endpoints: etcd ?? '' });
});

function commands(where: string, target: { readonly endpoints: string }): void {
  const prefix = `cli-${where}-${process.pid}/`;
  const at = (...args: string[]): Promise<Ended> => {
    const end = args.indexOf('--');
    const own = end < 0 ? args : args.slice(0, end);
    const program = end < 0 ? [] : args.slice(end);
    return cli(...own, '--endpoints', target.endpoints, ...program);
  };
  const running = (...args: string[]): Cli => {
    const end = args.indexOf('--');
    const own = end < 0 ? args : args.slice(0, end);
    const program = end < 0 ? [] : args.slice(end);
    return new Cli([...own, '--endpoints', target.endpoints, ...program]);
  };
  const ok = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await at(...args);
    assert.equal(code, 0, `${args.join(' ')}: ${err}`);
    return out;
  };

  test('put, get and del print what etcdctl prints', { timeout }, async () => {
    const a = `${prefix}a`;
    const b = `${prefix}b`;
    assert.equal(await ok('kv', 'put', a, '1'), 'OK\n');
    assert.equal(await ok('kv', 'put', a, '2', '--prev-kv'), `OK\n${a}\n1\n`);
    assert.equal(await ok('kv', 'put', b, '3'), 'OK\n');
    assert.equal(await ok('kv', 'get', a), `${a}\n2\n`);
    assert.equal(await ok('kv', 'get', prefix, '--prefix'), `${a}\n2\n${b}\n3\n`);
    assert.equal(
      await ok('kv', 'get', prefix, '--prefix', '--keys-only', '--order=descend'),
      `${b}\n${a}\n`,
    );
    assert.equal(await ok('kv', 'get', a, b, '--values-only'), '2\n');
    assert.equal(await ok('kv', 'get', prefix, '--prefix', '--count-only'), '2\n');
    const json = JSON.parse(await ok('kv', 'get', a, '--json')) as {
      revision: number;
      kvs: { key: string; value: string; version: number; modRevision: number }[];
    };
    assert.deepEqual([json.kvs[0]!.key, json.kvs[0]!.value, json.kvs[0]!.version], [a, '2', 2]);
    const before = String(json.kvs[0]!.modRevision - 1);
    assert.equal(await ok('kv', 'get', a, '--rev', before, '--values-only'), '1\n');
    assert.equal(await ok('kv', 'del', prefix, '--prefix', '--prev-kv'), `2\n${a}\n2\n${b}\n3\n`);
    assert.equal(await ok('kv', 'del', a), '0\n');
  });

  test('a key that does not exist is exit code 3, an empty range is not', { timeout }, async () => {
    const { code, out, err } = await at('kv', 'get', `${prefix}none`);
    assert.deepEqual({ code, out, err }, { code: 3, out: '', err: '' });
    assert.equal((await at('kv', 'get', `${prefix}none`, '--prefix')).code, 0);
  });

  test('a refusal is one line and exit code 1', { timeout }, async () => {
    const { code, err } = await at('kv', 'get', 'x', '--rev', '999999999');
    assert.equal(code, 1);
    assert.match(err, /^quorate: [^\n]+\n$/);
  });

  test('a value comes from stdin byte by byte', { timeout }, async () => {
    const bytes = Buffer.from([0, 255, 10, 128]);
    await using put = running('kv', 'put', `${prefix}bytes`, '-');
    put.child.stdin!.end(bytes);
    assert.equal((await put.ended).code, 0, put.err);
    const json = await ok('kv', 'get', `${prefix}bytes`, '--json');
    assert.match(json, new RegExp(`"valueBase64":"${bytes.toString('base64')}"`));
    await ok('kv', 'del', `${prefix}bytes`);
  });

  test('watch prints each change until it is interrupted', { timeout }, async () => {
    const key = `${prefix}watched`;
    const start = JSON.parse(await ok('kv', 'put', key, '1', '--json')) as { revision: number };
    await using watch = running('kv', 'watch', key, '--rev', String(start.revision), '--json');
    await watch.said(/"value":"1"/);
    await ok('kv', 'del', key);
    await watch.said(/"type":"delete"/);
    watch.kill('SIGINT');
    const { code, out, err } = await watch.ended;
    assert.deepEqual([code, err], [130, '']);
    const types = out
      .trim()
      .split('\n')
      .map((text) => (JSON.parse(text) as { type: string }).type);
    assert.deepEqual(types, ['put', 'delete']);
  });

  test('status shows every member, and the leader', { timeout }, async () => {
    const json = JSON.parse(await ok('status', '--json')) as {
      healthy: boolean;
      leader: string;
      members: { name: string; role: string; term: number; index: number }[];
    };
    assert.equal(json.healthy, true);
    assert.equal(json.members.find(({ role }) => role === 'leader')?.name, json.leader);
    const table = await ok('status');
    assert.match(table, /^NAME +ID +ENDPOINT +ROLE +TERM +INDEX +APPLIED +REVISION +SIZE\n/);
    assert.match(table, new RegExp(`^${json.leader} .* leader `, 'm'));
  });

  test('a command under a lock finds its token and passes on its exit code', {
    timeout,
  }, async () => {
    const name = `${prefix}lock`;
    const script = 'echo "$QUORATE_LOCK_NAME $QUORATE_LOCK_TOKEN"; exit 7';
    const first = await at('lock', name, '--', 'sh', '-c', script);
    const second = await at('lock', name, '--', 'sh', '-c', script);
    assert.deepEqual([first.code, second.code], [7, 7], first.err);
    const token = ({ out }: Ended): number => Number(out.trim().split(' ')[1]);
    assert.ok(token(second) > token(first), `${first.out}${second.out}`);
  });

  test('of two commands under one lock the second waits, or gives up when told so', {
    timeout,
  }, async () => {
    const name = `${prefix}exclusive`;
    const log = join(folder, `${where}-exclusive`);
    writeFileSync(log, '');
    await using holder = running(
      'lock',
      name,
      '--',
      'sh',
      '-c',
      `echo in >>${log}; read x; echo out >>${log}`,
    );
    await until(() => readFileSync(log, 'utf8') !== '');
    const busy = await at('lock', name, '--no-wait', '--', 'true');
    assert.deepEqual([busy.code, busy.err], [1, `quorate: the lock '${name}' is not free\n`]);
    const late = await at('lock', name, '--wait', '100ms', '--', 'true');
    assert.match(late.err, /was not free within 0\.1 s/);
    const second = at('lock', name, '--', 'sh', '-c', `echo second >>${log}`);
    holder.child.stdin!.end('\n');
    assert.equal((await holder.ended).code, 0, holder.err);
    assert.equal((await second).code, 0);
    assert.equal(readFileSync(log, 'utf8'), 'in\nout\nsecond\n');
  });

  test('a lock that is taken away ends its command, with exit code 4', { timeout }, async () => {
    const name = `${prefix}stolen`;
    await using holder = running('lock', name, '--', 'sh', '-c', 'echo started; sleep 30');
    await holder.said(/started/);
    assert.equal(await ok('kv', 'del', `${name}/`, '--prefix'), '1\n');
    const { code, err } = await holder.ended;
    assert.equal(code, 4);
    assert.match(err, /^quorate: the lock '.*' was lost: .*; the command was ended/);
  });

  test('a command whose guard was stopped past the time to live is ended when it wakes', {
    timeout,
  }, async () => {
    const name = `${prefix}stalled`;
    await using holder = running(
      'lock',
      name,
      '--ttl',
      '1s',
      '--',
      'sh',
      '-c',
      'echo started; sleep 30',
    );
    await holder.said(/started/);
    holder.kill('SIGSTOP');
    const free = await at('lock', name, '--', 'true');
    assert.equal(free.code, 0, free.err);
    holder.kill('SIGCONT');
    const { code, err } = await holder.ended;
    assert.equal(code, 4, err);
  });

  test('ls shows all locks with who holds and who waits, of one name or of a prefix', {
    timeout,
  }, async () => {
    const name = `${prefix}listed`;
    await using holder = running('lock', name, '--', 'sh', '-c', 'echo started; read x');
    await holder.said(/started/);
    await using waiter = running('lock', `${prefix}listed`, '--', 'true');
    type List = { locks: { name: string; holders: { waiting: boolean; token: string }[] }[] };
    const list = async (...args: string[]): Promise<List> =>
      JSON.parse(await ok('lock', 'ls', ...args, '--json')) as List;
    await until(async () => (await list(name)).locks[0]?.holders.length === 2);
    for (const args of [[name], [`${prefix}lis`, '--prefix'], []]) {
      const { locks } = await list(...args);
      const found = locks.find((lock) => lock.name === name);
      assert.deepEqual(
        found?.holders.map(({ waiting }) => waiting),
        [false, true],
        args.join(' '),
      );
    }
    const [title, first, second] = (await ok('lock', 'ls', name)).split('\n');
    assert.match(title!, /^NAME +STATE +TOKEN +OWNER +HOLDER$/);
    assert.match(first!, new RegExp(`^${name} +holds +\\d+ +\\S+/\\d+ +${name}/[0-9a-f]+$`));
    assert.match(second!, new RegExp(`^${name} +waits +\\d+ `));
    holder.child.stdin!.end('\n');
    assert.equal((await waiter.ended).code, 0, waiter.err);
    assert.deepEqual((await list(name)).locks, []);
    for (const [args, none] of [
      [[name], `nobody holds the lock '${name}', or waits for it`],
      [[name, '--prefix'], `nobody holds a lock whose name begins with '${name}', or waits for it`],
    ] as const) {
      assert.equal((await at('lock', 'ls', ...args)).err, `quorate: ${none}\n`);
    }
  });

  test('release --force ends the command of the holder and serves the next', {
    timeout,
  }, async () => {
    const name = `${prefix}forced`;
    await using holder = running('lock', name, '--', 'sh', '-c', 'echo started; sleep 30');
    await holder.said(/started/);
    const next = at('lock', name, '--', 'true');
    assert.equal((await at('lock', 'release', name)).code, 2);
    assert.match(await ok('lock', 'release', '--force', name), new RegExp(`^${name} +holds `, 'm'));
    const { code, err } = await holder.ended;
    assert.equal(code, 4, err);
    assert.equal((await next).code, 0);
    const again = await at('lock', 'release', '--force', name);
    assert.deepEqual([again.code, again.err], [3, `quorate: nobody holds the lock '${name}'\n`]);
  });

  test('etcdctl lock and quorate lock exclude each other', {
    timeout,
    skip: noEtcdctl,
  }, async () => {
    const name = `${prefix}shared`;
    const theirs = new Cli(['lock', name], {
      program: [etcdctl, `--endpoints=${target.endpoints}`],
    });
    await theirs.said(new RegExp(`^${name}/[0-9a-f]+\n`));
    assert.equal((await at('lock', name, '--no-wait', '--', 'true')).code, 1);
    theirs.kill('SIGINT');
    await theirs.ended;
    assert.equal((await at('lock', name, '--wait', '30s', '--', 'true')).code, 0);
  });

  test('without a command the lock is held until Ctrl-C, and free then', { timeout }, async () => {
    const name = `${prefix}held`;
    await using holder = running('lock', name);
    await holder.said(new RegExp(`^${name}/[0-9a-f]+\n`));
    assert.equal((await at('lock', name, '--no-wait', '--', 'true')).code, 1);
    holder.kill('SIGINT');
    assert.equal((await holder.ended).code, 0, holder.err);
    assert.equal((await at('lock', name, '--no-wait', '--', 'true')).code, 0);
  });

  test('one candidate leads, listeners see it, and the next takes over', { timeout }, async () => {
    const name = `${prefix}election`;
    await using first = running(
      'elect',
      name,
      'one',
      '--',
      'sh',
      '-c',
      'echo "lead $QUORATE_ELECTION_VALUE"; read x',
    );
    await first.said(/lead one/);
    await using listener = running('elect', '--listen', name);
    await listener.said(/^one\n/);
    await using second = running('elect', name, 'two');
    first.child.stdin!.end('\n');
    assert.equal((await first.ended).code, 0, first.err);
    await second.said(/^.*\ntwo\n/);
    await listener.said(/^one\ntwo\n/);
    listener.kill('SIGINT');
    assert.equal((await listener.ended).code, 130);
  });
}
