/** What a caller keeps in its `AsyncLocalStorage`, a request or a span, is seen by its work and by nobody else's. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { it } from 'node:test';
import { deadline } from './deadline.ts';
import { hedge } from './hedge.ts';
import { workerPool } from './pools/worker-pool.ts';
import { timeout } from './timeout.ts';

const storage = new AsyncLocalStorage<string>();

/** Two callers that share the timer which the first of them started. */
function both<T>(play: (caller: string) => Promise<T>): Promise<T[]> {
  return Promise.all(['a', 'b'].map((caller) => storage.run(caller, () => play(caller))));
}

const never = (): Promise<never> => new Promise(() => undefined);

it('each attempt of a hedge sees its own caller', async () => {
  const guard = hedge({ after: 5 });
  const seen = await both((caller) =>
    guard.run(async ({ attempt }) => {
      if (attempt === 1) await never();
      const before = storage.getStore();
      await Promise.resolve();
      return [caller, before, storage.getStore()];
    }),
  );
  assert.deepEqual(seen, [
    ['a', 'a', 'a'],
    ['b', 'b', 'b'],
  ]);
});

for (const guard of [timeout(5), deadline({ after: 5 }), workerPool({ size: 2, timeout: 5 })]) {
  const name = 'kind' in guard ? guard.kind : 'pool';
  it(`who hears that its time is over sees no other caller: ${name}`, async () => {
    const heard: (string | undefined)[] = [];
    const alive = setInterval(() => undefined, 1000);
    await both(async (caller) => {
      const work = ({ signal }: { signal: AbortSignal }): Promise<never> => {
        signal.addEventListener('abort', () => heard.push(storage.getStore()));
        return never();
      };
      await assert.rejects('kind' in guard ? guard.run(work) : guard.submit(work), {
        code: 'ERR_TIMEOUT',
      });
      assert.equal(storage.getStore(), caller);
    });
    clearInterval(alive);
    assert.deepEqual(heard, [undefined, undefined]);
  });
}
