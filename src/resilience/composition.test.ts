/** Every policy around and inside every other, under every end that a call can have. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { adaptive } from './adaptive.ts';
import { circuitBreaker } from './breaker/circuit-breaker.ts';
import { bulkhead } from './bulkhead.ts';
import type { CallContext } from './call.ts';
import { deadline } from './deadline.ts';
import { degrade } from './degrade.ts';
import { fallback } from './fallback.ts';
import { hedge } from './hedge.ts';
import { limit } from './limit.ts';
import { tokenBucket } from './limiters.ts';
import type { Outcome } from './outcome.ts';
import { pipeline } from './pipeline.ts';
import type { Policy } from './policy.ts';
import { retry } from './retry.ts';
import { shed } from './shed.ts';
import { timeout } from './timeout.ts';

const TAKES_MS = 10;
const LONG_MS = 120_000;

/** One of each, with room for everything, and never the one that ends a call of these tests. */
const POLICIES: Readonly<Record<string, (name: string, clock: VirtualClock) => Policy>> = {
  timeout: (name, clock) => timeout('1m', { name, clock }),
  cooperative: (name, clock) => timeout('1m', { name, clock, cooperative: true }),
  deadline: (name, clock) => deadline({ after: '1m', name, clock }),
  limit: (name, clock) => limit(tokenBucket({ rate: '1000/s', clock }), { name }),
  bulkhead: (name) => bulkhead({ max: 10, queue: 10, name }),
  adaptive: (name, clock) => adaptive({ initial: 10, queue: 10, name, clock }),
  shed: (name, clock) => shed({ max: 10, name, clock }),
  breaker: (name, clock) =>
    circuitBreaker({ consecutive: 1000, name, clock, random: seededRandom(1) }),
  retry: (name, clock) => retry({ attempts: 2, name, clock, random: seededRandom(1) }),
  hedge: (name, clock) => hedge({ after: '30s', name, clock }),
  fallback: (name) => fallback('instead', { name, on: () => false }),
  degrade: (name, clock) => degrade({ fallback: 'instead', on: () => false, name, clock }),
};

/** How the work goes on: what it is given back, and what it notes. */
interface Scene {
  readonly clock: VirtualClock;
  readonly guard: Policy;
  begun: number;
  aborted: number;
}

const bad = new Error('bad');
const enough = new Error('enough');

/** Takes a while, and stops when it is told to. */
function work(scene: Scene, fails: boolean) {
  return ({ signal }: CallContext): Promise<string> => {
    scene.begun += 1;
    return new Promise((resolve, reject) => {
      const cancel = scene.clock.after(TAKES_MS, () => {
        signal.removeEventListener('abort', onAbort);
        if (fails) reject(bad);
        else resolve('done');
      });
      const onAbort = (): void => {
        scene.aborted += 1;
        cancel();
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  };
}

/** What may happen to a call, and how it has to end. */
const ENDS: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  async success(scene) {
    const run = scene.guard.attempt(work(scene, false));
    await scene.clock.advance(TAKES_MS);
    assert.deepEqual(await run, { ok: true, value: 'done' });
    assert.equal(scene.begun, 1);
  },
  async failure(scene) {
    const run = scene.guard.attempt(work(scene, true));
    await scene.clock.advance(LONG_MS);
    assert.deepEqual(await run, { ok: false, reason: 'failed', error: bad });
    assert.ok(scene.begun === 1 || scene.begun === 2 || scene.begun === 4, `${scene.begun}`);
  },
  async 'thrown at once'(scene) {
    const run = assert.rejects(
      scene.guard.run(() => {
        throw bad;
      }),
      bad,
    );
    await scene.clock.advance(LONG_MS);
    await run;
  },
  async 'given up before'(scene) {
    const run = scene.guard.attempt(work(scene, false), { signal: AbortSignal.abort(enough) });
    assert.deepEqual(await run, { ok: false, reason: 'aborted', error: enough });
    assert.equal(scene.begun, 0);
  },
  async 'given up within'(scene) {
    const stop = new AbortController();
    const run = scene.guard.attempt(work(scene, false), { signal: stop.signal });
    await scene.clock.advance(TAKES_MS / 2);
    const atMs = scene.clock.now();
    stop.abort(enough);
    assert.deepEqual(await run, { ok: false, reason: 'aborted', error: enough });
    assert.equal(scene.clock.now(), atMs, 'ends at once');
    assert.deepEqual([scene.begun, scene.aborted], [1, 1], 'the work was told');
  },
  async 'given up after'(scene) {
    const stop = new AbortController();
    const run = scene.guard.attempt(work(scene, false), { signal: stop.signal });
    await scene.clock.advance(TAKES_MS);
    const outcome: Outcome<string> = await run;
    stop.abort(enough);
    await settled();
    assert.deepEqual(outcome, { ok: true, value: 'done' });
    assert.equal(scene.aborted, 0);
  },
};

describe('policies around each other', () => {
  for (const [outer, makeOuter] of Object.entries(POLICIES)) {
    it(`${outer} around every other, however a call ends`, async () => {
      for (const [inner, makeInner] of Object.entries(POLICIES)) {
        for (const [end, play] of Object.entries(ENDS)) {
          const clock = new VirtualClock();
          const policies = [makeOuter('outer', clock), makeInner('inner', clock)];
          const guard = pipeline('both', policies, { clock });
          const scene: Scene = { clock, guard, begun: 0, aborted: 0 };
          const what = `${outer} around ${inner}, ${end}`;
          try {
            await play(scene);
            await clock.advance(LONG_MS);
            assert.equal(clock.pending, 0, 'timers are left');
            assert.equal(guard.stats().running, 0, 'a call is left');
            for (const policy of policies) leavesNothing(policy);
            // And it still works.
            const again = guard.attempt(async () => 'again');
            await clock.advance(LONG_MS);
            assert.deepEqual(await again, { ok: true, value: 'again' });
          } catch (error) {
            throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
          }
        }
      }
    });
  }
});

function leavesNothing(policy: Policy): void {
  const { running, queued, stats } = policy as Partial<{
    running: number;
    queued: number;
    stats: () => { running?: number; queued?: number };
  }>;
  const figures = stats === undefined ? {} : stats.call(policy);
  for (const count of [running, queued, figures.running, figures.queued]) {
    assert.ok(count === undefined || count === 0, `${policy.name} has ${count} left`);
  }
}
