import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RaftCore } from '../consensus/raft/raft.ts';
import { bootstrapEntries, clusterIdOf, Members, memberId } from '../consensus/replica/members.ts';
import type { ProposeOptions } from '../consensus/replica/options.ts';
import { Replica } from '../consensus/replica/replica.ts';
import { replicaSettings } from '../consensus/replica/settings.ts';
import { QuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import * as proto from '../proto/etcd.ts';
import type { InternalRaftRequest } from '../proto/messages.ts';
import { memoryNetwork } from '../testing/memory-network.ts';
import { memoryStorage } from '../testing/memory-storage.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { EmbeddedKv } from './embedded.ts';
import { type ApplyResult, KvStore } from './store.ts';

const ELECTION_MS = 60;
const LEASE_SCAN_MS = 500;

const members = ['a', 'b', 'c'].map((name) => {
  const peerUrls = [`http://${name}:2380`];
  return { id: memberId(peerUrls, 'leases'), name, peerUrls, learner: false };
});

interface Node {
  readonly id: string;
  readonly replica: Replica<ApplyResult>;
  readonly service: EmbeddedKv;
  ledSinceMs: number;
}

class Nodes {
  readonly clock = new VirtualClock();
  readonly network = memoryNetwork({ clock: this.clock });
  readonly all: Node[] = [];
  readonly #random = seededRandom(7);

  async open(id: string): Promise<void> {
    const entries = bootstrapEntries(members);
    const hardState = { term: 1, vote: '', commit: entries.length };
    const store = new KvStore({ clock: this.clock, minLeaseTtlSeconds: 2 });
    const service = new EmbeddedKv(store, {
      clock: this.clock,
      random: this.#random,
      clusterId: BigInt(`0x${clusterIdOf(members.map((member) => member.id))}`),
      memberId: BigInt(`0x${id}`),
      maxTxnOperations: 128,
      quotaBytes: 0,
      requestTimeoutMs: 5000,
      electionMs: ELECTION_MS,
    });
    const transport = this.network.transport(id);
    transport.setPeers(new Map(members.filter((m) => m.id !== id).map((m) => [m.id, m.peerUrls])));
    const replica: Replica<ApplyResult> = new Replica<ApplyResult>({
      id,
      core: new RaftCore({
        id,
        settings: { electionTicks: 6 },
        random: this.#random,
        hardState,
        configuration: { voters: [], learners: [] },
        snapshot: { index: 0, term: 0 },
        entries,
        applied: 0,
      }),
      storage: memoryStorage({ bootstrap: { entries, hardState } }),
      transport,
      machine: store,
      members: new Members(),
      settings: replicaSettings({ heartbeatMs: 10, electionMs: ELECTION_MS }),
      clock: this.clock,
      defer: (run) => void setImmediate(run),
      events: {
        ...service.events,
        onLeading: (leading) => {
          if (leading) node.ledSinceMs = this.clock.now();
          service.events.onLeading?.(leading);
        },
      },
    });
    const node: Node = { id, replica, service, ledSinceMs: 0 };
    service.attach(replica);
    await replica.start();
    this.all.push(node);
  }

  async leaderBut(...others: Node[]): Promise<Node> {
    for (;;) {
      const leader = this.all.find((node) => node.replica.leading && !others.includes(node));
      if (leader !== undefined) return leader;
      await this.clock.advance(1);
    }
  }

  async advanceTo(atMs: number): Promise<void> {
    await this.clock.advance(atMs - this.clock.now());
  }

  /** Lets time pass until `work` is done. */
  async during<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const settled = work.finally(() => {
      done = true;
    });
    settled.catch(() => undefined);
    while (!done) await this.clock.advance(1);
    return settled;
  }

  async close(): Promise<void> {
    for (const node of this.all) await node.service.close();
    await this.during(Promise.all(this.all.map((node) => node.replica.close())));
    await this.clock.advance(1000);
    assert.equal(this.clock.pending, 0, 'no timer is left');
  }
}

test('a lease that ran out on a leader that was cut off is not revoked under the client who renewed it at the next leader', async () => {
  const nodes = new Nodes();
  for (const { id } of members) await nodes.open(id);
  const old = await nodes.leaderBut();
  // It runs out just before the leader looks for such leases.
  await nodes.advanceTo(old.ledSinceMs + LEASE_SCAN_MS - 35);
  await nodes.during(old.service.leaseGrant({ id: 5n, ttl: 2 }));
  await nodes.advanceTo(old.ledSinceMs + 5 * LEASE_SCAN_MS - 15);
  nodes.network.isolate(old.id);
  await nodes.advanceTo(old.ledSinceMs + 5 * LEASE_SCAN_MS + 5);
  assert.equal(old.replica.leading, true);
  assert.equal(old.replica.pendingProposals, 1, 'the revocation is in its log');
  const next = await nodes.leaderBut(old);
  assert.equal((await nodes.during(next.service.leaseKeepAlive({ id: 5n }))).ttl, 2);
  nodes.network.rejoin(old.id);
  await nodes.clock.advance(500);
  assert.equal(old.replica.pendingProposals, 0);
  assert.equal((await nodes.during(next.service.leaseKeepAlive({ id: 5n }))).ttl, 2);
  await nodes.close();
});

