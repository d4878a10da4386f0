/** The clients of chaos: lanes that read and write, watchers, and two that want one lock. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from 'quorate';
import { etcdKv } from 'quorate/drivers/etcd';
import type { Kv, Watch, WatchEvent } from 'quorate/kv';
import { kvLocks, type Lock } from 'quorate/locks';
import type { KvInput, Random } from 'quorate/testing';
import { until } from '../cluster.ts';
import type { History } from './history.ts';
import { grpcStore, jsonStore, type Store } from './stores.ts';

/** What the lanes write and the watchers watch. */
const PREFIX = 'k/';
const KEYS = 5;
/** So that a part of the calls gives up while a fault lasts. */
const TIMEOUT_MS = 3000;
const LANES = 7;
/**
 * Of those who read at one node and nowhere else: when a leader wakes that slept through an election, there are
 * questions before it that are younger than what its successor did.
 */
const READER_TIMEOUT_MS = 300;
const LOCKERS = 2;
/** The shortest that the store grants. */
const LOCK_TTL_MS = 2000;
/** Of the holder's clock against the store's; both are this machine's. */
const LOCK_MARGIN_MS = 20;

/** One client: one operation after the other, on keys that all share. */
async function lane(
  name: string,
  history: History,
  store: Store,
  random: Random,
  goesOn: () => boolean,
): Promise<void> {
  const seen = new Map<string, number>();
  while (goesOn()) {
    const key = `${PREFIX}${random.below(KEYS)}`;
    const input = draw(key, seen.get(key) ?? 0, history, random);
    const answer = await history.perform(name, store, input);
    const revision = answer?.output.found?.modRevision ?? answer?.output.revision;
    if (revision !== undefined) seen.set(key, answer?.output.deleted === true ? 0 : revision);
    // The pace: enough to be in the middle of something whenever a fault comes, and no benchmark.
    await delay(answer === undefined ? 20 : 1 + random.below(20));
  }
}

/** Reads at one node, whatever happens to it. */
async function reader(
  name: string,
  history: History,
  store: Store,
  random: Random,
  goesOn: () => boolean,
): Promise<void> {
  while (goesOn()) {
    await history.perform(name, store, { op: 'get', key: `${PREFIX}${random.below(KEYS)}` });
    await delay(5 + random.below(20));
  }
}

function draw(key: string, seen: number, history: History, random: Random): KvInput {
  const kind = random.below(20);
  if (kind < 9) return { op: 'get', key };
  if (kind < 14) return { op: 'put', key, value: history.newValue() };
  if (kind < 15) return { op: 'delete', key };
  const value = kind < 16 ? null : history.newValue();
  return { op: 'txn', key, ifModRevision: seen, value };
}

/** Follows all keys from the first revision; fails at once where the order is wrong. */
export class Watcher {
  readonly events: WatchEvent[] = [];
  revision = 0;
  readonly #kv: Kv;
  readonly #watch: Watch;
  readonly #done: Promise<void>;
  #failure: unknown;

