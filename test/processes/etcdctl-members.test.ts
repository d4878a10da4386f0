/** Stock etcdctl changes the members of our cluster and of a real etcd cluster: the same commands, the same answers. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startCluster, until } from '../support/cluster.ts';
import { engine, missingEtcd, startEtcd } from '../support/etcd.ts';
import { freePorts } from '../support/ports.ts';
import { Transcript } from '../support/transcript.ts';

/** etcd adds no member before all have been connected for five seconds. */
const SETTLED_MS = 5_500;
/** Ids of added members are made of the time in seconds. */
const NEXT_SECOND_MS = 1_100;

interface Listed {
  readonly ID: string;
  readonly name?: string;
  readonly peerURLs: readonly string[];
  readonly clientURLs?: readonly string[];
}

function ask(endpoints: readonly string[], ...args: string[]): string {
  const all = ['--endpoints', endpoints.join(), '--command-timeout=5s', ...args];
  const { status, stdout, stderr } = spawnSync(engine('etcdctl'), all, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

function list(endpoints: readonly string[]): Listed[] {
  const out = ask(endpoints, 'member', 'list', '-w', 'json');
  const quoted = out.replaceAll(/"(ID|cluster_id|member_id)":(\d+)/g, '"$1":"$2"');
  return (JSON.parse(quoted) as { members: Listed[] }).members;
}

/** As etcdctl prints ids in lists: without leading zeros. */
const hex = (id: string): string => BigInt(id).toString(16);

/** Members come in the order of their ids, which is another one each time. */
function sorted(lines: readonly string[]): string[] {
  const parts = lines.map((line) => {
    // An id with a leading zero makes a column narrower, or is padded with a blank.
    const even = line.replaceAll(/ +/g, ' ').replaceAll(/-{3,}/g, '---');
    return even.replace(/"(.*)"$/, (_, listed: string) => `"${listed.split(',').sort().join()}"`);
  });
  const blocks: string[] = [];
  let rows: string[] = [];
  for (const line of [...parts, '']) {
    if (/^(\||[\w-]+, )/.test(line)) rows.push(line);
    else {
      blocks.push(...rows.sort(), line);
      rows = [];
    }
  }
  return blocks;
}

async function script(endpoints: readonly string[], leader: string): Promise<string[]> {
  const members = await until('all have told their names', () => {
    const all = list(endpoints);
    return all.every(({ name }) => name !== undefined) && all;
  });
  const t = new Transcript([leader]);
  const leading = members.find(({ clientURLs }) => clientURLs![0]!.endsWith(leader))!;
  const others = members.filter((one) => one !== leading);
  const order = [undefined, leading.name, ...others.map(({ name }) => name)];
  for (const [i, one] of [leading, ...others].entries()) {
    t.alias(hex(one.ID), `member${i}`.padEnd(16, '-'));
    t.alias(one.peerURLs[0]!.slice('http://'.length), `peer${i}`.padEnd(15, '-'));
    t.alias(one.clientURLs![0]!.slice('http://'.length), `client${i}`.padEnd(15, '-'));
    // In capitals: an alias must not be the name of another.
    t.alias(one.name!, `N${i}`);
  }
  const ports = await freePorts(3);
  const urls = ports.map((port, i) => {
    t.alias(`127.0.0.1:${port}`, `new${i}`.padEnd(15, '-'));
    return `http://127.0.0.1:${port}`;
  });
  const voter = hex(others[0]!.ID);
  t.run('member', 'list');
  t.run('member', 'list', '-w', 'table');
  await delay(SETTLED_MS);
  t.run('member', 'add', 'x', '--learner', `--peer-urls=${urls[0]}`);
  const added = hex(list(endpoints).find(({ peerURLs }) => peerURLs[0] === urls[0])!.ID);
  await delay(NEXT_SECOND_MS);
  t.run('member', 'add', 'x', '--learner', `--peer-urls=${urls[0]}`);
  t.run('member', 'add', 'y', '--learner', `--peer-urls=${urls[1]}`);
  t.run('member', 'add', 'y', `--peer-urls=${others[0]!.peerURLs[0]}`);
  t.run('member', 'list', '-w', 'table');
  t.run('member', 'promote', added);
  t.run('member', 'promote', voter);
  t.run('member', 'promote', '1234');
  t.run('member', 'remove', '1234');
  t.run('member', 'update', '1234', `--peer-urls=${urls[1]}`);
  t.run('member', 'update', added, `--peer-urls=${urls[2]}`);
  t.run('member', 'update', added, `--peer-urls=${others[0]!.peerURLs[0]}`);
  t.run('member', 'update', voter, `--peer-urls=${others[0]!.peerURLs[0]}`);
  t.run('move-leader', added);
  t.run('move-leader', '1234');
  t.run('member', 'list');
  t.run('member', 'remove', added);
  t.run('member', 'remove', added);
  t.run('member', 'promote', added);
  t.run('member', 'list');
  t.run('member', 'add', 'z', `--peer-urls=${urls[1]}`);
  t.run('member', 'list');
  const late = hex(list(endpoints).find(({ peerURLs }) => peerURLs[0] === urls[1])!.ID);
  t.run('member', 'remove', voter);
  t.run('member', 'remove', late);
  t.run('put', 'after', 'it');
  for (const [call, body] of jsonCalls(urls[2]!)) t.note(await postJson(leader, order, call, body));
  return sorted(t.lines);
}

/** The same calls through the JSON gateway. */
function jsonCalls(url: string): [call: string, body: object][] {
  return [
    ['add', {}],
    ['add', { peerURLs: ['x'] }],
    ['add', { peerURLs: [url], isLearner: true }],
    ['promote', { ID: '4660' }],
    ['remove', { ID: '4660' }],
    ['update', { ID: '4660', peerURLs: [url] }],
  ];
}

/** Status and body, with members in `order` of their names. */
async function postJson(
  endpoint: string,
  order: readonly (string | undefined)[],
  call: string,
  body: object,
): Promise<string> {
  const path = `http://${endpoint}/v3/cluster/member/${call}`;
  const answer = await fetch(path, { method: 'POST', body: JSON.stringify(body) });
  const text = (await answer.text()).replaceAll(/"(\w*(?:ID|_id|_term))":"\d+"/g, '"$1":"…"');
  const parsed = JSON.parse(text) as { members?: { name?: string }[] };
  parsed.members?.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return `POST ${call}: ${answer.status} ${JSON.stringify(parsed)}`;
}

test('etcdctl says the same of changed members, and of changes refused, as of etcd', {
  skip: missingEtcd('etcd', 'etcdctl'),
  timeout: 120_000,
}, async () => {
  const ours = await startCluster();
  let ourLines: string[];
  try {
    ourLines = await script(ours.endpoints, (await ours.awaitLeader()).endpoint);
  } finally {
    await ours.close();
  }
  const etcd = await startEtcd();
  try {
    const leader = await until('etcd has a leader', () => etcd.leader());
    assert.deepEqual(ourLines, await script(etcd.endpoints, leader));
  } finally {
    await etcd.close();
  }
});
