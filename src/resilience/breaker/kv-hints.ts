/**
 * Hints between circuit breakers over a store: a key for each circuit that an instance has broken, on a lease, so that it
 * goes with the instance. Nobody waits for the store: where it is down, there are no hints, and each breaker decides alone.
 */
import { sleep } from '../../core/abort.ts';
import { type Cancel, type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid, isQuorateError } from '../../core/errors.ts';
import { numberAbove } from '../../core/numbers.ts';
import type { Kv } from '../../kv/kv.ts';
import type { BreakerHints } from './hints.ts';

/** What hints over a store take. */
export interface KvHintsOptions {
  /** Name of this instance, different for all that share a circuit: text without `/`. */
  readonly instance: string;
  /** Before the names of all keys. @defaultValue `'breakers/'` */
  readonly prefix?: string | undefined;
  /** A hint that is not taken back is gone after this: whole seconds, rounded up. @defaultValue `'30s'` */
  readonly lasts?: Duration | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** Hints over a store. */
export interface KvHints extends BreakerHints, AsyncDisposable {
  /** Hints that could not be told or taken back in time, ever. */
  readonly lost: number;
  /** Takes back what was told, as well as can be, and hears no more. Idempotent. */
  close(): Promise<void>;
}

/** After that a store that does not answer is given up, and tried again when there is something new. */
const ANSWER_MS = 5000;
/** Between attempts to hear what others tell. */
const AGAIN_MS = 1000;
/** More are not looked at: they would come from something else than breakers. */
const MAX_HINTS = 10_000;

/**
 * Hints between circuit breakers of several instances over a store. What others have told before is news for who begins to
 * listen.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a name or a time that is none.
 * @example
 * ```ts
 * await using shared = kvHints(kv, { instance: hostname() });
 * const breaker = circuitBreaker({ name: 'stock', hints: { shared, quorum: 2 } });
 * ```
 */
export function kvHints(kv: Kv, options: KvHintsOptions): KvHints {
  return new Hints(kv, options);
}

type Listener = (others: number) => void;

class Hints implements KvHints {
  readonly #kv: Kv;
  readonly #instance: string;
  readonly #prefix: string;
  readonly #lastsMs: number;
  readonly #clock: Clock;
  /** Instances by circuit, this one left out. */
  #broken: Map<string, Set<string>>;
  readonly #listeners: Map<string, Set<Listener>>;
  readonly #leases: Map<string, bigint>;
  /** What is to be told of a circuit, and the work on it. */
  readonly #wanted: Map<string, boolean>;
  readonly #writing: Map<string, Promise<void>>;
  readonly #stop: AbortController;
  readonly #following: Promise<void>;
  #closed: Promise<void> | undefined;
  #lost: number;

  constructor(kv: Kv, options: KvHintsOptions) {
    const { instance, prefix = 'breakers/', lasts = '30s', clock = systemClock } = options;
    if (typeof instance !== 'string' || instance === '' || instance.includes('/'))
      throw invalid(`instance: ${JSON.stringify(instance)}; a name without '/' is needed`);
    if (typeof prefix !== 'string') throw invalid('prefix: a text is needed');
    this.#kv = kv;
    this.#instance = instance;
    this.#prefix = prefix;
    this.#lastsMs = numberAbove('lasts', durationMs(lasts, 'lasts'), 0);
    this.#clock = clock;
    this.#broken = new Map();
    this.#listeners = new Map();
    this.#leases = new Map();
    this.#wanted = new Map();
    this.#writing = new Map();
    this.#stop = new AbortController();
    this.#closed = undefined;
    this.#lost = 0;
    this.#following = this.#follow();
  }

  get lost(): number {
    return this.#lost;
  }

