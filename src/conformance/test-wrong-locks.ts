/** Locks and elections that are wrong in one thing each, over the in-memory store in fast time. */
import type { Clock } from '../core/clock.ts';
import { kvOver } from '../kv/kv-over.ts';
import { memoryService } from '../kv/memory.ts';
import type { Elections } from '../locks/elections.ts';
import type { Lock, Locks } from '../locks/locks.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { runLockCase } from './locks.ts';
import type { LockCase, LockClient, LocksTarget } from './locks-context.ts';
import type { LockLacks } from './locks-lacks.ts';
import { KV_LACKS, kvTarget } from './test-kv-target.ts';
import { thrownBy, withMethods } from './test-wrong.ts';

/** What is wrong. Each function is given the right ones and says what to put in their place. */
export interface Wrong {
  /** The case that must notice. */
  readonly noticedBy: string;
  readonly lacks?: LockLacks;
  readonly locks?: (right: Locks, clock: Clock) => Partial<Locks>;
  /** Every handle. */
  readonly lock?: (right: Lock, locks: Locks) => Partial<Lock>;
  readonly elections?: (right: Elections, clock: Clock) => Partial<Elections>;
  readonly target?: (right: LocksTarget) => Partial<LocksTarget>;
}

/** How the case ends that is to notice; `undefined`: it does not. */
export async function noticed(cases: readonly LockCase[], wrong: Wrong): Promise<unknown> {
  const one = cases.find(({ name }) => name === wrong.noticedBy);
  if (one === undefined) throw new Error(`there is no case '${wrong.noticedBy}'`);
  return failureOf(one, wrong);
}

/** What the case says of it; `undefined`: nothing is wrong. */
export async function failureOf(one: LockCase, wrong: Partial<Wrong>): Promise<unknown> {
  const clock = new VirtualClock();
  const kv = kvOver(memoryService({ clock }));
  const stall = (delayMs: number): void => clock.stall(delayMs);
  const right = {
    ...kvTarget({ stores: [kv], ttlMs: 2000, expiryMs: 1000, clock, stall }),
    promptMs: 1000,
  };
  const open: LocksTarget['open'] = async (options) =>
    wrongClient(await right.open(options), wrong, clock);
  const target: LocksTarget = { ...right, open, ...wrong.target?.({ ...right, open }) };
  const lacks = { ...KV_LACKS, ...wrong.lacks };
  const error = await thrownBy(clock, 5, () => runLockCase(one, target, lacks));
  await kv.close();
  return error;
}

function wrongClient(client: LockClient, wrong: Partial<Wrong>, clock: Clock): LockClient {
  const right = client.locks as Locks;
  const elections = client.elections!;
  const changed = withMethods(right, wrong.locks?.(right, clock) ?? {});
  return {
    ...client,
    locks: wrong.lock === undefined ? changed : withLocks(changed, wrong.lock),
    elections: withMethods(elections, wrong.elections?.(elections, clock) ?? {}),
  };
}

function withLocks(right: Locks, change: (lock: Lock, locks: Locks) => Partial<Lock>): Locks {
  const changed = (lock: Lock): Lock => changedHandle(lock, change(lock, right));
  return withMethods<Locks>(right, {
    acquire: async (...args) => changed(await right.acquire(...args)),
    tryAcquire: async (...args) => {
      const lock = await right.tryAcquire(...args);
      return lock && changed(lock);
    },
    run: (name, work, options) => right.run(name, (lock) => work(changed(lock)), options),
  });
}

/** As `withMethods`, for `await using`, which wants plain methods. */
function changedHandle(right: Lock, wrong: Partial<Lock>): Lock {
  const changed = withMethods(right, wrong);
  return {
    name: changed.name,
    holder: changed.holder,
    fencingToken: changed.fencingToken,
    get lost() {
      return changed.lost;
    },
    assertHeld: () => changed.assertHeld(),
    remainingMs: () => changed.remainingMs(),
    release: () => changed.release(),
    [Symbol.asyncDispose]: () => changed[Symbol.asyncDispose](),
  };
}
