// A cron job that five instances start at the same minute, and that runs once: also where the one that runs
// it fails, or sleeps so long that another does it. Here all five are in one process and on one store in
// memory; in production each opens its own `kv`: node.kv of the embedded quorum, or etcdKv.
// Prints: Monday: 1 done, 4 found it done
// Prints: Tuesday: 1 failed, 1 done, 3 found it done
// Prints: Wednesday: 1 overtaken, 1 done, 3 found it done
// Prints: the report of Wednesday is by the one that was awake

import { isQuorateError } from 'quorate';
import { type Kv, memoryKv } from 'quorate/kv';
import { kvLocks, type Lock, type Locks } from 'quorate/locks';

type Work = (lock: Lock) => Promise<string>;

/** Runs `work` unless another instance did or does. The lock alone would not be enough: who comes later finds it free. */
async function oncePerNight(kv: Kv, locks: Locks, night: string, work: Work): Promise<string> {
  const key = `reports/${night}`;
  return await locks.run('nightly-report', async (lock) => {
    if ((await kv.get(key)) !== undefined) return 'found it done';
    const report = await work(lock); // give it lock.lost, so that it ends when the lock is lost
    // The result is also the mark that it is done. The condition is the fence: it refuses the write of one
    // that lost the lock and does not know. To another database you would hand lock.fencingToken instead.
    const { succeeded } = await kv.txn({
      if: [{ key: lock.holder, target: 'create', is: '=', to: Number(lock.fencingToken) }],
      then: [{ op: 'put', key, value: report }],
    });
    return succeeded ? 'done' : 'overtaken';
  });
}

await using kv = memoryKv();
await using operator = kvLocks(kv);

/** Five instances whose clocks say that it is time. Each is given the same work, and each tells how it went. */
async function allStart(night: string, work: Work): Promise<void> {
  const outcomes = await Promise.all(
    Array.from({ length: 5 }, async () => {
      await using locks = kvLocks(kv, { ttl: '10s' });
      try {
        return await oncePerNight(kv, locks, night, work);
      } catch (error) {
        return isQuorateError(error, 'ERR_LOCK_LOST') ? 'overtaken' : 'failed';
      }
    }),
  );
  const kinds = ['failed', 'overtaken', 'done', 'found it done'];
  const counts = kinds.map((kind) => [outcomes.filter((outcome) => outcome === kind).length, kind]);
  const seen = counts.filter(([count]) => count !== 0).map((pair) => pair.join(' '));
  console.log(`${night}: ${seen.join(', ')}`);
}

await allStart('Monday', async () => 'all is well');

let tries = 0;
await allStart('Tuesday', async () => {
  if (++tries === 1) throw new Error('the disk was full'); // the lock is given back, the next one tries
  return 'all is well';
});

let asleep = false;
await allStart('Wednesday', async () => {
  if (asleep) return 'by the one that was awake';
  // This one is stopped in the middle, for longer than its lock lives; here an operator takes the lock away,
  // which is quicker. When it goes on, another has done the work.
  asleep = true;
  const watch = kv.watch('reports/Wednesday');
  await operator.forceRelease('nightly-report');
  for await (const { events } of watch) if (events.length > 0) break;
  return 'by the one that slept';
});
console.log(`the report of Wednesday is ${(await kv.get('reports/Wednesday'))?.value}`);
