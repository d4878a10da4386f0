/** `quorate serve` as a process: ready, refusals, a clean end. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cli, cli } from './support/cli.ts';
import { freePorts } from './support/ports.ts';

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-serve-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

const timeout = 60_000;

async function flags(name: string, clientPort = 0): Promise<string[]> {
  const [peerPort] = await freePorts(1);
  const peer = `http://127.0.0.1:${peerPort}`;
  return [
    'serve',
    `--data-dir=${join(folder, name)}`,
    ...['-listen-client-urls', `http://127.0.0.1:${clientPort}`],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
    ...['--strict-reconfig-check=false', '--made-up-flag', 'x'],
  ];
}

const READY = /ready to serve client requests.*"http:\/\/(127\.0\.0\.1:\d+)"/;

test('a node says when it serves, keeps its data across a clean stop, and ends with 0', {
  timeout,
}, async () => {
  const argv = await flags('a');
  {
    await using node = new Cli(argv);
    const [, endpoint] = await node.said(READY);
    assert.match(node.err, /"level":"warn".*--made-up-flag=x has no effect/);
    const put = await cli('kv', 'put', 'k', 'v', '--endpoints', endpoint!);
    assert.deepEqual([put.code, put.out], [0, 'OK\n'], put.err);
    node.kill('SIGTERM');
    const { code, signal, out } = await node.ended;
    assert.deepEqual([code, signal, out], [0, null, '']);
    for (const text of node.err.trim().split('\n')) JSON.parse(text);
  }
  await using again = new Cli(argv);
  const [, endpoint] = await again.said(READY);
  const got = await cli('kv', 'get', 'k', '--endpoints', endpoint!);
  assert.deepEqual([got.code, got.out], [0, 'k\nv\n'], got.err);
});

test('acknowledged data survives kill -9', { timeout }, async () => {
  const argv = await flags('killed');
  {
    await using node = new Cli(argv);
    const [, endpoint] = await node.said(READY);
    assert.equal((await cli('kv', 'put', 'k', 'v', '--endpoints', endpoint!)).code, 0);
    node.kill('SIGKILL');
    assert.equal((await node.ended).signal, 'SIGKILL');
  }
  await using again = new Cli(argv);
  const [, endpoint] = await again.said(READY);
  assert.equal((await cli('kv', 'get', 'k', '--endpoints', endpoint!)).out, 'k\nv\n');
});

test('a second node on the same data is refused, and the first one stays', {
  timeout,
}, async () => {
  const argv = await flags('b');
  await using first = new Cli(argv);
  const [, endpoint] = await first.said(READY);
  const second = await cli(...(await flags('b')));
  assert.equal(second.code, 1);
  const last = JSON.parse(second.err.trim().split('\n').at(-1)!) as { level: string; code: string };
  assert.equal(last.level, 'error', second.err);
  assert.ok(['ERR_DATA_DIR_LOCKED', 'ERR_DATA_DIR_MISMATCH'].includes(last.code), second.err);
  assert.equal((await cli('kv', 'put', 'k', 'v', '--endpoints', endpoint!)).code, 0);
});

test('a client port in use is named, with exit code 1', { timeout }, async () => {
  await using first = new Cli(await flags('c'));
  const [, endpoint] = await first.said(READY);
  const port = Number(endpoint!.split(':')[1]);
  const second = await cli(...(await flags('d', port)));
  assert.equal(second.code, 1);
  assert.match(second.err, new RegExp(`"level":"error".*${port}.*"code":"ERR_ADDRESS_IN_USE"`));
});

test('a node refuses the data of another cluster', { timeout }, async () => {
  const argv = await flags('e');
  {
    await using node = new Cli(argv);
    await node.said(READY);
  }
  const other = await cli(...argv, '--initial-cluster-token=other');
  assert.equal(other.code, 1);
  assert.match(other.err, /"level":"error".*"code":"ERR_DATA_DIR_MISMATCH"/);
});

test('a flag that makes no sense ends with 2 before anything is opened', { timeout }, async () => {
  const { code, err } = await cli('serve', '--election-timeout=soon');
  assert.equal(code, 2);
  assert.match(
    err,
    /^quorate: --election-timeout takes a whole number.*\nsee: quorate help serve\n$/,
  );
});
