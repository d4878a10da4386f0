import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultCluster } from './test-faults.ts';
import { CALM, Storm } from './test-storm.ts';

const seeds = Number(process.env['QUORATE_FAULT_SEEDS'] ?? 5);
const first = Number(process.env['QUORATE_FAULT_FIRST_SEED'] ?? 1);

for (const consensus of ['raft', 'paxos'] as const) {
  for (let seed = first; seed < first + seeds; seed++) {
    test(`${consensus}: in storm ${seed} nothing acknowledged is lost, nothing is applied twice, no read is stale`, async () => {
      await new Storm(seed, 200, 0, consensus).run();
    });
  }
}

for (let seed = first; seed < first + seeds; seed++) {
  test(`in storm ${seed} the members change all the time, and all of that holds`, async () => {
    const storm = new Storm(seed, 400, 5);
    await storm.run();
    assert.ok(storm.changes > 0, 'some changes were done');
  });
}

test('a node that fell far behind catches up while writes go on without a pause', async () => {
  const cluster = new FaultCluster(1, { ...CALM, maxDelayMs: 2 }, 50);
  const { clock, seats } = cluster;
  let open = 0;
  let written = 0;
  const write = async (steps: number): Promise<void> => {
    for (let step = 0; step < steps; step++) {
      const leader = cluster.lives.find((life) => life.replica.leading);
      for (let i = 0; leader !== undefined && i < 3 && open < 200; i++) {
        open += 1;
        written += 1;
        void leader.replica.propose(Buffer.from(`w${written}`)).finally(() => {
          open -= 1;
        });
      }
      await clock.advance(1);
    }
  };
  for (const seat of seats) cluster.start(seat);
  await write(200);
  const late = seats.find((seat) => seat.life?.replica.leading === false)!;
  cluster.stop(late);
  await write(300);
  const missed = written;
  cluster.start(late);
  await write(500);
  assert.ok(late.life!.replica.status().snapshotIndex > missed / 2, 'it got a snapshot');
  assert.ok(late.life!.journal.commands.length > written - 200, 'it follows closely');
  while (open > 0) await clock.advance(10);
  for (const seat of seats) cluster.stop(seat);
  while (!cluster.quiet) await clock.advance(10);
  assert.deepEqual(cluster.violations, []);
});