  constructor(endpoints: readonly string[]) {
    this.#kv = etcdKv({ endpoints });
    this.#watch = this.#kv.watch({ prefix: PREFIX }, { fromRevision: 1 });
    this.#done = this.#follow().catch((error: unknown) => {
      this.#failure = error;
    });
  }

  async #follow(): Promise<void> {
    for await (const { events } of this.#watch) {
      const [first] = events;
      if (first === undefined) continue;
      const revision = first.kv.modRevision;
      assert.ok(revision > this.revision, `a watch told ${revision} after ${this.revision}`);
      for (const event of events) {
        // Each operation changes one key, so several events of a batch are of as many revisions.
        const next = event.kv.modRevision;
        assert.ok(next > this.revision, `a watch told ${next} after ${this.revision}`);
        this.revision = next;
        this.events.push(event);
      }
    }
  }

  /** Until it has seen `revision`. */
  async reach(revision: number): Promise<void> {
    await until(`a watch is at ${revision}, not ${this.revision}`, () => {
      if (this.#failure !== undefined) return true;
      return this.revision >= revision;
    });
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(): Promise<void> {
    await this.#watch.close();
    await this.#done;
    await this.#kv.close();
  }
}

/** A counter that only the holder of a lock changes, and that refuses holders of the past. */
export class FencedCounter {
  value = 0;
  grants = 0;
  /** Writes of those who did not know yet that they had lost the lock. */
  refused = 0;
  readonly violations: string[] = [];
  #highest = 0n;
  readonly #granted = new Set<bigint>();

  granted({ fencingToken }: Lock): void {
    if (this.#granted.has(fencingToken)) this.violations.push(`token ${fencingToken} twice`);
    this.#granted.add(fencingToken);
    this.grants += 1;
  }

  read(lock: Lock): number {
    this.#admit(lock);
    return this.value;
  }

  write(lock: Lock, value: number): void {
    if (!this.#admit(lock)) return;
    if (value !== this.value + 1) {
      this.violations.push(`${this.value} became ${value}: an increment was lost`);
    }
    this.value = value;
  }

  #admit(lock: Lock): boolean {
    const { fencingToken } = lock;
    if (fencingToken >= this.#highest) {
      this.#highest = fencingToken;
      return true;
    }
    this.refused += 1;
    const leftMs = lock.remainingMs();
    if (leftMs > LOCK_MARGIN_MS) {
      const text = `${fencingToken} trusts its lock for ${leftMs} ms, but ${this.#highest} has it`;
      this.violations.push(text);
    }
    return false;
  }
}

async function locker(
  endpoints: readonly string[],
  counter: FencedCounter,
  random: Random,
  goesOn: () => boolean,
): Promise<void> {
  const kv = etcdKv({ endpoints, timeoutMs: TIMEOUT_MS });
  const locks = kvLocks(kv, { ttl: LOCK_TTL_MS });
  try {
    while (goesOn()) {
      try {
        await using lock = await locks.acquire('counter', { wait: TIMEOUT_MS });
        counter.granted(lock);
        for (let i = random.below(10); i >= 0 && !lock.lost.aborted; i--) {
          const value = counter.read(lock);
          await delay(random.below(50));
          // Not asked whether it is lost: that is what the counter is to find out.
          counter.write(lock, value + 1);
        }
      } catch (error) {
        if (!isQuorateError(error)) throw error;
        await delay(50);
      }
    }
  } finally {
    await locks.close().catch(() => undefined);
    await kv.close();
  }
}

/** All of them. */
export class Clients {
  readonly watchers: readonly Watcher[];
  readonly counter = new FencedCounter();
  readonly #history: History;
  readonly #stores: Store[] = [];
  readonly #running: Promise<unknown>;
  #goesOn = true;

  constructor(endpoints: readonly string[], history: History, random: Random) {
    this.#history = history;
    const goesOn = (): boolean => this.#goesOn;
    this.watchers = [new Watcher(endpoints), new Watcher(endpoints.toReversed())];
    const running: Promise<void>[] = [];
    for (let i = 0; i < LANES; i++) {
      // Each begins at another node; some speak to one node only.
      const turn = i % endpoints.length;
      const turned = [...endpoints.slice(turn), ...endpoints.slice(0, turn)];
      const open = i % 3 === 2 ? jsonStore : grpcStore;
      const store = open(i % 2 === 0 ? turned : turned.slice(0, 1), TIMEOUT_MS);
      this.#stores.push(store);
      running.push(lane(`${i % 3 === 2 ? 'json' : 'grpc'} ${i}`, history, store, random, goesOn));
    }
    for (const [i, endpoint] of endpoints.entries()) {
      const store = grpcStore([endpoint], READER_TIMEOUT_MS);
      this.#stores.push(store);
      running.push(reader(`reader ${i}`, history, store, random, goesOn));
    }
    for (let i = 0; i < LOCKERS; i++) running.push(locker(endpoints, this.counter, random, goesOn));
    this.#running = Promise.all(running);
    // Whoever fails is heard of when they are stopped.
    this.#running.catch(() => undefined);
  }

  /** When all that was begun has come to an end. */
  async stop(): Promise<void> {
    this.#goesOn = false;
    try {
      await this.#running;
    } finally {
      for (const store of this.#stores) await store.close();
    }
  }

  /** After `stop`: what they saw can have been. Returns the steps of the checker. */
  async verify(kv: Kv): Promise<{ readonly steps: number }> {
    const { kvs, revision } = await kv.range({ prefix: PREFIX });
    const marker = `${PREFIX}last`;
    // A change that comes after all others: who has seen it has seen all.
    const last = await kv.put(marker, 'last');
    assert.ok(last.revision > revision);
    for (const watcher of this.watchers) await watcher.reach(last.revision);
    const [events, others] = this.watchers.map((watcher) =>
      watcher.events.filter(({ kv }) => kv.key.toString() !== marker).map(shown),
    );
    assert.deepEqual(others, events, 'both watches saw the same');
    const [watcher] = this.watchers as [Watcher];
    const state = new Map<string, string>();
    for (const { type, kv } of watcher.events) {
      const key = kv.key.toString();
      if (type === 'delete') state.delete(key);
      else state.set(key, `${kv.value} at ${kv.modRevision}`);
    }
    state.delete(marker);
    const found = new Map(kvs.map((one) => [`${one.key}`, `${one.value} at ${one.modRevision}`]));
    assert.deepEqual(state, new Map([...found]), 'what was watched is what is there');
    assert.deepEqual(this.counter.violations, []);
    const changes = watcher.events.filter(({ kv }) => kv.key.toString() !== marker);
    return this.#history.verify(changes);
  }

  async close(): Promise<void> {
    await this.stop().catch(() => undefined);
    for (const watcher of this.watchers) await watcher.close();
  }
}

function shown({ type, kv }: WatchEvent): string {
  return `${kv.modRevision} ${type} ${kv.key} ${kv.value}`;
}
