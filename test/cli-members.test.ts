/** What `quorate member` and `quorate status` say where the members are not as one would wish. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cli, cli, until } from './support/cli.ts';
import { freePorts } from './support/ports.ts';

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-members-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Place {
  readonly client: string;
  readonly peer: string;
}

async function serve(name: string, { client, peer }: Place, members: string, state: string) {
  const node = new Cli([
    ...['serve', '--name', name, '--data-dir', join(folder, name)],
    ...['--initial-cluster', members, '--initial-cluster-state', state],
    ...['--listen-client-urls', `http://${client}`, '--advertise-client-urls', `http://${client}`],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
  ]);
  await node.said(/ready to serve/);
  return node;
}

test('what is wrong with the members is said with what to do', { timeout: 60_000 }, async () => {
  const ports = await freePorts(6);
  const [a, b, c] = [0, 2, 4].map((at) => ({
    client: `127.0.0.1:${ports[at]}`,
    peer: `http://127.0.0.1:${ports[at + 1]}`,
  })) as [Place, Place, Place];
  const at = (place: Place, ...args: string[]) =>
    cli(...args, '--endpoints', place.client, '--command-timeout', '1s');

  await using _a = await serve('a', a, `a=${a.peer}`, 'new');
  const unknown = await at(a, 'member', 'promote', 'b');
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /member not found.*; `quorate member list` shows the IDs/);

  const added = await at(a, 'member', 'add', 'b', '--learner', '--peer-urls', b.peer, '--json');
  const { id } = (JSON.parse(added.out) as { member: { id: string } }).member;
  await using _b = await serve('b', b, `a=${a.peer},b=${b.peer}`, 'existing');
  const learner = await at(b, 'status');
  assert.equal(learner.code, 3);
  assert.match(learner.out, /^! list of members: .*not supported for learner/m);
  assert.doesNotMatch(learner.out, /there is no leader/);

  await until(async () => (await at(a, 'member', 'promote', id)).code === 0);
  await at(a, 'member', 'add', 'c', '--peer-urls', c.peer);
  const unhealthy = await at(
    a,
    'member',
    'add',
    'd',
    '--learner',
    '--peer-urls',
    'http://127.0.0.1:1',
  );
  assert.equal(unhealthy.code, 1);
  assert.match(unhealthy.err, /unhealthy cluster.*`quorate status` shows who does not; start it/);
});
