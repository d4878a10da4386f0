/** What the files of the checklist share. */
import { test } from 'node:test';
import { type ClusterOptions, CoreCluster } from './core-cluster.ts';
import { cores } from './cores.ts';
import { JournalCluster, type JournalClusterOptions } from './journal-cluster.ts';
import { KvCluster, type KvClusterOptions } from './kv-cluster.ts';

/** `QUORATE_CHECKLIST_TIMES=100` runs a hundred times as many seeds. */
const TIMES = Number(process.env['QUORATE_CHECKLIST_TIMES'] ?? 1);

/** One test for each core, over `seeds` seeds. Its name says the item of the lab. */
export function onEveryCore(
  name: string,
  options: Omit<ClusterOptions, 'seed'> & { readonly seeds?: number },
  run: (cluster: CoreCluster) => void,
): void {
  for (const core of cores) {
    test(`${core.consensus}: ${name}`, () => {
      for (let seed = 1; seed <= TIMES * (options.seeds ?? 2); seed++) {
        run(new CoreCluster(core, { ...options, seed }));
      }
    });
  }
}

/** The same with replicas of a journal. At the end everything is healed, must agree and is closed. */
export function withReplicas(
  name: string,
  options: Omit<JournalClusterOptions, 'seed'> & { readonly seeds?: number },
  run: (cluster: JournalCluster) => Promise<void>,
): void {
  for (const core of cores) {
    test(`${core.consensus}: ${name}`, async () => {
      for (let seed = 1; seed <= TIMES * (options.seeds ?? 2); seed++) {
        const cluster = new JournalCluster(core, { ...options, seed });
        await cluster.start(...cluster.seats);
        await run(cluster);
        await cluster.finish();
      }
    });
  }
}

/** The same with key-value stores. At the end all must serve, hold the same, and have been linearizable. */
export function withStores(
  name: string,
  options: Omit<KvClusterOptions, 'seed'> & { readonly seeds?: number },
  run: (cluster: KvCluster) => Promise<void>,
): void {
  for (const core of cores) {
    test(`${core.consensus}: ${name}`, async () => {
      for (let seed = 1; seed <= TIMES * (options.seeds ?? 1); seed++) {
        const cluster = new KvCluster(core, { ...options, seed });
        await cluster.start(...cluster.seats);
        await run(cluster);
        await cluster.finish();
      }
    });
  }
}
