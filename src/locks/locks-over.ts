/** The contract of locks over an engine: arguments checked at the door, and what is built of single claims. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { throwIfAborted, type WaitOptions } from '../core/abort.ts';
import { durationMs } from '../core/duration.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import type { ClaimRequest, LockEngine } from './engine.ts';
import { HeldTogether } from './held-together.ts';
import type {
  AcquireOptions,
  Fencing,
  Lock,
  LockGuarantees,
  LockHolder,
  LockSet,
  Locks,
} from './locks.ts';
import { Gate } from './signals.ts';

/** More at once would hold a queue up for long, and no engine has a transaction for it. */
const MAX_TOGETHER = 100;
const MAX_PERMITS = 1_000_000;

/** Locks over an engine. `owner` is what others see of who holds. */
export function locksOver<F extends Fencing>(engine: LockEngine<F>, owner: string): Locks<F> {
  return new LocksOver(engine, owner);
}

/** What `run` holds around the code that runs now. */
interface Around<F extends Fencing> {
  readonly name: string;
  readonly lock: Lock<F>;
  readonly outer: Around<F> | undefined;
}

class LocksOver<F extends Fencing> implements Locks<F> {
  readonly guarantees: LockGuarantees<F>;
  readonly #engine: LockEngine<F>;
  readonly #owner: string;
  readonly #around: AsyncLocalStorage<Around<F>>;

  constructor(engine: LockEngine<F>, owner: string) {
    this.guarantees = engine.guarantees;
    this.#engine = engine;
    this.#owner = owner;
    this.#around = new AsyncLocalStorage();
  }

  // These two are not async: the promise is the engine's, which for locks in the process is most of their cost.
  acquire(name: string, options: AcquireOptions = {}): Promise<Lock<F>> {
    try {
      const request = this.#request(name, options);
      throwIfAborted(options.signal);
      const outer = this.#outer(name, options);
      return outer === undefined ? this.#engine.claim(request) : Promise.resolve(outer);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  tryAcquire(
    name: string,
    options: Omit<AcquireOptions, 'wait'> = {},
  ): Promise<Lock<F> | undefined> {
    try {
      const request = this.#request(name, options);
      throwIfAborted(options.signal);
      const outer = this.#outer(name, options);
      return outer === undefined ? this.#engine.tryClaim(request) : Promise.resolve(outer);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async acquireAll(names: readonly string[], options: AcquireOptions = {}): Promise<LockSet<F>> {
    if (!Array.isArray(names) || names.length === 0 || names.length > MAX_TOGETHER) {
      throw invalid(`names: a list of 1 to ${MAX_TOGETHER} names is needed`);
    }
    // Everybody takes them in this order: nobody waits for one who waits for him.
    const ordered = [...new Set(names)].sort();
    for (const name of ordered) this.#request(name, options);
    const waitMs = options.wait === undefined ? undefined : durationMs(options.wait, 'wait');
    const what = { name: ordered.join("', '"), signal: options.signal, waitMs };
    throwIfAborted(options.signal);
    const gate = new Gate(this.#engine.clock, what);
    const taken = new Map<string, Lock<F>>();
    try {
      for (const name of ordered) {
        const one = { ...options, wait: undefined, signal: gate.signal };
        taken.set(name, await this.acquire(name, one));
      }
      const together = new HeldTogether(names.map((name) => taken.get(name)!));
      // One may have been lost while the others were waited for.
      together.assertHeld();
      return together;
    } catch (error) {
      for (const lock of taken.values()) await lock[Symbol.asyncDispose]();
      throw error;
    } finally {
      gate.close();
    }
  }

  async run<T>(
    name: string,
    work: (lock: Lock<F>) => Promise<T> | T,
    options: AcquireOptions = {},
  ): Promise<T> {
    if (typeof work !== 'function') throw invalid('run: a function is needed after the name');
    const lock = await this.acquire(name, options);
    try {
      const result = await (options.reentrant === true
        ? this.#around.run({ name, lock, outer: this.#around.getStore() }, () => work(lock))
        : work(lock));
      if (lock.remainingMs() > 0 || !lock.lost.aborted) return result;
      throw new QuorateError(
        'ERR_LOCK_LOST',
        `the work under lock '${name}' has ended, but the lock was lost before: others may have worked at the same time`,
        { outcome: 'unknown', cause: lock.lost.reason },
      );
    } finally {
      await lock[Symbol.asyncDispose]();
    }
  }

  async holders(name: string, options: WaitOptions = {}): Promise<readonly LockHolder[]> {
    this.#requireName(name);
    throwIfAborted(options.signal);
    return this.#engine.holders(name, options);
  }

  async forceRelease(name: string, options: WaitOptions = {}): Promise<readonly LockHolder[]> {
    this.#requireName(name);
    throwIfAborted(options.signal);
    return this.#engine.evict(name, options);
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The lock that the code around this call holds, if it asks for that. */
  #outer(name: string, options: AcquireOptions): Lock<F> | undefined {
    if (options.reentrant !== true) return undefined;
    let around = this.#around.getStore();
    while (around !== undefined && around.name !== name) around = around.outer;
    if (around === undefined || around.lock.remainingMs() <= 0) return undefined;
    return new Reentered(around.lock);
  }

  #request(name: string, options: AcquireOptions): ClaimRequest {
    this.#requireName(name);
    const { signal, wait } = options;
    return {
      name,
      permits: permitsOf(options, this.guarantees),
      value: this.#owner,
      what: 'lock',
      lostCode: 'ERR_LOCK_LOST',
      signal,
      waitMs: wait === undefined ? undefined : durationMs(wait, 'wait'),
    };
  }

  #requireName(name: string): void {
    if (typeof name !== 'string' || name === '') {
      throw invalid(`name: ${name === '' ? 'empty' : `not text but ${typeof name}`}`);
    }
    this.#engine.requireName(name);
  }
}

function permitsOf({ shared, permits }: AcquireOptions, has: LockGuarantees): number {
  if (shared === true) {
    if (permits !== undefined) throw invalid('shared and permits exclude each other');
    if (has.shared) return Number.POSITIVE_INFINITY;
    throw unsupported('shared: this engine has no locks that are shared');
  }
  if (permits === undefined || permits === 1) return 1;
  wholeNumber('permits', permits, 1, MAX_PERMITS);
  if (has.permits) return permits;
  throw unsupported('permits: this engine has no semaphores');
}

function unsupported(message: string): QuorateError {
  return new QuorateError('ERR_UNSUPPORTED', `${message}; docs/which-lock.md says which have`);
}

/** A lock that the code around holds already: to give it back is up to that. */
class Reentered<F extends Fencing> implements Lock<F> {
  readonly #outer: Lock<F>;
  #isReleased = false;

  constructor(outer: Lock<F>) {
    this.#outer = outer;
  }

  get name(): string {
    return this.#outer.name;
  }
  get fencingToken(): Lock<F>['fencingToken'] {
    return this.#outer.fencingToken;
  }
  get holder(): string {
    return this.#outer.holder;
  }
  get lost(): AbortSignal {
    return this.#outer.lost;
  }
  assertHeld(): void {
    this.#outer.assertHeld();
    if (!this.#isReleased) return;
    throw new QuorateError('ERR_LOCK_LOST', `the lock '${this.name}' was given back`);
  }
  remainingMs(): number {
    return this.#isReleased ? 0 : this.#outer.remainingMs();
  }
  async release(): Promise<void> {
    this.#isReleased = true;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
