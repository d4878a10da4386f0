/**
 * A client that watches: across crashes and compactions it must see every event of its range, once,
 * in order, and be told nothing that has not been chosen.
 */
import { isQuorateError } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import type { Watch, WatchBatch, WatchEvent } from '../../../kv/kv.ts';
import type { Oracle, OracleEvent } from '../checks/oracle.ts';
import { exponential } from '../draw.ts';
import type { World } from '../types.ts';
import type { Host, Hosts } from './hosts.ts';

const RETRY_MEAN_MS = 100;
const PROGRESS_MEAN_MS = 1000;

export class Watcher {
  readonly #world: World;
  readonly #hosts: Hosts;
  readonly #oracle: Oracle;
  readonly #random: Random;
  readonly #prefix: string;
  readonly #name: string;
  /** First revision that was not delivered yet. */
  #next: number;
  /** Counts connections: what an earlier one still says does not count. */
  #connection: number;
  #watch: Watch | undefined;
  #isStopped: boolean;

  constructor(world: World, hosts: Hosts, oracle: Oracle, number: number, prefix: string) {
    this.#world = world;
    this.#hosts = hosts;
    this.#oracle = oracle;
    this.#random = world.random(`watcher/${number}`);
    this.#prefix = prefix;
    this.#name = `watcher ${number}`;
    this.#next = 1;
    this.#connection = 0;
    this.#watch = undefined;
    this.#isStopped = false;
  }

  /** Whether it has seen all that there is to see. */
  get isCaughtUp(): boolean {
    const { events } = this.#oracle;
    for (let at = this.#oracle.firstAt(this.#next); at < events.length; at++) {
      if (events[at]!.key.startsWith(this.#prefix)) return false;
    }
    return true;
  }

  start(): void {
    this.#retry();
  }

  stop(): void {
    this.#isStopped = true;
    this.#connection += 1;
    void this.#watch?.close();
    this.#watch = undefined;
  }

  #retry(): void {
    if (this.#isStopped) return;
    this.#watch = undefined;
    const connection = ++this.#connection;
    this.#world.after(exponential(this.#random, RETRY_MEAN_MS), () => {
      if (connection === this.#connection) this.#connect();
    });
  }

  #connect(): void {
    const host = this.#hosts.at(this.#random.below(this.#hosts.count));
    if (host === undefined) {
      this.#retry();
      return;
    }
    const connection = this.#connection;
    host.onEnd(() => {
      if (connection === this.#connection) this.#retry();
    });
    host.run(() => {
      if (connection === this.#connection) void this.#follow(host, connection);
    });
    this.#askProgress(connection);
  }

  /** Now and then asks how far it is, and now and then moves to another node. */
  #askProgress(connection: number): void {
    this.#world.after(exponential(this.#random, PROGRESS_MEAN_MS), () => {
      if (connection !== this.#connection) return;
      if (this.#random.below(8) === 0) {
        void this.#watch?.close();
        this.#retry();
        return;
      }
      this.#watch?.requestProgress();
      this.#askProgress(connection);
    });
  }

  async #follow(host: Host, connection: number): Promise<void> {
    if (this.#next > 1) this.#world.reach('watch-resumed');
    try {
      const watch = host.kv.watch({ prefix: this.#prefix }, { fromRevision: this.#next });
      this.#watch = watch;
      watch.created.catch(() => undefined);
      for await (const batch of watch) {
        if (connection !== this.#connection) return;
        this.#take(batch);
      }
    } catch (error) {
      if (connection !== this.#connection) return;
      this.#failed(error);
    }
    if (connection === this.#connection) this.#retry();
  }

  #failed(error: unknown): void {
    if (isQuorateError(error, 'ERR_COMPACTED')) {
      this.#compacted(error.compactRevision ?? 0);
    } else if (!isQuorateError(error) || error.code === 'ERR_INTERNAL') {
      this.#violate('unexpected-error', String(error));
    }
  }

  #compacted(compactRevision: number): void {
    if (compactRevision > this.#oracle.compactRevision || this.#next >= compactRevision) {
      this.#violate(
        'watch-compacted',
        `revision ${this.#next} was called compacted at ${compactRevision}; the history was at ${this.#oracle.compactRevision}`,
      );
    }
    this.#world.reach('watch-resumed-after-compaction');
    this.#next = compactRevision;
  }

  #take({ revision, events, fragment }: WatchBatch): void {
    if (fragment) this.#violate('watch-order', `was sent a part of revision ${revision}`);
    if (events.length === 0) this.#world.reach('watch-progress');
    if (revision > this.#oracle.revision) {
      this.#violate(
        'watch-order',
        `was told of revision ${revision}; the history has ${this.#oracle.revision}`,
      );
      return;
    }
    const history = this.#oracle.events;
    let at = this.#oracle.firstAt(this.#next);
    let seen = 0;
    for (; at < history.length && history[at]!.revision <= revision; at++) {
      const expected = history[at]!;
      if (!expected.key.startsWith(this.#prefix)) continue;
      if (!isSame(expected, events[seen])) {
        this.#violate(
          'watch-gap',
          `from revision ${this.#next} on was sent ${shown(events[seen])} where the history has ` +
            `${expected.type} ${expected.key} at ${expected.revision}`,
        );
        return;
      }
      seen += 1;
    }
    if (seen < events.length) {
      this.#violate(
        'watch-repeated',
        `with revision ${revision} was sent ${shown(events[seen])}, which is not due from ${this.#next} on`,
      );
    }
    this.#next = Math.max(this.#next, revision + 1);
  }

  #violate(property: string, message: string): void {
    this.#world.violate(property, `${this.#name}: ${message}`);
  }
}

function isSame(expected: OracleEvent, event: WatchEvent | undefined): boolean {
  return (
    event !== undefined &&
    event.type === expected.type &&
    event.kv.modRevision === expected.revision &&
    event.kv.key.toString('latin1') === expected.key &&
    event.kv.value.toString('latin1') === expected.value &&
    event.kv.version === expected.version
  );
}

function shown(event: WatchEvent | undefined): string {
  if (event === undefined) return 'nothing';
  return `${event.type} ${event.kv.key.toString('latin1')} at ${event.kv.modRevision}`;
}
