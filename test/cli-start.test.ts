/** `quorate start` as a process: three nodes, a kill, a second start, the end. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cli, cli, runs, until } from './support/cli.ts';
import { freePorts } from './support/ports.ts';

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-start-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

const timeout = 120_000;

interface Ports {
  readonly flags: string[];
  readonly endpoints: string;
  readonly clients: readonly number[];
}

async function ports(): Promise<Ports> {
  const all = await freePorts(6);
  const clients = all.slice(0, 3);
  return {
    flags: ['--client-ports', clients.join(), '--peer-ports', all.slice(3).join()],
    endpoints: clients.map((port) => `127.0.0.1:${port}`).join(),
    clients,
  };
}

const pids = (output: string): number[] =>
  [...output.matchAll(/^ {2}n\d .* pid (\d+)$/gm)].map((match) => Number(match[1]));

test('three nodes come up, survive a kill -9 of the leader, and stop together', {
  timeout,
}, async () => {
  const { flags, endpoints } = await ports();
  const data = join(folder, 'a');
  await using cluster = new Cli(['start', '--data-dir', data, ...flags]);
  const [, leader, name] = await cluster.said(/kill -9 (\d+) +# (n\d), the leader/);
  assert.equal((await cli('kv', 'put', 'k', 'v', '--endpoints', endpoints)).out, 'OK\n');

  const second = await cli('start', '--data-dir', data, ...flags);
  assert.equal(second.code, 1);
  assert.match(second.err, /^quorate: process \d+ already runs a cluster on .*\n$/);

  process.kill(Number(leader), 'SIGKILL');
  await cluster.said(new RegExp(`${name} +was ended by SIGKILL; it is started again in 0\\.5 s`));
  await cluster.said(/n\d +is the leader now \(term \d+\)/);
  const [, again] = await cluster.said(new RegExp(`${name} +started again, pid (\\d+)`));
  await cluster.said(new RegExp(`${name} +is back as follower`));
  assert.equal((await cli('kv', 'get', 'k', '--endpoints', endpoints)).out, 'k\nv\n');
  const status = await cli('status', '--json', '--endpoints', endpoints);
  assert.equal(status.code, 0, status.out);

  const nodes = [...pids(cluster.out).filter((pid) => pid !== Number(leader)), Number(again)];
  assert.equal(nodes.length, 3);
  cluster.kill('SIGINT');
  cluster.kill('SIGINT'); // a terminal and npm both send it
  const { code, out } = await cluster.ended;
  assert.equal(code, 0, out);
  assert.match(out, /stopped; the data stays in .*\n$/);
  for (const pid of nodes) assert.equal(runs(pid), false);
});

test('the nodes stop when start itself is killed', { timeout }, async () => {
  const { flags } = await ports();
  await using cluster = new Cli(['start', '--data-dir', join(folder, 'b'), ...flags]);
  await cluster.said(/Ctrl-C stops the nodes/);
  const nodes = pids(cluster.out);
  assert.equal(nodes.length, 3);
  cluster.kill('SIGKILL');
  await until(() => nodes.every((pid) => !runs(pid)));
  // Its note in the folder is no obstacle to the next start.
  await using next = new Cli(['start', '--data-dir', join(folder, 'b'), ...flags]);
  await next.said(/The cluster is up/);
});

test('a port in use is named before anything is started', { timeout }, async () => {
  const { flags, clients } = await ports();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(clients[1], '127.0.0.1', resolve));
  try {
    const { code, err } = await cli('start', '--data-dir', join(folder, 'c'), ...flags);
    assert.equal(code, 1);
    assert.match(err, new RegExp(`^quorate: port ${clients[1]} is in use by another process`));
  } finally {
    other.close();
  }
});

test('data of other ports are refused with the reason, and everything is stopped again', {
  timeout,
}, async () => {
  const data = join(folder, 'd');
  {
    await using cluster = new Cli(['start', '--data-dir', data, ...(await ports()).flags]);
    await cluster.said(/The cluster is up/);
  }
  const { code, out, err } = await cli('start', '--data-dir', data, ...(await ports()).flags);
  assert.equal(code, 1);
  assert.match(
    err,
    /^quorate: n\d could not start.*the ports, the number of nodes and the --consensus it was made with.*\n$/,
  );
  for (const pid of pids(out)) assert.equal(runs(pid), false);
});
