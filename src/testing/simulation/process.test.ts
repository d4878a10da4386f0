import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeClock } from './node-clock.ts';
import { SimulatedProcess } from './process.ts';
import { SimulatedWorld } from './world.ts';

function start(): { world: SimulatedWorld; process: SimulatedProcess; seen: string[] } {
  const world = new SimulatedWorld({ seed: 1 });
  return { world, process: new SimulatedProcess(world), seen: [] };
}

test('what happens to a paused process waits, in order, behind what it had put off itself', async () => {
  const { world, process, seen } = start();
  const note = (name: string) => () => seen.push(`${name}@${world.nowMs}`);
  world.after(1, () => {
    process.defer(note('own'));
    process.pause();
  });
  for (const [delayMs, name] of [
    [2, 'first'],
    [3, 'second'],
  ] as const) {
    world.after(delayMs, () =>
      process.run(() => {
        note(name)();
        process.defer(note(`${name} deferred`));
      }),
    );
  }
  await world.run(9);
  assert.deepEqual(seen, []);
  world.after(1, () => process.continue());
  await world.run(20);
  assert.deepEqual(seen, [
    'own@10',
    'first@10',
    'first deferred@10',
    'second@10',
    'second deferred@10',
  ]);
});

test('what arrives while a process catches up waits for its turn', async () => {
  const { world, process, seen } = start();
  process.pause();
  for (const name of ['a', 'b', 'c']) process.run(() => seen.push(name));
  process.continue();
  process.run(() => seen.push('d'));
  await world.run(1);
  assert.deepEqual(seen, ['a', 'b', 'c', 'd']);
});

test('a process that is paused again while it catches up stops where it is', async () => {
  const { world, process, seen } = start();
  process.pause();
  process.run(() => {
    seen.push('a');
    process.pause();
  });
  process.run(() => seen.push('b'));
  process.continue();
  await world.run(1);
  assert.deepEqual(seen, ['a']);
  process.continue();
  await world.run(2);
  assert.deepEqual(seen, ['a', 'b']);
});

test('to a dead process nothing happens any more', async () => {
  const { world, process, seen } = start();
  process.pause();
  process.run(() => seen.push('waited'));
  process.defer(() => seen.push('deferred'));
  process.after(5, () => seen.push('timer'));
  world.after(1, () => {
    process.die();
    process.continue();
    process.run(() => seen.push('later'));
  });
  await world.run(10);
  assert.deepEqual(seen, []);
});

test('a clock runs at its own speed and its timers with it; wall time jumps, monotonic time does not', async () => {
  const { world, process, seen } = start();
  const clock = new NodeClock({ world, process, offsetMs: 500, driftPpm: 100_000 });
  clock.after(110, () => seen.push(`after@${Math.round(world.nowMs)}`));
  await world.run(1000);
  assert.deepEqual(seen, ['after@100']);
  assert.equal(Math.round(clock.now()), 1600);
  const wallMs = clock.wallNow();
  clock.jump(-3_600_000);
  assert.equal(clock.wallNow(), wallMs - 3_600_000);
  assert.equal(Math.round(clock.now()), 1600);
});

test('timers run a little late where the event loop is busy, never early', async () => {
  const { world, process } = start();
  const lateness = { mostMs: 2, random: world.random('timers') };
  const clock = new NodeClock({ world, process, lateness });
  const late: number[] = [];
  for (let i = 0; i < 50; i++) clock.after(10, () => late.push(world.nowMs - 10));
  await world.run(100);
  assert.ok(Math.min(...late) >= 0 && Math.max(...late) <= 2);
  assert.ok(new Set(late).size > 40);
});

test('timers that are due while the process is paused run once, late', async () => {
  const { world, process, seen } = start();
  const clock = new NodeClock({ world, process });
  const cancelTick = clock.every(10, () => seen.push(`tick@${world.nowMs}`));
  clock.after(25, () => seen.push(`after@${world.nowMs}`));
  const cancel = clock.after(30, () => seen.push('cancelled'));
  world.after(15, () => process.pause());
  world.after(100, () => {
    process.continue();
    cancel();
  });
  await world.run(115);
  assert.deepEqual(seen, ['tick@10', 'tick@100', 'after@100', 'tick@110']);
  assert.equal(clock.timers, 1);
  cancelTick();
  cancelTick();
  assert.equal(clock.timers, 0);
  await world.run(200);
  assert.equal(seen.length, 4);
});
