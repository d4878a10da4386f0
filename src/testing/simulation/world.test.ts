import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedWorld } from './world.ts';

test('events happen by time, and at the same time in the order in which they were scheduled', async () => {
  const world = new SimulatedWorld({ seed: 1 });
  const seen: string[] = [];
  for (const [delayMs, name] of [
    [5, 'd'],
    [1, 'a'],
    [3, 'b'],
    [3, 'c'],
  ] as const) {
    world.after(delayMs, () => seen.push(`${name}@${world.nowMs}`));
  }
  await world.run(4);
  assert.deepEqual(seen, ['a@1', 'b@3', 'c@3']);
  assert.equal(world.nowMs, 4);
  await world.run(100);
  assert.deepEqual(seen.slice(3), ['d@5']);
  assert.equal(world.nowMs, 100);
});

test('all promises that an event settles are told before the next event, and before afterEvent', async () => {
  const world = new SimulatedWorld({ seed: 1 });
  const seen: string[] = [];
  const chain = async (name: string): Promise<void> => {
    for (let i = 0; i < 50; i++) await undefined;
    await new Promise<void>((resolve) => process.nextTick(resolve));
    seen.push(name);
  };
  world.after(1, () => void chain('first'));
  world.after(1, () => void chain('second'));
  world.afterEvent = () => seen.push(`after ${world.events}`);
  await world.run(2);
  assert.deepEqual(seen, ['first', 'after 1', 'second', 'after 2']);
});

test('a cancelled event does not happen, however many there are', async () => {
  const world = new SimulatedWorld({ seed: 1 });
  let happened = 0;
  const cancels = Array.from({ length: 10_000 }, (_, i) => world.after(i % 97, () => happened++));
  for (const [i, cancel] of cancels.entries()) if (i % 10 !== 0) cancel();
  for (const cancel of cancels.slice(1, 10)) cancel();
  assert.equal(world.waiting, 1000);
  await world.run(1000);
  assert.equal(happened, 1000);
});

test('a run ends with the event after which it is not to go on, and goes on from there', async () => {
  const world = new SimulatedWorld({ seed: 1 });
  let count = 0;
  const again = (): void => {
    count += 1;
    world.after(1, again);
  };
  again();
  await world.run(1000, () => count < 10);
  assert.equal(count, 10);
  assert.equal(world.nowMs, 9);
  await world.run(20);
  assert.equal(world.nowMs, 20);
  assert.equal(count, 21);
});

test('a violation ends the run after its event; so does an error that nobody caught', async () => {
  const world = new SimulatedWorld({ seed: 1 });
  world.after(1, () => {
    throw new Error('out of the blue');
  });
  world.after(2, () => assert.fail('the run went on'));
  await world.run(10);
  assert.equal(world.violation?.property, 'uncaught-error');
  assert.match(world.violation.message, /out of the blue/);
  assert.equal(world.violation.atMs, 1);
  assert.equal(world.violation.event, 1);
  await world.run(10);
});

test('what one stream of random numbers gives does not depend on what others gave', () => {
  const draw = (others: number): number[] => {
    const world = new SimulatedWorld({ seed: 7 });
    const noise = world.random('noise');
    for (let i = 0; i < others; i++) noise.below(10);
    const random = world.random('disk/a');
    return Array.from({ length: 5 }, () => random.below(1_000_000));
  };
  assert.deepEqual(draw(0), draw(9));
  const other = new SimulatedWorld({ seed: 8 }).random('disk/a');
  assert.notDeepEqual(
    draw(0),
    [1, 2, 3, 4, 5].map(() => other.below(1_000_000)),
  );
});

test('the hash of the trace tells apart what happened, when, and in which order', async () => {
  const hash = async (build: (world: SimulatedWorld) => void): Promise<string> => {
    const world = new SimulatedWorld({ seed: 1 });
    build(world);
    await world.run(10);
    return world.traceHash;
  };
  const nothing = (): void => undefined;
  const hashes = await Promise.all([
    hash(() => undefined),
    hash((world) => world.after(1, nothing)),
    hash((world) => world.after(1.000_001, nothing)),
    hash((world) => world.after(1, () => world.trace('sent', 'a', 1))),
    hash((world) => world.after(1, () => world.trace('sent', 'a', 2))),
    hash((world) => world.after(1, () => world.trace('sent', 'b', 1))),
  ]);
  assert.equal(new Set(hashes).size, hashes.length);
  assert.equal(hashes[1], await hash((world) => world.after(1, nothing)));
  // Notes are for people and may name what differs between machines.
  assert.equal(hashes[1], await hash((world) => world.after(1, () => world.note('at /tmp/x'))));
});

test('the newest lines of a trace are kept where they are asked for', async () => {
  const world = new SimulatedWorld({ seed: 1, keepTrace: true });
  world.after(1.5, () => {
    world.trace('sent', 'a', 3);
    world.fault('cut');
  });
  await world.run(10);
  assert.deepEqual(world.traceLines, ['1.500 sent a 3', '1.500 fault cut']);
  assert.deepEqual(world.faults, { cut: 1 });
  for (let i = 0; i < 250_000; i++) world.note(`line ${i}`);
  assert.equal(world.traceLines.length, 100_000);
  assert.match(world.traceLines.at(-1)!, /line 249999$/);
});
