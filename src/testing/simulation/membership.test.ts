import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MemberChange } from '../../consensus/replica/member-change.ts';
import { openNode } from '../../node.ts';
import { Atlas } from './atlas.ts';
import { type Seat, SimulatedCluster } from './cluster.ts';
import { Membership } from './membership.ts';
import { SIMULATOR_VERSION, type Story } from './types.ts';
import { SimulatedWorld } from './world.ts';

const NODES = 3;
const WITHIN_MS = 10_000;
const story: Story = {
  ...{ version: SIMULATOR_VERSION, seed: 5, consensus: 'raft', nodes: NODES, clients: 0 },
  ...{ stormMs: 0, weather: { requestTimeoutMs: 2000 }, faults: [] },
};

class Bench {
  readonly world = new SimulatedWorld({ seed: 5 });
  readonly cluster: SimulatedCluster;
  readonly membership: Membership;
  /** What the checks say of the leader's log. */
  areMembersDecided = true;
  readonly #ids = new Map<number, string>();

  constructor() {
    const { world } = this;
    const settings = { heartbeatMs: 50, electionMs: 400, requestTimeoutMs: 2000 };
    this.cluster = new SimulatedCluster({
      ...{ world, open: openNode, nodes: NODES, settings },
      observer: {
        wrapCore: ({ seat }, core) => {
          this.#ids.set(seat, core.status().id);
          return core;
        },
      },
    });
    const { cluster } = this;
    const view = {
      atlas: new Atlas(world, NODES, () => assert.fail('nobody asks for the data of a seat')),
      idOf: (seat: number) => this.#ids.get(seat),
      forget: (seat: number) => void this.#ids.delete(seat),
      properties: this,
    };
    this.membership = new Membership({ story, world, cluster }, view, () => this.leader);
    for (const seat of cluster.seats) cluster.start(seat);
  }

  get leader(): Seat | undefined {
    return this.cluster.seats.find(({ life }) => life?.node?.status().role === 'leader');
  }

  async until(holds: () => boolean): Promise<void> {
    await this.world.run(this.world.nowMs + 60_000, () => !holds());
    assert.equal(this.world.violation, undefined);
    assert.ok(holds(), 'it came to hold in time');
  }

  async run<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const end = (): void => {
      isOver = true;
    };
    work.then(end, end);
    await this.until(() => isOver);
    return work;
  }

  /** Carries out a change at once, so that nobody knows of it but the cluster. */
  async change(change: MemberChange): Promise<string> {
    await this.until(() => this.leader !== undefined);
    const { life } = this.leader!;
    const members = await this.run(life!.call((node) => node.changeMembers([change])));
    const url = change.kind === 'add' ? change.member.peerUrls[0] : undefined;
    return members.find(({ peerUrls }) => peerUrls[0] === url)?.id ?? '';
  }

  idOf({ number }: Seat): string | undefined {
    return this.#ids.get(number);
  }

  namesOf(seats: readonly Seat[]): string {
    return seats.map(({ name }) => name).join('');
  }
}

test('a member that was removed and added again at the same place is started with an empty folder', async () => {
  const bench = new Bench();
  const { cluster, membership } = bench;
  await bench.until(() => cluster.running.length === 3);
  const seat = cluster.join();
  const add = { kind: 'add', member: { peerUrls: [seat.peerUrl], learner: true } } as const;
  const first = await bench.change(add);
  cluster.start(seat);
  await bench.until(
    () => seat.life?.node?.status().id === first && seat.life.node.status().appliedIndex > 0,
  );
  await bench.change({ kind: 'remove', id: first });
  const second = await bench.change(add);
  assert.notEqual(second, first);
  const members = await bench.run(membership.settled(WITHIN_MS));
  assert.equal(bench.namesOf(members), 'abcd');
  assert.equal(bench.idOf(seat), second);
  await bench.until(() => seat.life?.node?.status().id === second);
  assert.equal(bench.world.reached['member-came-again'], 1);
  // Once is enough.
  const { lives } = seat;
  await bench.run(membership.settled(WITHIN_MS));
  assert.equal(seat.lives, lives);
});

test('who is no member is ended only when no change is under way any more', async () => {
  const bench = new Bench();
  const { cluster, membership, world } = bench;
  await bench.until(() => cluster.running.length === 3);
  const seat = cluster.join();
  cluster.start(seat);
  bench.areMembersDecided = false;
  let members: readonly Seat[] | undefined;
  const settled = membership.settled(WITHIN_MS).then((found) => {
    members = found;
  });
  await world.run(world.nowMs + 1000);
  assert.equal(members, undefined);
  assert.equal(membership.gone.size, 0);
  await bench.change({ kind: 'add', member: { peerUrls: [seat.peerUrl] } });
  bench.areMembersDecided = true;
  await bench.run(settled);
  assert.equal(bench.namesOf(members!), 'abcd');
  assert.equal(membership.gone.size, 0);
});

test('a change that comes into force later is seen, and who it removed is ended then', async () => {
  const bench = new Bench();
  const { cluster, membership } = bench;
  await bench.until(() => cluster.running.length === 3);
  await bench.run(membership.settled(WITHIN_MS));
  assert.equal(membership.isSettled, true);
  const left = cluster.seats.find((seat) => seat !== bench.leader)!;
  await bench.change({ kind: 'remove', id: left.life!.node!.status().id });
  assert.equal(membership.isSettled, false);
  const members = await bench.run(membership.settled(WITHIN_MS));
  assert.equal(members.length, 2);
  assert.deepEqual([...membership.gone], [left.number]);
  assert.equal(membership.isSettled, true);
});

test('as long as a leader may still get a request whose answer was unknown, members are not settled', async () => {
  const bench = new Bench();
  const { cluster, membership, world } = bench;
  await bench.until(() => cluster.running.length === 3);
  await bench.run(membership.settled(WITHIN_MS));
  // Nobody else makes it durable: what is asked for now waits in the leader's log.
  const others = cluster.seats.filter((seat) => seat !== bench.leader);
  for (const { disk } of others) disk.stall();
  membership.update(bench.leader!);
  assert.equal(membership.pending, 1);
  await bench.until(() => membership.pending === 0);
  const answeredMs = world.nowMs;
  for (const { disk } of others) disk.unstall();
  await bench.run(membership.settled(WITHIN_MS));
  assert.ok(world.nowMs >= answeredMs + 2000, `settled ${world.nowMs - answeredMs} ms later`);
});

test('changes that never end are told of', async () => {
  const bench = new Bench();
  await bench.until(() => bench.cluster.running.length === 3);
  bench.areMembersDecided = false;
  await assert.rejects(
    bench.run(bench.membership.settled(1000)),
    /not within 1000 ms: every change/,
  );
});
