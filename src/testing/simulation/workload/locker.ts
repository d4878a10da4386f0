/**
 * Clients that take one lock and change something that checks fencing tokens. While a holder may
 * trust its lock nobody else gets it, and tokens grow from grant to grant.
 */

import { isQuorateError } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import type { Lock, Locks } from '../../../locks/locks.ts';
import { kvLocks } from '../../../locks/over-kv.ts';
import type { Oracle } from '../checks/oracle.ts';
import { chance, exponential } from '../draw.ts';
import type { World } from '../types.ts';
import type { Host, Hosts } from './hosts.ts';

const LOCK_NAME = 'lock';
const TTL_MS = 2000;
const PAUSE_MEAN_MS = 300;
const HOLD_MEAN_MS = 600;
/** Now and then a holder outlasts its lease, where that is not renewed. */
const LONG_HOLD_MEAN_MS = 3 * TTL_MS;
const LONG_HOLD_RATE = 0.2;
const WRITE_MEAN_MS = 100;

/** What the lock guards: refuses whoever comes with a token below the highest that it has seen. */
export class FencedResource {
  readonly #world: World;
  /** How much longer than it may a holder trust its lock, for the drift of clocks. */
  readonly #marginMs: number;
  readonly #tokens: Set<bigint>;
  #holder: Lock | undefined;
  #highest: bigint;

  constructor(world: World, maxDrift: number) {
    this.#world = world;
    this.#marginMs = 2 * TTL_MS * maxDrift + 1;
    this.#tokens = new Set();
    this.#holder = undefined;
    this.#highest = 0n;
  }

  granted(lock: Lock): void {
    this.#world.reach('lock-granted');
    const { fencingToken } = lock;
    if (this.#tokens.has(fencingToken)) {
      this.#world.violate('lock-token', `token ${fencingToken} was granted twice`);
    }
    this.#tokens.add(fencingToken);
    const { remainingMs } = this.#trust(this.#holder);
    if (remainingMs > this.#marginMs) {
      this.#world.violate(
        'lock-exclusion',
        `granted with token ${fencingToken} while the holder of ${this.#holder!.fencingToken} may trust it for ${Math.round(remainingMs)} ms`,
      );
    }
    if (fencingToken < this.#highest && lock.remainingMs() > this.#marginMs) {
      this.#world.violate(
        'lock-token',
        `token ${fencingToken} was granted after ${this.#highest}, to a holder that may trust it`,
      );
    }
    if (fencingToken > this.#highest) this.#holder = lock;
  }

  released(lock: Lock): void {
    if (this.#holder === lock) this.#holder = undefined;
  }

  /** The history has lost the key that stood for this token: from now on anyone may get the lock. */
  freed(fencingToken: bigint): void {
    if (this.#holder?.fencingToken !== fencingToken) return;
    const { remainingMs } = this.#trust(this.#holder);
    if (remainingMs <= this.#marginMs) return;
    this.#world.violate(
      'lock-exclusion',
      `the key of ${fencingToken} is gone, and its holder may trust it for ${Math.round(remainingMs)} ms`,
    );
  }

  /** A holder that believes in its lock changes the resource. */
  write(lock: Lock): void {
    const { fencingToken } = lock;
    if (fencingToken >= this.#highest) {
      this.#highest = fencingToken;
      return;
    }
    if (lock.remainingMs() <= this.#marginMs) return;
    this.#world.violate(
      'lock-exclusion',
      `the holder of ${fencingToken} trusts its lock, but ${this.#highest} has worked since`,
    );
  }

  #trust(lock: Lock | undefined): { readonly remainingMs: number } {
    return { remainingMs: lock === undefined ? 0 : lock.remainingMs() };
  }
}

/** Tells `resource` when the history loses a key of the lock, by the end of its lease or otherwise. */
export function watchLock(oracle: Oracle, resource: FencedResource): void {
  oracle.listen({
    event: ({ type, key, revision }) => {
      if (type !== 'delete' || !key.startsWith(`${LOCK_NAME}/`)) return;
      const held = oracle.valueAt(key, revision - 1);
      if (held !== undefined) resource.freed(BigInt(held.createRevision));
    },
  });
}

export class Locker {
  readonly #world: World;
  readonly #hosts: Hosts;
  readonly #random: Random;
  readonly #resource: FencedResource;
  /** Counts stays at a host: what an earlier one still says does not count. */
  #stay: number;
  #locks: Locks | undefined;
  #isStopped: boolean;

  constructor(world: World, hosts: Hosts, number: number, resource: FencedResource) {
    this.#world = world;
    this.#hosts = hosts;
    this.#random = world.random(`locker/${number}`);
    this.#resource = resource;
    this.#stay = 0;
    this.#locks = undefined;
    this.#isStopped = false;
  }

  start(): void {
    this.#move();
  }

  stop(): void {
    this.#isStopped = true;
    this.#stay += 1;
    void this.#locks?.close();
    this.#locks = undefined;
  }

  #move(): void {
    if (this.#isStopped) return;
    const stay = ++this.#stay;
    this.#locks = undefined;
    this.#after(stay, PAUSE_MEAN_MS, () => {
      const host = this.#hosts.at(this.#random.below(this.#hosts.count));
      if (host === undefined) return this.#move();
      host.onEnd(() => {
        if (stay === this.#stay) this.#move();
      });
      host.run(() => {
        if (stay !== this.#stay) return;
        this.#locks = kvLocks(host.kv, { ttl: TTL_MS, clock: host.clock, owner: 'locker' });
        void this.#work(host, this.#locks, stay);
      });
    });
  }

  #after(stay: number, meanMs: number, run: () => void): void {
    this.#world.after(exponential(this.#random, meanMs), () => {
      if (stay === this.#stay) run();
    });
  }

  async #work(host: Host, locks: Locks, stay: number): Promise<void> {
    try {
      const lock = await locks.acquire(LOCK_NAME, { wait: 10_000 });
      if (stay !== this.#stay) return;
      this.#resource.granted(lock);
      this.#hold(host, locks, lock, stay);
    } catch (error) {
      if (stay !== this.#stay) return;
      if (!isQuorateError(error) || error.code === 'ERR_INTERNAL') {
        this.#world.violate('unexpected-error', `acquiring a lock: ${String(error)}`);
      }
      void locks.close();
      this.#move();
    }
  }

  /** Works under the lock for a while, as one does who looks whether it is still held. */
  #hold(host: Host, locks: Locks, lock: Lock, stay: number): void {
    const meanMs = chance(this.#random, LONG_HOLD_RATE) ? LONG_HOLD_MEAN_MS : HOLD_MEAN_MS;
    const untilMs = this.#world.nowMs + exponential(this.#random, meanMs);
    const work = (): void => {
      if (stay !== this.#stay) return;
      if (lock.lost.aborted) {
        this.#world.reach('lock-lost');
        this.#resource.released(lock);
        void locks.close();
        this.#move();
        return;
      }
      this.#resource.write(lock);
      if (this.#world.nowMs < untilMs) {
        again();
        return;
      }
      this.#resource.released(lock);
      lock.release().then(
        () => this.#released(host, locks, stay),
        () => this.#released(host, locks, stay),
      );
    };
    const again = (): void => {
      this.#after(stay, WRITE_MEAN_MS, () => host.run(work));
    };
    again();
  }

  #released(host: Host, locks: Locks, stay: number): void {
    if (stay !== this.#stay) return;
    this.#after(stay, PAUSE_MEAN_MS, () => {
      host.run(() => {
        if (stay === this.#stay) void this.#work(host, locks, stay);
      });
    });
  }
}
