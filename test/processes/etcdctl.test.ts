/**
 * Stock etcdctl against three of our nodes, and the same script against a real etcd cluster: the
 * output must be the same but for ids, addresses and times.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { startCluster, until } from '../support/cluster.ts';
import { engine, missingEtcd, startEtcd } from '../support/etcd.ts';
import { ended, Transcript } from '../support/transcript.ts';

async function script(endpoints: readonly string[]): Promise<string[]> {
  const t = new Transcript(endpoints);
  for (const [key, value] of ['a=1', 'b=3', 'c=2', 'ab=4', 'a/x=5'].map((pair) =>
    pair.split('='),
  )) {
    t.run('put', key!, value!);
  }
  t.run('put', 'a', '10', '--prev-kv');
  t.run('get', 'a');
  t.run('get', 'a', '-w', 'fields');
  t.run('get', 'a', 'c');
  t.run('get', 'a', '--prefix');
  t.run('get', 'b', '--from-key');
  t.run('get', '', '--prefix', '--limit=2');
  t.run('get', '', '--prefix', '--count-only', '-w', 'fields');
  t.run('get', '', '--prefix', '--keys-only');
  t.run('get', '', '--prefix', '--sort-by=VALUE', '--order=DESCEND', '--print-value-only');
  t.run('get', '', '--prefix', '--sort-by=MODIFY', '--order=ASCEND');
  t.run('get', 'a', '--rev=2');
  t.run('get', 'a', '--rev=1000');
  t.run('get', 'a', '--consistency=s');
  t.run('put', '', 'nothing');
  t.run('del', 'missing');
  t.run('del', 'ab', '--prev-kv');
  t.run('del', 'a/', '--prefix');
  t.runWithInput('value("a") = "10"\n\nput a 11\nget a\n\nput a 12\n\n', 'txn', '-i=true');
  t.runWithInput('version("zz") > "0"\n\nput z 1\n\nput y 1\nget y\n\n', 'txn', '-i=true');
  t.runWithInput('\n\nput d 1\nput d 2\n\n\n', 'txn', '-i=true');

  const watch = t.start('watch', 'w', '--prefix', '--rev=1', '--prev-kv');
  t.run('put', 'w1', 'first');
  t.run('put', 'w1', 'second');
  t.run('del', 'w1');
  await until('the watch has shown all', () => watch.output().includes('DELETE'));
  watch.child.kill('SIGINT');
  await ended(watch.child);
  t.note(watch.output());

  t.run('lease', 'grant', '1');
  const lease = /lease ([0-9a-f]+)/.exec(t.run('lease', 'grant', '600'))![1]!;
  t.run('put', 'leased', 'x', `--lease=${lease}`);
  t.run('lease', 'keep-alive', lease, '--once');
  t.run('lease', 'timetolive', lease, '--keys');
  t.run('lease', 'revoke', lease);
  t.run('get', 'leased');
  t.run('lease', 'revoke', lease);
  t.run('lease', 'timetolive', lease);
  t.run('put', 'leased', 'x', '--lease=123456789abcdef');

  t.run('lock', 'l', 'echo', 'held');
  const elected = t.start('elect', 'e', 'candidate');
  await until('the election is won', () => elected.output().includes('candidate'));
  t.run('get', 'e/', '--prefix', '--print-value-only');
  elected.child.kill('SIGINT');
  await ended(elected.child);

  t.run('compaction', '4');
  t.run('compaction', '3');
  t.run('compaction', '9999');
  t.run('get', 'a', '--rev=2');
  t.run('get', 'a', '--rev=4');
  const compacted = t.start('watch', 'a', '--rev=2');
  await ended(compacted.child);
  t.note(compacted.output());
  t.run('alarm', 'list');
  return t.lines;
}

test('etcdctl says the same of our cluster as of etcd', {
  skip: missingEtcd('etcd', 'etcdctl'),
  timeout: 120_000,
}, async () => {
  const ours = await startCluster();
  let ourLines: string[];
  try {
    ourLines = await script(ours.endpoints);
  } finally {
    await ours.close();
  }
  const etcd = await startEtcd();
  try {
    assert.deepEqual(ourLines, await script(etcd.endpoints));
  } finally {
    await etcd.close();
  }
});

test('etcdctl sees three healthy members of ours, one of them the leader', {
  skip: missingEtcd('etcdctl'),
  timeout: 60_000,
}, async () => {
  const cluster = await startCluster();
  const etcdctl = (...args: string[]): string => {
    const all = ['--endpoints', cluster.endpoints.join(','), ...args];
    const { status, stdout, stderr } = spawnSync(engine('etcdctl'), all, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  try {
    const members = await until('all members have told their names', () => {
      const list = JSON.parse(etcdctl('member', 'list', '-w', 'json')) as {
        members: { name?: string; clientURLs?: string[]; peerURLs: string[] }[];
      };
      return list.members.every((member) => member.name !== undefined) && list.members;
    });
    assert.deepEqual(members.map((member) => member.name).sort(), ['n1', 'n2', 'n3']);
    assert.deepEqual(
      members.flatMap((member) => member.clientURLs).sort(),
      cluster.endpoints.map((endpoint) => `http://${endpoint}`).sort(),
    );
    const statuses = JSON.parse(etcdctl('endpoint', 'status', '-w', 'json')) as {
      Status: { header: { member_id: number }; leader: number; version: string };
    }[];
    assert.equal(statuses.length, 3);
    assert.equal(
      statuses.filter(({ Status }) => Status.leader === Status.header.member_id).length,
      1,
    );
    const health = JSON.parse(etcdctl('endpoint', 'health', '-w', 'json')) as { health: boolean }[];
    assert.deepEqual(
      health.map((one) => one.health),
      [true, true, true],
    );
    const hashes = JSON.parse(etcdctl('endpoint', 'hashkv', '-w', 'json')) as {
      HashKV: { hash: number };
    }[];
    assert.equal(
      new Set(hashes.map((one) => one.HashKV.hash)).size,
      1,
      'all members hold the same',
    );
  } finally {
    await cluster.close();
  }
});
