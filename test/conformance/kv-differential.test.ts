/**
 * The same random requests to a fresh etcd and to the store in memory: every answer, every refusal,
 * every watch event and the hash of the history must be the same. Where they differ, etcd is right.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { etcdService } from '../../src/drivers/etcd/index.ts';
import { memoryService } from '../../src/kv/memory.ts';
import type { KvService, WatchStream } from '../../src/kv/service.ts';
import { RequestGenerator } from '../../src/kv/testing.ts';
import * as proto from '../../src/proto/etcd.ts';
import type * as pb from '../../src/proto/messages.ts';
import { until } from '../support/cluster.ts';
import { missingEtcd, startEtcd } from '../support/etcd.ts';

const SEEDS = [1, 2, 3];
const REQUESTS = 500;

/** Without what may differ: who answered, and how. */
function plain(value: unknown): unknown {
  const own = new Set(['clusterId', 'memberId', 'raftTerm', 'sub', 'encoded']);
  const text = JSON.stringify(value, (name, part) => {
    if (own.has(name)) return undefined;
    return typeof part === 'bigint' ? String(part) : part;
  });
  return JSON.parse(text);
}

/** What a watch stream was sent, by watch: replies, and events one by one. */
class Receiver {
  readonly stream: WatchStream;
  readonly #log = new Map<number, unknown[]>();
  count = 0;
  /** Replies to requests for a watch. */
  created = 0;

  constructor(service: KvService) {
    this.stream = service.watch(this);
  }

  response(response: pb.WatchResponse): boolean {
    const { events, watchId, created, canceled } = response;
    const log = this.#log.get(watchId) ?? [];
    this.#log.set(watchId, log);
    // How events are parted among responses is left to the server.
    if (created || canceled) log.push(plain(response));
    else log.push(...events.map(plain));
    if (created) this.created++;
    this.count += (created || canceled ? 1 : 0) + events.length;
    return true;
  }
  end(): void {
    this.#log.set(Number.NaN, ['ended']);
  }
  get log(): unknown {
    return [...this.#log].sort(([a], [b]) => a - b);
  }
}

class Comparison {
  readonly memory = memoryService();
  readonly etcd;
  readonly gen: RequestGenerator;
  readonly #endpoint: string;
  readonly #leases: bigint[] = [];
  readonly #watches: [Receiver, Receiver][] = [];
  #step = 0;

  constructor(endpoint: string, seed: number) {
    this.#endpoint = endpoint;
    this.etcd = etcdService({ endpoints: endpoint });
    this.gen = new RequestGenerator(seededRandom(seed));
  }

  async step(): Promise<void> {
    const { gen } = this;
    const { revision, compactRevision } = this.memory.store;
    const around = { revision, compactRevision, leases: this.#leases };
    const kind = gen.below(100);
    this.#step++;
    if (kind < 35) {
      const request = gen.put(around);
      await this.both(request, (service) => service.put(request));
    } else if (kind < 42) {
      const request = gen.deleteRange();
      await this.both(request, (service) => service.deleteRange(request));
    } else if (kind < 65) {
      const request = gen.txn(around);
      if (deletesToTheEnd(request)) return;
      await this.both(request, (service) => service.txn(request));
    } else if (kind < 85) {
      const request = gen.range(around);
      await this.both(request, (service) => service.range(request));
    } else if (kind < 91) await this.#lease();
    else if (kind < 93) {
      // etcd refills watches that are behind from time to time; what is compacted first, it cancels.
      await this.#delivered();
      const request = { revision: Math.max(1, gen.revision(around)), physical: gen.oneIn(2) };
      await this.both(request, (service) => service.compact(request));
    } else if (kind < 96) await this.#watch(gen.revision(around));
    else await this.#compareHash();
  }

  async both(request: unknown, call: (service: KvService) => Promise<unknown>): Promise<void> {
    const [theirs, ours] = await Promise.all(
      [this.etcd, this.memory].map(async (service) => {
        try {
          return plain(await call(service));
        } catch (error) {
          if (isQuorateError(error)) return error.code;
          throw error;
        }
      }),
    );
    assert.deepEqual(ours, theirs, `step ${this.#step}: ${JSON.stringify(plain(request))}`);
  }

  async end(): Promise<void> {
    await this.#compareHash();
    await this.#delivered();
    for (const [theirs, ours] of this.#watches) assert.deepEqual(ours.log, theirs.log);
  }

  async #delivered(): Promise<void> {
    for (const [theirs, ours] of this.#watches) {
      await until('etcd has sent as many events', () => theirs.count >= ours.count);
    }
  }

  async close(): Promise<void> {
    await this.etcd.close();
    await this.memory.close();
  }

  async #lease(): Promise<void> {
    const { gen } = this;
    if (this.#leases.length > 0 && gen.oneIn(3)) {
      const [id] = this.#leases.splice(gen.below(this.#leases.length), 1);
      await this.both(id, (service) => service.leaseRevoke({ id: id! }));
      return;
    }
    const request = { id: BigInt(gen.below(20) - 5 || 9), ttl: gen.below(3) * 1000 };
    if (!this.#leases.includes(request.id)) this.#leases.push(request.id);
    await this.both(request, (service) => service.leaseGrant(request));
  }

  async #watch(startRevision: number): Promise<void> {
    const { gen } = this;
    const createRequest = proto.WatchCreateRequest.create({
      ...gen.bounds(),
      startRevision: gen.oneIn(20) ? -3 : startRevision,
      prevKv: gen.oneIn(2),
      filters: gen.oneIn(4) ? [gen.below(2)] : [],
      watchId: gen.oneIn(4) ? 5 : 0,
    });
    let pair = gen.pick(this.#watches);
    if (pair === undefined || gen.oneIn(2)) {
      pair = [new Receiver(this.etcd), new Receiver(this.memory)];
      this.#watches.push(pair);
    }
    const [theirs, ours] = pair;
    const { created } = theirs;
    for (const { stream } of pair) stream.request(proto.WatchRequest.create({ createRequest }));
    await until('etcd has created the watch', () => theirs.created > created, 5000);
    assert.equal(ours.created, theirs.created);
  }

  async #compareHash(): Promise<void> {
    const { hash, compactRevision, hashRevision } = await this.etcd.hashKv(this.#endpoint);
    assert.deepEqual(this.memory.store.hashKv(0), { hash, compactRevision, hashRevision });
  }
}

/**
 * Whether a transaction deletes everything above a key. etcd does not see that this overlaps with
 * its puts, and where it does, etcd 3.6 may panic on it.
 */
function deletesToTheEnd(request: pb.TxnRequest): boolean {
  return [...request.success, ...request.failure].some(({ requestDeleteRange, requestTxn }) => {
    if (requestTxn !== undefined) return deletesToTheEnd(requestTxn);
    return requestDeleteRange?.rangeEnd === '\0';
  });
}

for (const seed of SEEDS) {
  const name = `random requests have the answers of a real etcd (seed ${seed})`;
  test(name, { skip: missingEtcd('etcd') }, async () => {
    const cluster = await startEtcd(1);
    const comparison = new Comparison(cluster.endpoints[0]!, seed);
    try {
      for (let i = 0; i < REQUESTS; i++) await comparison.step();
      await comparison.end();
    } finally {
      await comparison.close();
      await cluster.close();
    }
  });
}
