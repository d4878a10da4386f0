/** How nodes find their place: as founders, by joining, and after a restart, whatever they are started with. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type NodeOptions, openNode, type QuorateNode } from './node.ts';

const timeout = 30_000;

let folder = '';
let urls: Record<string, string> = {};
let open = new Set<QuorateNode>();

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quorate-seat-'));
  urls = {};
  for (const name of 'abcd') urls[name] = `http://127.0.0.1:${await freePort()}`;
});

afterEach(async () => {
  await Promise.all([...open].map((node) => node.close()));
  open = new Set();
  await rm(folder, { recursive: true, force: true });
});

/** Node `name` among `others`. */
async function start(
  name: string,
  others: string,
  options: Partial<NodeOptions> = {},
): Promise<QuorateNode> {
  const peers = Object.fromEntries([name, ...others].map((one) => [one, urls[one]!]));
  const dataDir = join(folder, name);
  const fast = { heartbeatMs: 20, electionMs: 200 };
  const node = await openNode({ name, peers, dataDir, ...fast, ...options });
  open.add(node);
  return node;
}

async function stop(node: QuorateNode): Promise<void> {
  await node.close();
  open.delete(node);
}

/** Adds `name` as a voter and starts it. */
async function added(node: QuorateNode, name: string, to: string): Promise<QuorateNode> {
  await node.changeMembers([{ kind: 'add', member: { peerUrls: [urls[name]!] } }]);
  const joined = await start(name, to, { join: true });
  await joined.ready();
  return joined;
}

test('a node joins one that is alone; both come back, whatever peers says by then', {
  timeout,
}, async () => {
  const a = await start('a', '');
  await a.ready();
  await a.kv.put('k', 'before');
  const b = await added(a, 'b', 'a');
  assert.equal((await b.kv.get('k'))?.value.toString(), 'before');
  assert.equal(b.status().clusterId, a.status().clusterId);
  const ids = [a.status().id, b.status().id];
  assert.deepEqual(
    a.members().map(({ id }) => id),
    [...ids].sort(),
  );

  await stop(a);
  await stop(b);
  const [a2, b2] = await Promise.all([start('a', 'bc'), start('b', 'a')]);
  await Promise.all([a2.ready(), b2.ready()]);
  assert.deepEqual([a2.status().id, b2.status().id], ids);
  assert.equal((await b2.kv.get('k'))?.value.toString(), 'before');
});

test('a joined node whose log is still empty asks again', { timeout }, async () => {
  const a = await start('a', '');
  await a.ready();
  await a.changeMembers([{ kind: 'add', member: { peerUrls: [urls['b']!], learner: true } }]);
  // Its first life hears from nobody: it listens elsewhere, and is gone at once.
  const elsewhere = [`http://127.0.0.1:${await freePort()}`];
  await stop(await start('b', 'a', { join: true, listenPeerUrls: elsewhere }));
  const b = await start('b', 'a');
  await b.ready();
  assert.equal(b.status().role, 'learner');
});

test('the folder of another node, or of another cluster, is refused', { timeout }, async () => {
  const a = await start('a', '');
  await a.ready();
  const b = await added(a, 'b', 'a');
  await stop(b);
  const stranger = { dataDir: join(folder, 'b') };
  await assert.rejects(start('c', 'a', { ...stranger, peers: urls, name: 'a' }), {
    code: 'ERR_DATA_DIR_MISMATCH',
    message: /is that of node/,
  });
  await stop(a);
  const alone = await start('c', '');
  await alone.ready();
  await stop(alone);
  for (const other of [{ clusterToken: 'other' }, { peers: { c: urls['c']!, d: urls['d']! } }]) {
    await assert.rejects(start('c', '', other), { code: 'ERR_DATA_DIR_MISMATCH' });
  }
});

