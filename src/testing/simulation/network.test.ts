import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PeerSocket } from '../../consensus/transport/sockets.ts';
import { SimulatedNetwork } from './network.ts';
import { SimulatedProcess } from './process.ts';
import { SimulatedWorld } from './world.ts';

interface Bench {
  readonly world: SimulatedWorld;
  readonly network: SimulatedNetwork;
  /** Of hosts a and b. */
  readonly processes: { readonly a: SimulatedProcess; readonly b: SimulatedProcess };
  /** What happened, in order: `b got hello`. */
  readonly seen: string[];
  /** Sockets that were accepted. */
  readonly accepted: PeerSocket[];
  /** Connects from a to b, watched. */
  connect(): PeerSocket;
}

async function bench(seed = 1): Promise<Bench> {
  const world = new SimulatedWorld({ seed });
  const network = new SimulatedNetwork(world);
  const processes = { a: new SimulatedProcess(world), b: new SimulatedProcess(world) };
  const seen: string[] = [];
  const accepted: PeerSocket[] = [];
  const watch = (name: string, socket: PeerSocket): PeerSocket => {
    socket.on('data', (chunk) => seen.push(`${name} got ${chunk}`));
    socket.on('error', (error) => seen.push(`${name} ${(error as NodeJS.ErrnoException).code}`));
    socket.on('close', () => seen.push(`${name} closed`));
    return socket;
  };
  await network.sockets('b', processes.b).listen(address('b'), {
    tls: undefined,
    handshakeTimeoutMs: 1000,
    maxConnections: 10,
    onSocket: (socket) => accepted.push(watch('b', socket)),
    onWarning: () => undefined,
  });
  const connect = (): PeerSocket =>
    watch('a', network.sockets('a', processes.a).connect(address('b'), undefined));
  return { world, network, processes, seen, accepted, connect };
}

function address(host: string) {
  return { url: `http://${host}:1`, host, port: 1, secure: false };
}

async function connected(seed?: number): Promise<Bench & { readonly near: PeerSocket }> {
  const made = await bench(seed);
  const near = made.connect();
  await made.world.run(100);
  assert.equal(made.accepted.length, 1);
  return { ...made, near };
}

test('bytes arrive late and in order, also those written before the connection was there', async () => {
  const { world, seen, accepted, connect } = await bench();
  const near = connect();
  for (let i = 0; i < 20; i++) near.write(Buffer.from(`${i}`));
  await world.run(0.1);
  assert.deepEqual(seen, []);
  await world.run(100);
  accepted[0]!.write(Buffer.from('answer'));
  await world.run(200);
  assert.deepEqual(seen, [...Array.from({ length: 20 }, (_, i) => `b got ${i}`), 'a got answer']);
});

test('a side that ends is heard by the other after all it said, and both are closed', async () => {
  const { world, network, seen, near } = await connected();
  near.write(Buffer.from('last words'));
  near.end();
  assert.equal(near.write(Buffer.from('too late')), false);
  await world.run(200);
  assert.deepEqual(seen, ['b got last words', 'b closed', 'a closed']);
  assert.equal(network.openSockets('a'), 0);
});

test('where nobody listens a connection is refused, where there is no power nothing is answered', async () => {
  const { world, network, seen, connect, processes } = await bench();
  network.processDied('b');
  connect();
  await world.run(100);
  assert.deepEqual(seen.splice(0), ['a ECONNREFUSED', 'a closed']);
  processes.b.die();
  network.powerCut('b');
  connect();
  await world.run(1900);
  assert.deepEqual(seen, []);
  await world.run(2200);
  assert.deepEqual(seen, ['a ETIMEDOUT', 'a closed']);
});

test('through a cut nothing passes and nobody is told; when it heals, what was sent arrives in order', async () => {
  const { world, network, seen, near, accepted } = await connected();
  network.cut('a', 'b');
  near.write(Buffer.from('1'));
  near.write(Buffer.from('2'));
  accepted[0]!.write(Buffer.from('other way'));
  await world.run(10_000);
  assert.deepEqual(seen, ['a got other way']);
  network.heal('a', 'b');
  near.write(Buffer.from('3'));
  await world.run(10_100);
  assert.deepEqual(seen, ['a got other way', 'b got 1', 'b got 2', 'b got 3']);
});

