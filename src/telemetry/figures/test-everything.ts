/** One of everything that has figures, used, so that each figure says something. */

import { RequestMeter } from '../../http/middleware/stats.ts';
import {
  adaptive,
  bulkhead,
  circuitBreaker,
  deadline,
  degrade,
  fallback,
  hedge,
  limit,
  pipelineRegistry,
  retry,
  shed,
  threadPool,
  timeout,
  tokenBucket,
  workerPool,
} from '../../resilience/index.ts';
import { VirtualClock } from '../../testing/virtual-clock.ts';

export async function everything() {
  const clock = new VirtualClock();
  const registry = pipelineRegistry({ clock });
  const guard = registry.pipeline('stock', [
    fallback('nothing', { on: ({ reason }) => reason === 'limited' }),
    deadline({ after: '10s', clock }),
    shed({ max: 50, clock }),
    timeout('5s', { clock, name: 'overall' }),
    limit(tokenBucket({ rate: '8/h', clock })),
    hedge({ after: '1s', clock }),
    retry({ attempts: 2, backoff: { kind: 'constant', delay: 10 }, clock }),
    circuitBreaker({ consecutive: 2, open: '1h', clock }),
    adaptive({ clock }),
    bulkhead({ max: 10 }),
    timeout('2s', { clock }),
  ]);
  const breaker = circuitBreaker({ name: 'alone', clock });
  const prices = degrade({ fallback: 0, name: 'prices', clock });
  registry.pipeline('prices', [prices]);
  const pool = workerPool({ size: 1, queue: { max: 1, full: 'reject' }, name: 'mails', clock });
  // It has no thread before it has a task.
  const work = new URL('../../resilience/threads/test-work.ts', import.meta.url);
  const images = threadPool(work, { size: 1, name: 'images', clock });
  const requests = new RequestMeter();

  const takes =
    (ms: number, value = 1) =>
    () =>
      new Promise<number>((resolve) => void clock.after(ms, () => resolve(value)));
  const play = async <T>(work: Promise<T>): Promise<T> => {
    await clock.advance(3000);
    return work;
  };
  await play(guard.attempt(takes(20)));
  await play(guard.attempt(takes(1500)));
  await play(guard.attempt(() => Promise.reject(new Error('bad'))));
  await play(guard.attempt(takes(1)));
  await play(prices.attempt(takes(30)));
  await breaker.run(() => 1);
  const tasks = [1, 2, 3].map((ms) => pool.submit(takes(ms)));
  await play(Promise.allSettled(tasks));
  requests.begin();
  requests.end('GET', '/items/:id', 200, 12);
  requests.begin();
  requests.refuse('limited');
  requests.end('GET', '/items/:id', 429, 0.1);
  requests.begin();
  return {
    clock,
    registry,
    guard,
    breaker,
    prices,
    pool,
    requests,
    takes,
    play,
    sources: { pipelines: registry, policies: [breaker], pools: [pool, images], http: [requests] },
  };
}
