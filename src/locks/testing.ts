/** What the tests of locks share: a store in memory under a clock of the test, with faults to inject. */
import { sleep } from '../core/abort.ts';
import { QuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import type { Kv } from '../kv/kv.ts';
import { kvOver } from '../kv/kv-over.ts';
import { memoryService } from '../kv/memory.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import type { Elections, Leadership } from './elections.ts';

/** What happens to the next calls of a method. */
export type Fault =
  /** Never arrives, never answers. */
  | 'hang'
  /** Refused: surely not applied. */
  | 'refuse'
  /** Applied, and the reply is lost. */
  | 'lose-reply'
  /** Not applied now, reply lost; `Store.deliverLate` applies it. */
  | 'delay'
  /** Applied at once, answered two seconds later. */
  | 'slow'
  /** The history that it needs is gone. */
  | 'compacted';

export class Store {
  readonly clock = new VirtualClock();
  /** The store itself. */
  readonly kv: Kv;
  /** The store behind the faults: what goes into `kvLocks`. */
  readonly faulty: Kv;
  readonly calls: string[] = [];
  readonly #faults = new Map<string, Fault[]>();
  readonly #late: (() => Promise<unknown>)[] = [];

  constructor() {
    this.kv = kvOver(memoryService({ clock: this.clock, random: seededRandom(1) }));
    this.faulty = new Proxy(this.kv, {
      get: (kv, name) => {
        const value: unknown = Reflect.get(kv, name, kv);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => this.#call(String(name), () => value.apply(kv, args), args);
      },
    });
  }

  /** The next call of `method` meets `fault`; repeated for as many calls. */
  inject(method: keyof Kv & string, fault: Fault, times = 1): void {
    const faults = this.#faults.get(method) ?? [];
    for (let i = 0; i < times; i++) faults.push(fault);
    this.#faults.set(method, faults);
  }

  heal(): void {
    this.#faults.clear();
  }

  async deliverLate(): Promise<void> {
    for (const run of this.#late.splice(0)) await run().catch(() => undefined);
  }

  async keys(): Promise<string[]> {
    const { kvs } = await this.kv.range({ from: '\0' }, { keysOnly: true });
    return kvs.map((kv) => kv.key.toString());
  }

  #call(name: string, run: () => unknown, args: unknown[]): unknown {
    this.calls.push(name);
    const fault = this.#faults.get(name)?.shift();
    if (fault === undefined) return run();
    const { signal } = (args.at(-1) ?? {}) as { signal?: AbortSignal };
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    // Only some of the faults wait for it.
    aborted.catch(() => undefined);
    const lost = new QuorateError('ERR_UNAVAILABLE', 'the reply was lost', { outcome: 'unknown' });
    switch (fault) {
      case 'hang':
        return aborted;
      case 'refuse':
        return Promise.reject(new QuorateError('ERR_UNAVAILABLE', 'out of reach'));
      case 'lose-reply':
        return Promise.resolve(run()).then(() => Promise.reject(lost));
      case 'delay':
        this.#late.push(async () => run());
        return Promise.reject(lost);
      case 'slow':
        return Promise.resolve(run()).then(async (result) => {
          await sleep(this.clock, 2000);
          return result;
        });
      case 'compacted':
        throw new QuorateError('ERR_COMPACTED', 'compacted');
    }
  }
}

/** One term, from when this candidate leads; its campaign does not go on. */
export async function elected(
  elections: Elections,
  ...campaign: Parameters<Elections['campaign']>
): Promise<Leadership> {
  // Not a loop: leaving it would resign.
  const terms = elections.campaign(...campaign)[Symbol.asyncIterator]();
  const { value } = await terms.next();
  return value;
}
