/**
 * Changes of a store and what watches said of them. Whether a watch told all is decided by the store
 * itself: each key counts its puts, so its events must carry the versions 1, 2, 3... without a gap.
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from 'quorate';
import type { Kv, Watch, WatchOptions } from 'quorate/kv';
import { until } from './cluster.ts';

/** Puts numbers to keys below a prefix, one lane a key, until it is stopped. */
export class Changes {
  readonly prefix: string;
  /** Revisions of the puts that were acknowledged. */
  readonly acknowledged = new Map<number, string>();
  /** Puts that may have happened. */
  unknown = 0;
  /** Puts that surely did not happen. */
  refused = 0;
  #stopped = false;
  readonly #lanes: Promise<void>[];

  constructor(kv: Kv, prefix: string, lanes: number) {
    this.prefix = prefix;
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(kv, `${prefix}${lane}`));
  }

  async #run(kv: Kv, key: string): Promise<void> {
    for (let i = 1; !this.#stopped; i++) {
      try {
        const { revision } = await kv.put(key, String(i));
        this.acknowledged.set(revision, `${key}=${i}`);
      } catch (error) {
        if (!isQuorateError(error)) throw error;
        if (error.outcome === 'unknown') this.unknown++;
        else this.refused++;
        await delay(10);
      }
    }
  }

  /** Until so many more are acknowledged. */
  async more(count: number): Promise<void> {
    const target = this.acknowledged.size + count;
    await until(`${target} changes`, () => this.acknowledged.size >= target, 40_000);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }
}

interface Seen {
  readonly key: string;
  readonly value: string;
  readonly version: number;
  readonly revision: number;
}

/** Batches after which a slow reader sleeps, and how often: on a quick machine there are many. */
const PAUSE_EVERY = 1000;
const MAX_PAUSES = 5;

/** Reads a watch to its end and keeps what it said. */
export class Follower {
  readonly name: string;
  readonly seen: Seen[] = [];
  /** Revisions of the batches without events. */
  readonly progress: number[] = [];
  /** All before it was told. */
  revision = 0;
  error: unknown;
  readonly #watch: Watch;
  readonly #done: Promise<void>;

  /** @param pauseMs how long it sleeps now and then, while the changes go on */
  constructor(name: string, kv: Kv, prefix: string, options: WatchOptions = {}, pauseMs = 0) {
    this.name = name;
    this.#watch = kv.watch({ prefix }, { fromRevision: 1, ...options });
    this.#done = this.#read(pauseMs).catch((error: unknown) => {
      this.error = error;
    });
  }

  async #read(pauseMs: number): Promise<void> {
    let batches = 0;
    for await (const { events, revision } of this.#watch) {
      assert.ok(revision >= this.revision, `${this.name} went back to ${revision}`);
      for (const { kv } of events) {
        const { version, modRevision } = kv;
        const [key, value] = [kv.key.toString(), kv.value.toString()];
        this.seen.push({ key, value, version, revision: modRevision });
      }
      if (events.length === 0) this.progress.push(revision);
      this.revision = revision;
      batches += 1;
      const pauses = batches / PAUSE_EVERY;
      if (pauseMs > 0 && Number.isInteger(pauses) && pauses <= MAX_PAUSES) await delay(pauseMs);
    }
  }

  async caughtUp(revision: number): Promise<void> {
    await until(
      `${this.name} has seen revision ${revision}`,
      () => {
        if (this.error !== undefined) throw this.error;
        return this.revision >= revision;
      },
      40_000,
    );
    await this.#watch.close();
    await this.#done;
  }

  /** Every change of the store once and in order, and nothing else. Returns their number. */
  async assertComplete(kv: Kv, changes: Changes): Promise<number> {
    const { kvs } = await kv.range({ prefix: changes.prefix });
    const versions = new Map<string, number>();
    let last = 0;
    for (const { key, version, revision } of this.seen) {
      assert.ok(revision > last, `${this.name}: ${key} at ${revision} after ${last}`);
      assert.equal(version, (versions.get(key) ?? 0) + 1, `${this.name}: ${key} at ${revision}`);
      versions.set(key, version);
      last = revision;
    }
    const stored = new Map(kvs.map(({ key, version }) => [key.toString(), version]));
    assert.deepEqual(versions, stored, this.name);
    const said = new Map(this.seen.map((one) => [one.revision, `${one.key}=${one.value}`]));
    for (const [revision, change] of changes.acknowledged) {
      assert.equal(said.get(revision), change, `${this.name}: revision ${revision}`);
    }
    return this.seen.length;
  }
}
