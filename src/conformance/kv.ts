/**
 * The key-value suite: every rule of the contract, which is the data model of etcd's v3 API, as
 * cases. etcd itself, the embedded quorum and the in-memory store pass it; run it on your own.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { Kv } from '../kv/kv.ts';
import type { KvService } from '../kv/service.ts';
import type { Register } from './case.ts';
import { compactCases } from './kv-compact.ts';
import { compareCases } from './kv-compare.ts';
import { type KvCapability, type KvCase, KvContext } from './kv-context.ts';
import { leaseCases } from './kv-lease.ts';
import { rangeCases } from './kv-range.ts';
import { txnCases } from './kv-txn.ts';
import { watchCases } from './kv-watch.ts';
import { watchStreamCases } from './kv-watch-stream.ts';
import { writeCases } from './kv-write.ts';

/** All cases, in the order to run them: those that drop history come last. */
export const kvCases: readonly KvCase[] = [
  ...rangeCases,
  ...writeCases,
  ...compareCases,
  ...txnCases,
  ...leaseCases,
  ...watchCases,
  ...watchStreamCases,
  ...compactCases,
];

/** The store under test. */
export interface KvTarget {
  readonly kv: Kv;
  /** The raw API of the same store. @defaultValue none: cases that need it are skipped */
  readonly service?: KvService | undefined;
  /** The one that the store goes by. @defaultValue the system's */
  readonly clock?: Clock;
  /** Picks the prefix of a case's keys. @defaultValue the system's */
  readonly random?: Random;
}

/**
 * Hands `cases` to a test runner. They share the store, one after another; each has keys of its own
 * and deletes them at its end. Others may write to the store meanwhile, but must not compact it.
 *
 * @param open gives the store; called by each case.
 * @param lacks capabilities that are missing, each with the reason that is shown for the skipped cases
 * @example
 * ```ts
 * runCases(kvCases, () => target, (name, run, skip) => {
 *   test(name, { skip: skip ?? false }, run);
 * });
 * ```
 */
export function runCases(
  cases: readonly KvCase[],
  open: () => KvTarget | Promise<KvTarget>,
  register: Register,
  lacks: Partial<Readonly<Record<KvCapability, string>>> = {},
): void {
  for (const one of cases) {
    const missing = one.needs?.find((need) => lacks[need] !== undefined);
    const skip = missing === undefined ? undefined : lacks[missing];
    register(one.name, async () => runCase(one, await open()), skip);
  }
}

/** Runs one case; rejects with an `AssertionError` where the store breaks its rule. */
export async function runCase(one: KvCase, target: KvTarget): Promise<void> {
  const clock = target.clock ?? systemClock;
  const id = (target.random ?? systemRandom).id63().toString(36);
  const context = new KvContext(target.kv, target.service, clock, `conformance/${id}/`);
  try {
    await one.run(context);
  } finally {
    await context.end();
  }
}
