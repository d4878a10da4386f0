/**
 * A program that takes the lock again and again and writes while it has it, as the docs say: it looks at the
 * lock before each write, sends its token along, and stops where it is refused. Between look and write it works
 * for a while, as whatever a lock guards does.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from 'quorate';
import type { Fencing, Lock, Locks } from 'quorate/locks';
import { DRIVERS, type Wiring } from './drivers.ts';
import { type Ending, type FromWorker, type Hold, LOCK, type ToWorker } from './messages.ts';

const WORK_MS = 20;
const WRITES_A_HOLD = 8;
/** Others have their turn, also where whoever is quickest has the lock. */
const PAUSE_MS = 10;
/** Before it asks again after an error, or where the lock was busy. */
const AGAIN_MS = 50;

const wiring = JSON.parse(process.env['QUORATE_LOCK_CHAOS']!) as Wiring;

const lockName = wiring.breakage === 'no exclusion' ? `${LOCK}-${wiring.name}` : LOCK;

let onWritten: (accepted: boolean) => void = () => undefined;
let staysUntilMs = 0;

const tell = (message: FromWorker): void => void process.send!(message);

process.on('message', (message: ToWorker) => {
  if (message.kind === 'written') onWritten(message.accepted);
  else if (message.kind === 'stay') staysUntilMs = performance.now() + message.forMs;
  else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.forMs);
});
process.on('disconnect', () => process.exit());

function write(hold: Hold): Promise<boolean> {
  return new Promise((resolve) => {
    onWritten = resolve;
    tell({ kind: 'write', hold });
  });
}

async function use(lock: Lock<Fencing>, hold: Hold): Promise<Ending> {
  try {
    for (let i = 0; i < WRITES_A_HOLD || performance.now() < staysUntilMs; i++) {
      lock.assertHeld();
      tell({ kind: 'looked', hold });
      await delay(WORK_MS);
      if (!(await write(hold))) return 'refused';
    }
    return 'released';
  } catch (error) {
    if (isQuorateError(error, 'ERR_LOCK_LOST')) return 'lost';
    throw error;
  } finally {
    await lock.release().catch(failed);
  }
}

function failed(error: unknown): void {
  const what = isQuorateError(error) ? error.code : String((error as Error)?.stack ?? error);
  tell({ kind: 'failed', what });
}

async function open(): Promise<Locks<Fencing>> {
  while (true) {
    try {
      return await DRIVERS[wiring.driver](wiring);
    } catch (error) {
      failed(error);
      await delay(AGAIN_MS);
    }
  }
}

const locks = await open();
tell({ kind: 'ready', guarantees: locks.guarantees });
for (let i = 1; ; i++) {
  const calledNs = process.hrtime.bigint();
  try {
    const lock = wiring.isHasty
      ? await locks.tryAcquire(lockName)
      : await locks.acquire(lockName, { wait: '10s' });
    if (lock === undefined) {
      await delay(AGAIN_MS);
      continue;
    }
    const grantedNs = process.hrtime.bigint();
    const token = wiring.breakage === 'constant token' ? 7n : lock.fencingToken;
    // Another process of this name may have been killed.
    const id = `${wiring.name}-${process.pid}#${i}`;
    const hold = { id, worker: wiring.name, token, holder: lock.holder, calledNs, grantedNs };
    tell({ kind: 'granted', hold });
    tell({ kind: 'ended', hold, how: await use(lock, hold) });
    await delay(PAUSE_MS);
  } catch (error) {
    failed(error);
    await delay(AGAIN_MS);
  }
}