test('what was sent before its socket was given up still arrives when the cut heals', async () => {
  const { world, network, seen, near } = await connected();
  network.cut('a', 'b');
  near.write(Buffer.from('late'));
  near.destroy();
  network.cut('b', 'a');
  await world.run(1000);
  assert.deepEqual(seen, ['a closed']);
  network.healAll();
  await world.run(2000);
  assert.deepEqual(seen, ['a closed', 'b got late', 'b closed']);
});

test('a reset closes both sides with an error and loses what is under way', async () => {
  const { world, network, seen, near } = await connected();
  network.weather.delayMinMs = 50;
  near.write(Buffer.from('lost'));
  network.reset('a', 'b');
  await world.run(500);
  assert.deepEqual(seen.sort(), ['a ECONNRESET', 'a closed', 'b ECONNRESET', 'b closed']);
});

test('a process that dies resets its connections; a power cut tells nobody until the machine is back', async () => {
  const died = await connected();
  died.processes.b.die();
  died.network.processDied('b');
  await died.world.run(200);
  assert.deepEqual(died.seen, ['a ECONNRESET', 'a closed']);

  const { world, network, seen, near, processes } = await connected();
  processes.b.die();
  network.powerCut('b');
  near.write(Buffer.from('hello?'));
  await world.run(5000);
  assert.deepEqual(seen, []);
  network.powerOn('b');
  near.write(Buffer.from('hello?'));
  await world.run(6000);
  assert.deepEqual(seen, ['a ECONNRESET', 'a closed']);
});

test('what reaches a paused process waits there', async () => {
  const { world, seen, near, processes } = await connected();
  processes.b.pause();
  near.write(Buffer.from('x'));
  near.end();
  await world.run(1000);
  assert.deepEqual(seen, []);
  processes.b.continue();
  await world.run(1100);
  assert.deepEqual(seen, ['b got x', 'b closed', 'a closed']);
});

test('a sender is told to stop while too much is under way, and when to go on', async () => {
  const { world, near, seen } = await connected();
  near.on('drain', () => seen.push('drain'));
  let taken = 0;
  while (near.write(Buffer.alloc(64 * 1024))) taken += 1;
  assert.equal(taken, 4);
  await world.run(200);
  assert.equal(seen.filter((line) => line === 'drain').length, 1);
});

test('pieces are split, corrupted, sent again and reset as often as the weather says', async () => {
  const { world, network, seen, near } = await connected(5);
  Object.assign(network.weather, { splitRate: 0.5, corruptRate: 0.2, retransmitRate: 0.2 });
  for (let i = 0; i < 200; i++) near.write(Buffer.from('abcdefgh'));
  await world.run(60_000);
  const got = seen.map((line) => line.slice('b got '.length));
  assert.equal(got.join('').length, 1600);
  assert.ok(got.length > 250 && got.length < 350, `${got.length} pieces`);
  const wrong = world.faults['network-corrupt']!;
  assert.ok(wrong > 15 && wrong < 70, `${wrong} corrupted`);
  assert.notEqual(got.join(''), 'abcdefgh'.repeat(200));
  assert.ok(world.nowMs >= 200);
  network.weather.resetRate = 1;
  near.write(Buffer.from('the last one'));
  await world.run(61_000);
  assert.equal(seen.filter((line) => line.endsWith('ECONNRESET')).length, 2);
});

test('a port is taken once, and free again when its listener closes', async () => {
  const { network, processes } = await bench();
  const options = {
    tls: undefined,
    handshakeTimeoutMs: 1,
    maxConnections: 1,
    onSocket: () => undefined,
    onWarning: () => undefined,
  };
  const sockets = network.sockets('b', processes.b);
  await assert.rejects(sockets.listen(address('b'), options), { code: 'EADDRINUSE' });
  const other = network.sockets('c', processes.b);
  const listener = await other.listen(address('c'), options);
  await listener.close();
  await (await other.listen(address('c'), options)).close();
  assert.equal(network.openSockets('c'), 0);
});