test('a node moves to another address, before or after the others are told', {
  timeout,
}, async () => {
  const a = await start('a', '');
  await a.ready();
  const b = await added(a, 'b', 'a');
  const { id } = b.status();
  // Until it has told its name it has not started, as far as the others know.
  while (a.members().some(({ name }) => name === '')) await new Promise(setImmediate);
  // The log says so first.
  await a.changeMembers([{ kind: 'update', id, peerUrls: [urls['c']!] }]);
  await stop(b);
  urls['b'] = urls['c']!;
  const second = await start('b', 'a');
  await second.ready();
  await second.kv.put('k', 'second');
  await stop(second);
  // The node says so first: it introduces itself.
  urls['b'] = urls['d']!;
  const third = await start('b', 'a', { join: true });
  await third.ready();
  assert.equal(third.status().id, id);
  await third.kv.put('k', 'third');
  const members = await third.changeMembers([{ kind: 'update', id, peerUrls: [urls['d']!] }]);
  assert.deepEqual(members.find((one) => one.id === id)?.peerUrls, [urls['d']]);
});

test('a founder that moved while it was away is told apart from a stranger', {
  timeout,
}, async () => {
  const [a, b, c] = await Promise.all([start('a', 'bc'), start('b', 'ac'), start('c', 'ab')]);
  await a.ready();
  const { id } = c.status();
  await stop(c);
  await a.changeMembers([{ kind: 'update', id, peerUrls: [urls['d']!] }]);
  urls['c'] = urls['d']!;
  await assert.rejects(start('c', 'ab'), {
    code: 'ERR_DATA_DIR_MISMATCH',
    message: /where its address has changed, say join/,
  });
  const moved = await start('c', 'ab', { join: true });
  await moved.ready();
  assert.equal(moved.status().id, id);
  await stop(moved);
  const again = await start('c', 'ab');
  await again.ready();
  await stop(b);
  await again.kv.put('k', 'by two');
});

test('who joins has to be added first, and needs somebody to ask', { timeout }, async () => {
  const a = await start('a', '');
  await a.ready();
  await assert.rejects(start('b', 'a', { join: true }), {
    code: 'ERR_MEMBER_NOT_FOUND',
    message: /quorate member add b --learner --peer-urls http/,
  });
  await assert.rejects(start('b', '', { join: true }), { code: 'ERR_INVALID_ARGUMENT' });
  await assert.rejects(start('b', 'c', { join: true }), {
    code: 'ERR_UNAVAILABLE',
    message: /ECONNREFUSED/,
  });
  await a.changeMembers([{ kind: 'add', member: { peerUrls: [urls['b']!], learner: true } }]);
  // One that cannot be reached does no harm.
  const b = await start('b', 'ca', { join: true });
  await b.ready();
});

test('a peer that answers nonsense is told apart from one that is not there', {
  timeout,
}, async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  const { port } = new URL(urls['c']!);
  await new Promise<void>((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
  await assert.rejects(start('b', 'c', { join: true }), {
    code: 'ERR_UNAVAILABLE',
    message: /speaks HTTP, not the protocol between Quorate nodes/,
  });
  await new Promise((resolve) => server.close(resolve));
});

test('a founder that was alone refuses a damaged log while it finds none of the others', {
  timeout,
}, async () => {
  const a = await start('a', '');
  await a.ready();
  const b = await added(a, 'b', 'a');
  // Until it has told its name it has not started, as far as the others know.
  while (a.members().some(({ name }) => name === '')) await new Promise(setImmediate);
  const c = await added(a, 'c', 'ab');
  await b.kv.put('k', 'all');
  await Promise.all([a, b, c].map(stop));
  // What is sound ends before b was added.
  await damageLog('a', urls['b']!);
  await assert.rejects(start('a', ''), { code: 'ERR_CORRUPT' });
  await assert.rejects(start('a', 'b', { join: true }), { code: 'ERR_CORRUPT' });
  // Its log begins and ends whole now, and is too short all the same.
  await assert.rejects(start('a', ''), { code: 'ERR_CORRUPT' });
});

/** Flips a bit where `text` is first written. */
async function damageLog(name: string, text: string): Promise<void> {
  const wal = join(folder, name, 'member', 'wal');
  const file = (await readdir(wal)).filter((one) => one.endsWith('.wal')).sort()[0]!;
  const bytes = await readFile(join(wal, file));
  bytes[bytes.indexOf(text)]! ^= 1;
  await writeFile(join(wal, file), bytes);
}
