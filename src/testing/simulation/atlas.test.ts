import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Atlas, type SeatView } from './atlas.ts';
import { SeatLog } from './checks/seat-log.ts';
import { NotedWorld } from './checks/testing.ts';

/** Seats that hold the log up to `reached`, as long as they run, and heard of the leader of `term`. */
function view(reached: {
  index: number;
  running: boolean;
  term?: number;
}): (seat: number) => SeatView {
  return () => {
    const log = new SeatLog('a', 'raft');
    log.hardState = { term: reached.term ?? 2, vote: '', commit: 0 };
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

test('a seat that lost its votes makes room for the next only when it knows of its term again', () => {
  const reached = { index: 100, running: true, term: 5 };
  const atlas = new Atlas(new NotedWorld(), 3, view(reached));
  assert.equal(atlas.mayHurt(0), true);
  Object.assign(reached, { index: 101, term: 4 });
  assert.equal(atlas.mayHurt(1), false);
  assert.equal(atlas.mayHurt(0), true, 'and hurt again it lost no less');
  assert.equal(atlas.mayHurt(1), false);
  Object.assign(reached, { index: 102, term: 5 });
  assert.equal(atlas.mayHurt(1), true);
});

test('a first member that never heard of a leader counts as one that lost its disk', () => {
  const reached = { index: 3, running: true, term: 1 };
  const atlas = new Atlas(new NotedWorld(), 3, view(reached));
  assert.equal(atlas.mayHurt(0), false);
  reached.term = 2;
  assert.equal(atlas.mayHurt(0), true);
});

test('no leader is asked for where a disk was hurt while others gave no vote, until a majority does', () => {
  const seats = { onProbation: new Set<number>() };
  const whole = view({ index: 100, running: true });
  const see = (seat: number): SeatView => ({
    ...whole(seat),
    isOnProbation: seats.onProbation.has(seat),
  });
  const atlas = new Atlas(new NotedWorld(), 3, see);
  assert.equal(atlas.mayHurt(0), true);
  seats.onProbation = new Set([0, 1]);
  assert.equal(atlas.isStuck, false, 'of one that was hurt the others make up for that');
  assert.equal(atlas.mayHurt(0), true);
  assert.equal(atlas.isStuck, true);
  seats.onProbation = new Set([0]);
  assert.equal(atlas.isStuck, false);
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
