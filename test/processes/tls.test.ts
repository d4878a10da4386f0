/** A cluster whose clients and peers need certificates, by etcd's flags, made on the spot. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type EtcdTls, etcdKv } from 'quorate/drivers/etcd';
import { type TestCertificate, testAuthority } from '../../src/testing/certificates.ts';
import { Member, until } from '../support/cluster.ts';
import { engine, missingEtcd } from '../support/etcd.ts';
import { freePorts } from '../support/ports.ts';

const timeout = 60_000;
const authority = testAuthority('ours');
const stranger = testAuthority('a stranger');
const client = authority.issue('client');
const tls: EtcdTls = { ca: authority.cert, ...client };

let folder: string;
let members: Member[];
let endpoints: string[];

async function save(name: string, certificate: TestCertificate): Promise<void> {
  await writeFile(join(folder, `${name}.pem`), certificate.cert);
  await writeFile(join(folder, `${name}.key`), certificate.key);
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quorate-tls-'));
  await save('ca', authority);
  await save('client', client);
  await save('foreign', stranger.issue('node'));
  const ports = await freePorts(6);
  const names = ['n1', 'n2', 'n3'];
  const peer = (i: number): string => `https://127.0.0.1:${ports[3 + i]}`;
  const file = (name: string): string => join(folder, name);
  endpoints = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
  members = await Promise.all(
    names.map(async (name, i) => {
      await save(name, authority.issue(name));
      return new Member(name, endpoints[i]!, [
        ...[`--name=${name}`, `--data-dir=${file(`data-${name}`)}`, '--log-format=console'],
        `--listen-client-urls=https://${endpoints[i]}`,
        `--advertise-client-urls=https://${endpoints[i]}`,
        ...[`--listen-peer-urls=${peer(i)}`, `--initial-advertise-peer-urls=${peer(i)}`],
        `--initial-cluster=${names.map((one, j) => `${one}=${peer(j)}`).join(',')}`,
        ...[`--cert-file=${file(`${name}.pem`)}`, `--key-file=${file(`${name}.key`)}`],
        ...[`--trusted-ca-file=${file('ca.pem')}`, '--client-cert-auth'],
        ...[`--peer-cert-file=${file(`${name}.pem`)}`, `--peer-key-file=${file(`${name}.key`)}`],
        ...[`--peer-trusted-ca-file=${file('ca.pem')}`, '--peer-client-cert-auth'],
      ]);
    }),
  );
  for (const member of members) member.start();
  const kv = etcdKv({ endpoints, tls });
  try {
    await until('the cluster serves', () => kv.put('k', 'v'));
  } catch (error) {
    throw new Error(members.map((member) => member.output).join('\n'), { cause: error });
  } finally {
    await kv.close();
  }
});
after(async () => {
  await Promise.all(members.map((member) => member.kill('SIGKILL')));
  await rm(folder, { recursive: true, force: true });
});

async function assertServes(only = endpoints): Promise<void> {
  const kv = etcdKv({ endpoints: only, tls });
  try {
    await kv.put('serves', 'yes');
    assert.equal((await kv.get('serves'))!.value.toString(), 'yes');
  } finally {
    await kv.close();
  }
}

test('etcdctl works with a certificate, and is refused without one', {
  timeout,
  skip: missingEtcd('etcdctl'),
}, () => {
  const etcdctl = (...args: string[]): { status: number | null; output: string } => {
    const all = ['--command-timeout=1s', '--dial-timeout=1s', ...args];
    const { status, stdout, stderr } = spawnSync(engine('etcdctl'), all, { encoding: 'utf8' });
    return { status, output: stdout + stderr };
  };
  const secure = ['--endpoints', endpoints.map((endpoint) => `https://${endpoint}`).join(',')];
  const ca = ['--cacert', join(folder, 'ca.pem')];
  const own = ['--cert', join(folder, 'client.pem'), '--key', join(folder, 'client.key')];
  const foreign = ['--cert', join(folder, 'foreign.pem'), '--key', join(folder, 'foreign.key')];
  assert.deepEqual(etcdctl(...secure, ...ca, ...own, 'put', 'a', '1'), {
    status: 0,
    output: 'OK\n',
  });
  assert.deepEqual(etcdctl(...secure, ...ca, ...own, 'get', 'a'), { status: 0, output: 'a\n1\n' });
  const health = etcdctl(...secure, ...ca, ...own, 'endpoint', 'health');
  assert.equal(health.status, 0, health.output);
  for (const without of [ca, [...ca, ...foreign], own]) {
    const { status, output } = etcdctl(...secure, ...without, 'put', 'a', '2');
    assert.notEqual(status, 0, output);
  }
  const plain = etcdctl('--endpoints', endpoints[0]!, 'put', 'a', '2');
  assert.notEqual(plain.status, 0, plain.output);
  assert.deepEqual(etcdctl(...secure, ...ca, ...own, 'get', 'a'), { status: 0, output: 'a\n1\n' });
});

test('our client says why it is refused', { timeout }, async () => {
  const refused = async (given: EtcdTls | undefined): Promise<string> => {
    const kv = etcdKv({
      endpoints: endpoints[0]!,
      timeoutMs: 2000,
      ...(given === undefined ? {} : { tls: given }),
    });
    try {
      await kv.put('a', 'x');
      assert.fail('it was served');
    } catch (error) {
      return (error as Error).message;
    } finally {
      await kv.close();
    }
  };
  assert.match(await refused({ ca: authority.cert }), /certificate/i);
  assert.match(
    await refused({ ca: authority.cert, ...stranger.issue('client') }),
    /certificate|CA/i,
  );
  assert.match(await refused({ ...client }), /certificate/i);
  assert.match(await refused(undefined), /connection|closed|reset/i);
  await assertServes();
});

test('plain HTTP on the TLS port is cut off, over TLS with a certificate it is answered', {
  timeout,
}, async () => {
  const outcome = await new Promise<string>((resolve) => {
    const [host, port] = endpoints[0]!.split(':');
    const sent = request({ host, port, path: '/health' }, (response) =>
      resolve(String(response.statusCode)),
    );
    sent.on('error', (error) => resolve(error.message));
    sent.end();
  });
  assert.match(outcome, /socket hang up|ECONNRESET|400/);
  await assertServes();
});

test('a peer without our certificate cannot join; with its own again it can', {
  timeout,
}, async () => {
  const [, , third] = members as [Member, Member, Member];
  await third.kill('SIGKILL');
  const intruder = new Member(third.name, third.endpoint, [
    ...third.flags,
    `--peer-cert-file=${join(folder, 'foreign.pem')}`,
    `--peer-key-file=${join(folder, 'foreign.key')}`,
  ]);
  try {
    intruder.start();
    await until('it says why', () => /not trust our certificate/.test(intruder.output));
    await until('the others do', () =>
      members.slice(0, 2).every(({ output }) => /certificate/.test(output)),
    );
    await assertServes(endpoints.slice(0, 2));
    assert.doesNotMatch(intruder.output, /ready to serve/);
  } finally {
    await intruder.kill('SIGKILL');
  }
  third.start();
  await until('it serves again', () => assertServes([third.endpoint]).then(() => true));
});