  tell(circuit: string, isBroken: boolean): void {
    if (this.#closed !== undefined) return;
    this.#wanted.set(circuit, isBroken);
    if (!this.#writing.has(circuit)) this.#writing.set(circuit, this.#write(circuit));
  }

  listen(circuit: string, onBroken: Listener): Cancel {
    let listeners = this.#listeners.get(circuit);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(circuit, listeners);
    }
    listeners.add(onBroken);
    const others = this.#broken.get(circuit)?.size ?? 0;
    if (others > 0) onBroken(others);
    return () => {
      listeners.delete(onBroken);
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    this.#stop.abort();
    for (const circuit of this.#wanted.keys()) this.#wanted.set(circuit, false);
    await Promise.all([...this.#writing.values(), this.#following]);
    const circuits = [...this.#leases.keys()];
    await Promise.all(circuits.map((circuit) => this.#attempt(circuit, false)));
  }

  /** Until the store holds what is wanted: what changed meanwhile is done next, what was in between is left out. */
  async #write(circuit: string): Promise<void> {
    let isTold: boolean | undefined;
    for (;;) {
      const wanted = this.#wanted.get(circuit)!;
      if (wanted === isTold) break;
      isTold = wanted;
      await this.#attempt(circuit, wanted);
    }
    this.#writing.delete(circuit);
  }

  async #attempt(circuit: string, isBroken: boolean): Promise<void> {
    const late = new AbortController();
    const cancel = this.#clock.after(ANSWER_MS, () => late.abort());
    try {
      if (isBroken) await this.#put(circuit, late.signal);
      else await this.#takeBack(circuit, late.signal);
    } catch {
      this.#lost += 1;
    } finally {
      cancel();
    }
  }

  async #put(circuit: string, signal: AbortSignal): Promise<void> {
    const { id } = await this.#kv.grantLease(this.#lastsMs, { signal });
    this.#leases.set(circuit, id);
    await this.#kv.put(`${this.#prefix}${circuit}/${this.#instance}`, '', { lease: id, signal });
  }

  async #takeBack(circuit: string, signal: AbortSignal): Promise<void> {
    const lease = this.#leases.get(circuit);
    if (lease === undefined) return;
    this.#leases.delete(circuit);
    try {
      await this.#kv.revokeLease(lease, { signal });
    } catch (error) {
      // It ran out before, and the hint with it.
      if (!isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) throw error;
    }
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#followOnce(signal);
      } catch {
        // The store is away, or what was to come was compacted: it is listed again.
      }
      if (!signal.aborted) await sleep(this.#clock, AGAIN_MS, signal).catch(() => undefined);
    }
  }

  async #followOnce(signal: AbortSignal): Promise<void> {
    const range = { prefix: this.#prefix };
    const { kvs, revision } = await this.#kv.range(range, {
      keysOnly: true,
      limit: MAX_HINTS,
      signal,
    });
    // Who is not in it any more has taken it back while nobody listened.
    const before = this.#broken;
    this.#broken = new Map();
    for (const { key } of kvs) this.#add(key, before);
    for await (const { events } of this.#kv.watch(range, { fromRevision: revision + 1, signal })) {
      for (const { type, kv } of events) {
        if (type === 'put') this.#add(kv.key);
        else this.#remove(kv.key);
      }
    }
  }

  #add(key: Buffer, before?: ReadonlyMap<string, ReadonlySet<string>>): void {
    const { circuit, instance } = this.#parse(key);
    if (instance === this.#instance) return;
    let instances = this.#broken.get(circuit);
    if (instances === undefined) {
      instances = new Set();
      this.#broken.set(circuit, instances);
    }
    if (instances.has(instance)) return;
    instances.add(instance);
    if (before?.get(circuit)?.has(instance)) return;
    for (const tell of this.#listeners.get(circuit) ?? []) tell(instances.size);
  }

  #remove(key: Buffer): void {
    const { circuit, instance } = this.#parse(key);
    const instances = this.#broken.get(circuit);
    instances?.delete(instance);
    if (instances?.size === 0) this.#broken.delete(circuit);
  }

  #parse(key: Buffer): { readonly circuit: string; readonly instance: string } {
    const name = key.toString().slice(this.#prefix.length);
    const slash = name.lastIndexOf('/');
    return { circuit: name.slice(0, Math.max(0, slash)), instance: name.slice(slash + 1) };
  }
}
