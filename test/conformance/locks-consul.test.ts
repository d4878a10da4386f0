/** The suites of locks and elections on a real Consul. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  electionCases,
  type LockLacks,
  type LocksTarget,
  lacksOf,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';
import { consulLocks } from '../../src/drivers/consul/index.ts';
import { missingConsul } from '../support/consul.ts';
import { ConsulOfSuite } from '../support/consul-process.ts';
import { block, registerCase } from './locks-over-kv.ts';

const DECLARED: LockLacks = lacksOf({
  fencing: 'monotonic',
  waiters: 'barging',
  expiry: 'engine-clock',
  shared: false,
  permits: false,
});
const LACKS: LockLacks = { ...DECLARED, waiters: 'who waits is not in Consul' };

/** Renewals must get through on a slow machine. */
const TTL_MS = 1500;
const LOCK_DELAY_MS = 200;

const missing = missingConsul();
describe('locks on Consul', { skip: missing }, () => {
  const consul = new ConsulOfSuite();
  const cases = [...lockCases, ...electionCases];
  runLockCases(cases, () => targetOn(consul), registerCase, LACKS);

  test('promises what the suite holds it to', async () => {
    await using locks = consulLocks();
    assert.deepEqual(lacksOf(locks.guarantees), DECLARED);
  });
});

function targetOn({ servers, processes }: ConsulOfSuite): LocksTarget {
  let open = 0;
  return {
    ttlMs: TTL_MS,
    // Consul ends a session after up to twice its time to live, and then comes the delay.
    expiryMs: TTL_MS + LOCK_DELAY_MS + 5000,
    promptMs: 5000,
    stall: block,
    async leftovers(prefix) {
      const keys = await Promise.all(
        ['locks', 'elections'].map((kind) => servers.keys(`quorate/${kind}/${prefix}`)),
      );
      const sessions = open === 0 ? await servers.sessions() : [];
      return [
        ...keys.flat().map(({ Key, Session }) => `${Key} of ${Session}`),
        // While clients are open they have one each.
        ...sessions.map(({ ID, Name }) => `session ${ID} of ${Name}`),
      ];
    },
    async open(options) {
      const process = await processes.open({ ...options, lockDelay: LOCK_DELAY_MS });
      open += 1;
      const close = (): void => {
        open -= 1;
      };
      return {
        ...process,
        close,
        abandon: () => {
          close();
          return process.kill();
        },
      };
    },
    async depose(name) {
      const { locks, close } = await processes.open({ prefix: 'quorate/elections/' });
      await locks.forceRelease(name);
      await close();
    },
  };
}
