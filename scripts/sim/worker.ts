/** A process that plays what it is told, one run at a time: what one breaks does not reach the others. */
import { simulate } from '../../src/testing/simulation/simulation.ts';
import type { SimulationResult, Story, WorkloadName } from '../../src/testing/simulation/types.ts';

export interface Task {
  readonly seed: number;
  readonly consensus: 'raft' | 'paxos';
  readonly workload?: WorkloadName;
  readonly story?: Story | undefined;
  readonly keepTrace?: boolean;
}

export type Report =
  | { readonly kind: 'progress'; readonly virtualMs: number; readonly events: number }
  | { readonly kind: 'done'; readonly result: SimulationResult; readonly cpuMs: number };

const send = (report: Report): void => void process.send!(report);

process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole group: whoever asked for runs says when it is enough.
process.on('SIGINT', () => undefined);
process.on(
  'message',
  async ({ seed, consensus, workload = 'mixed', story, keepTrace = false }: Task) => {
    const before = process.cpuUsage();
    const result = await simulate({
      seed,
      consensus,
      workload,
      keepTrace,
      ...(story === undefined ? {} : { story }),
      onProgress: ({ virtualMs, events }) => send({ kind: 'progress', virtualMs, events }),
    });
    const { user, system } = process.cpuUsage(before);
    send({ kind: 'done', result, cpuMs: (user + system) / 1000 });
  },
);