/** The leader of a log in which entries stay until the test applies them. */
class SlowLeader {
  readonly clock = new VirtualClock();
  readonly store = new KvStore({ clock: this.clock, minLeaseTtlSeconds: 1 });
  readonly service = new EmbeddedKv(this.store, {
    clock: this.clock,
    random: seededRandom(7),
    clusterId: 1n,
    memberId: 1n,
    maxTxnOperations: 128,
    quotaBytes: 0,
    requestTimeoutMs: 1000,
    electionMs: 0,
  });
  readonly log: InternalRaftRequest[] = [];
  term = 3;
  /** What becomes of a proposal; absent: nobody hears of it. */
  refusal: QuorateError | undefined;
  #applied = 0;

  constructor() {
    const replica = {
      leading: true,
      propose: (data: Uint8Array, options?: ProposeOptions) => this.#propose(data, options),
    };
    Object.defineProperty(replica, 'term', { get: () => this.term });
    this.service.attach(replica as unknown as Replica<ApplyResult>);
  }

  /** Grants without the log. */
  grant(id: bigint, ttl: number): void {
    this.store.lessor.grant(id, ttl);
  }

  applyNext(): ApplyResult {
    const result = this.store.applyRequest(this.log[this.#applied]!, this.#applied + 1);
    this.#applied += 1;
    return result;
  }

  async #propose(data: Uint8Array, options?: ProposeOptions): Promise<ApplyResult> {
    assert.equal(options?.onlyAsLeader, true);
    if (this.refusal?.outcome !== 'not-applied') {
      this.log.push(proto.InternalRaftRequest.decode(Buffer.from(data)));
    }
    if (this.refusal !== undefined) throw this.refusal;
    return new Promise(() => undefined);
  }
}

const timedOut = new QuorateError('ERR_TIMEOUT', 'it may be applied yet', { outcome: 'unknown' });

test('a lease that ran out has one revocation in the log of a term, however long that takes', async () => {
  const leader = new SlowLeader();
  leader.grant(5n, 1);
  leader.refusal = timedOut;
  await leader.clock.advance(60_000);
  assert.equal(leader.log.length, 1);
  leader.term += 1;
  await leader.clock.advance(60_000);
  assert.equal(leader.log.length, 2, 'what an earlier term proposed may be lost');
  leader.applyNext();
  leader.grant(5n, 1);
  await leader.clock.advance(2000);
  assert.equal(leader.log.length, 3, 'a lease granted anew under the same id ends too');
  await leader.service.close();
});

test('a revocation that the log did not take, or that had no effect, is proposed again', async () => {
  const leader = new SlowLeader();
  leader.grant(5n, 1);
  leader.refusal = new QuorateError('ERR_BUSY', 'too many requests wait', { retryable: true });
  await leader.clock.advance(2000);
  assert.equal(leader.log.length, 0);
  leader.refusal = timedOut;
  await leader.clock.advance(3000);
  assert.equal(leader.log.length, 1);
  const corrupt = { action: 1, memberId: 1n, alarm: 2 };
  leader.log.unshift({ ...leader.log[0]!, leaseRevoke: undefined, alarm: corrupt });
  leader.applyNext();
  assert.equal(leader.applyNext().error?.code, 'ERR_CORRUPT');
  await leader.clock.advance(2000);
  assert.equal(leader.log.length, 2);
  await leader.clock.advance(2000);
  assert.equal(leader.log.length, 3);
  await leader.service.close();
});

test('checkpoints wait for those that are in the log', async () => {
  const leader = new SlowLeader();
  leader.grant(5n, 1000);
  leader.refusal = timedOut;
  await leader.clock.advance(301_000);
  assert.equal(leader.log.length, 1);
  leader.applyNext();
  for (let i = 0; i < 10; i++) {
    // What was noted is void, and that is to be noted at once.
    leader.store.lessor.keepAlive(5n);
    await leader.clock.advance(1000);
  }
  assert.equal(leader.log.length, 2);
  leader.applyNext();
  leader.store.lessor.keepAlive(5n);
  await leader.clock.advance(1000);
  assert.equal(leader.log.length, 2);
  await leader.service.close();
});
