/** What a call costs: systems take turns in each round, in one process, by the wall and by the processor. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Report } from './report.ts';

/** Calls once; what it returns is awaited, unless the contest is of functions that return at once. */
export type Once = () => unknown;

export interface Contest {
  readonly name: string;
  /** `awaited`: it resolves. `caught`: it rejects. `at once`: it is no promise. */
  readonly how: 'awaited' | 'caught' | 'at once';
  /** Taken off what each system takes: the same without it. */
  readonly bare?: Once;
  /** Each makes what is called; anew for each contest. */
  readonly systems: Readonly<Record<string, () => Once | Promise<Once>>>;
}

/**
 * Collects garbage now. Not between rounds: where no call is alive V8 forgets the shape of calls when it collects, and the
 * code that was compiled for it.
 */
export const collectGarbage: () => void = (() => {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
})();

interface Took {
  readonly wallNs: number;
  readonly cpuNs: number;
}

interface Entry {
  readonly who: string;
  readonly once: Once;
  readonly times: number;
}

/** Until it is compiled as well as it will be. */
const WARM_MS = 300;

const BARE = '';

const LOOPS: Readonly<Record<Contest['how'], (once: Once, times: number) => Promise<void>>> = {
  async awaited(once, times) {
    for (let i = 0; i < times; i++) await once();
  },
  async caught(once, times) {
    for (let i = 0; i < times; i++) {
      try {
        await once();
      } catch {
        continue;
      }
      throw new Error('a call that was to reject did not');
    }
  },
  async 'at once'(once, times) {
    for (let i = 0; i < times; i++) once();
  },
};

/** Adds two cases: by the wall, and by the processor (all threads of the process), which other load disturbs less. */
export async function hold(report: Report, contest: Contest, quick: boolean): Promise<void> {
  const { name, how, bare } = contest;
  const [rounds, ms] = quick ? [3, 20] : [11, 50];
  collectGarbage();
  const makers = Object.entries(contest.systems);
  const entries: Entry[] = [];
  for (const [who, make] of bare === undefined
    ? makers
    : [[BARE, () => bare] as const, ...makers]) {
    const once = await make();
    entries.push({ who, once, times: await timesIn(ms, how, once) });
  }
  const wall: Record<string, number[]> = {};
  const cpu: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round++) {
    let without: Took = { wallNs: 0, cpuNs: 0 };
    for (const { who, once, times } of entries) {
      const took = await measure(how, once, times);
      if (who === BARE) {
        without = took;
        continue;
      }
      (wall[who] ??= []).push(took.wallNs - without.wallNs);
      (cpu[who] ??= []).push(took.cpuNs - without.cpuNs);
    }
  }
  const text = bare === undefined ? name : `${name}, above bare`;
  report.note(text);
  report.add({ name: text, unit: 'ns', better: 'lower' }, wall);
  report.add({ name: `${text}, by the processor`, unit: 'ns', better: 'lower' }, cpu);
}

async function measure(how: Contest['how'], once: Once, times: number): Promise<Took> {
  const cpu = process.cpuUsage();
  const from = performance.now();
  await LOOPS[how](once, times);
  const wallMs = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  return { wallNs: (wallMs * 1e6) / times, cpuNs: ((user + system) * 1000) / times };
}

/** How often it is called in about so long, when it is warm. */
async function timesIn(ms: number, how: Contest['how'], once: Once): Promise<number> {
  let wallNs = 1e6;
  for (let warmMs = 0; warmMs < WARM_MS; ) {
    const times = Math.max(1, Math.round((ms * 1e6) / wallNs));
    ({ wallNs } = await measure(how, once, times));
    warmMs += (wallNs * times) / 1e6;
  }
  return Math.max(1, Math.round((ms * 1e6) / wallNs));
}
