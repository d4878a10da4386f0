/** Random walks: tasks of all kinds, threads that end, tasks that are cancelled; each task settles once, with what it should. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import type { Task } from '../pools/task.ts';
import { threadPool } from './thread-pool.ts';

type WorkModule = typeof import('./test-work.ts');

const WORK = new URL('./test-work.ts', import.meta.url);

/** What it may end with. */
type Judge = (end: PromiseSettledResult<unknown>) => boolean;

const endsWith =
  (value: unknown): Judge =>
  (end) =>
    end.status === 'fulfilled' && end.value === value;
const isLost: Judge = (end) =>
  end.status === 'rejected' && isQuorateError(end.reason, 'ERR_UNAVAILABLE');
const isCancelled: Judge = (end) =>
  end.status === 'rejected' && (end.reason as Error).message === 'cancelled by the test';

describe('a pool of threads under a random walk', () => {
  for (const seed of [1, 2]) {
    it(`settles each task once, and loses only what was begun (seed ${seed})`, async () => {
      const random = seededRandom(seed);
      const of = (n: number) => random.below(n);
      const pool = threadPool<WorkModule>(WORK, {
        size: 3,
        queue: { max: 500 },
        recycle: { tasks: 50 },
      });
      const running: [Task<unknown>, Judge, string][] = [];
      const ends: Promise<void>[] = [];
      const add = (task: Task<unknown>, judge: Judge, what: string) => {
        running.push([task, judge, what]);
        ends.push(
          Promise.allSettled([task]).then(([end]) => {
            const wasCancelled = task.state === 'cancelled';
            assert.ok((wasCancelled ? isCancelled : judge)(end), `${what}: ${JSON.stringify(end)}`);
          }),
        );
      };
      for (let i = 0; i < 150; i++) {
        const options = { key: of(4) === 0 ? `key ${of(3)}` : undefined, priority: of(4) };
        const which = of(100);
        if (which < 70) add(pool.submit('add', [i, 1], options), endsWith(i + 1), 'add');
        else if (which < 85)
          add(pool.submit('addLater', [i, 1], options), endsWith(i + 1), 'later');
        else if (which < 87) add(pool.submit('exit', [1], options), isLost, 'exit');
        else if (which < 89) add(pool.submit('exitAfterwards', [i], options), endsWith(i), 'after');
        else if (which < 95)
          running[of(running.length)]?.[0].cancel(new Error('cancelled by the test'));
        else if (which < 98) await running[of(running.length)]?.[0].then(nothing, nothing);
        else pool.resize(1 + of(3));
      }
      const { cancelled, abandoned } = await pool.drain();
      assert.deepEqual([cancelled, abandoned], [[], []]);
      await Promise.all(ends);
      const stats = pool.stats();
      assert.equal(stats.submitted, ends.length);
      assert.equal(stats.done + stats.failed + stats.cancelled, ends.length);
      assert.deepEqual([stats.threads, stats.running, stats.overdue], [0, 0, 0]);
    });
  }
});

function nothing(): void {
  // How it ended is looked at elsewhere.
}
