import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Atlas, type SeatView } from './atlas.ts';
import { SeatLog } from './checks/seat-log.ts';
import { NotedWorld } from './checks/testing.ts';

/** Seats that hold the log up to `reached`, as long as they run. */
function view(reached: { index: number; running: boolean }): (seat: number) => SeatView {
  return () => {
    const log = new SeatLog('a', 'raft');
    log.durable.push(...Array.from({ length: reached.index }, () => 1));
    return { log, isRunning: reached.running, chosen: reached.index, isOnProbation: false };
  };
}

test('never more than a minority of the disks is hurt at one time', () => {
  for (const [seats, most] of [
    [1, 0],
    [2, 0],
    [3, 1],
    [5, 2],
    [7, 3],
  ] as const) {
    const reached = { index: 100, running: true };
    const atlas = new Atlas(new NotedWorld(), seats, view(reached));
    // All hold the log once; from then on nobody catches up.
    let hurt = atlas.mayHurt(0) ? 1 : 0;
    reached.running = false;
    for (let seat = 1; seat < seats; seat++) if (atlas.mayHurt(seat)) hurt += 1;
    assert.equal(hurt, most, `of ${seats}`);
    assert.equal(atlas.mayFail.size, most);
  }
});

test('a seat that holds all that was chosen again makes room for the next', () => {
  const reached = { index: 100, running: true };
  const atlas = new Atlas(new NotedWorld(), 3, view(reached));
  assert.equal(atlas.mayHurt(0), true);
  reached.index = 99;
  assert.equal(atlas.mayHurt(1), false);
  assert.equal(atlas.mayHurt(0), true, 'the same seat again');
  reached.index = 101;
  assert.equal(atlas.mayHurt(1), true);
});

test('a node that never held the log counts as one that lost it', () => {
  const atlas = new Atlas(new NotedWorld(), 3, view({ index: 3, running: true }));
  assert.equal(atlas.mayHurt(0), false);
});

test('a pause is remembered until long after its end', () => {
  const world = new NotedWorld();
  const atlas = new Atlas(world, 3, () => ({
    log: undefined,
    isRunning: false,
    chosen: 0,
    isOnProbation: false,
  }));
  assert.equal(atlas.wasPausedSince(0, 0), false);
  world.nowMs = 10;
  atlas.paused(0);
  assert.equal(atlas.wasPausedSince(0, 1_000_000), true);
  world.nowMs = 20;
  atlas.continued(0);
  assert.equal(atlas.wasPausedSince(0, 15), true);
  assert.equal(atlas.wasPausedSince(0, 25), false);
  assert.equal(atlas.wasPausedSince(1, 0), false);
});
