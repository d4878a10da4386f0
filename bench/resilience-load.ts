/** What becomes of a dependency that is down, and of a server that is asked for twice what it can do: in virtual time. */
import { seededRandom } from '../src/core/random.ts';
import {
  adaptive,
  bulkhead,
  type Policy,
  retry,
  retryBudget,
  shed,
} from '../src/resilience/index.ts';
import { Load, SimulatedServer, SimulatedTime } from '../src/resilience/test-overload.ts';
import type { Report } from './report.ts';
import type { Peers } from './resilience-peers.ts';

export async function benchLoad(report: Report, peers: Peers, quick: boolean): Promise<void> {
  const seconds = quick ? 5 : 60;
  report.note('retry storm');
  report.add(
    { name: 'retry storm, dependency down', unit: 'attempts a request', better: 'lower' },
    {
      quorate: [await storm(seconds, true)],
      'ours without a budget': [await storm(seconds, false)],
      cockatiel: [await cockatielStorm(peers, quick)],
    },
  );
  report.note('overload');
  report.add(
    {
      name: 'twice the capacity, done within 100 ms',
      unit: '% of the capacity',
      better: 'higher',
    },
    await overload(quick),
  );
}

const CALLERS = 20;
const REQUESTS_A_SECOND = 50;
const DOWN = new Error('down');

/** So many callers, each with its own budget, of something that is down: three attempts each may make. */
async function storm(seconds: number, hasBudget: boolean): Promise<number> {
  const time = new SimulatedTime();
  const random = seededRandom(1);
  let attempts = 0;
  let requests = 0;
  let running = 0;
  const failing = async (): Promise<never> => {
    attempts += 1;
    throw DOWN;
  };
  const begin = (policy: Policy): void => {
    requests += 1;
    running += 1;
    void policy.attempt(failing).then(() => {
      running -= 1;
    });
  };
  // Time passes no faster than promises settle.
  time.waiting = 1;
  for (let i = 0; i < CALLERS; i++) {
    const budget = hasBudget ? retryBudget({ clock: time }) : undefined;
    const policy = retry({ attempts: 3, budget, clock: time, random });
    for (let nth = 0; nth < seconds * REQUESTS_A_SECOND; nth++) {
      time.after((nth * 1000 + random.below(1000)) / REQUESTS_A_SECOND, () => begin(policy));
    }
  }
  await time.pass(seconds * 1000);
  while (running > 0) await time.pass(1000);
  return attempts / requests;
}

/** In real time, as its clock cannot be replaced; how long it pauses changes nothing. */
async function cockatielStorm({ cockatiel }: Peers, quick: boolean): Promise<number> {
  const { handleAll, ConstantBackoff } = cockatiel;
  const policy = cockatiel.retry(handleAll, { maxAttempts: 2, backoff: new ConstantBackoff(1) });
  const requests = quick ? 100 : 10_000;
  let attempts = 0;
  const call = (): Promise<unknown> =>
    policy
      .execute(async () => {
        attempts += 1;
        throw DOWN;
      })
      .catch(() => undefined);
  await Promise.all(Array.from({ length: requests }, call));
  return attempts / requests;
}

/** It does 20 at the same time, in 10 ms each. */
const PLACES = 20;
const TAKES_MS = 10;
const CAPACITY = 2000;

async function overload(quick: boolean): Promise<Record<string, number[]>> {
  const ways: Record<string, (time: SimulatedTime) => Policy> = {
    quorate: (clock) => adaptive({ clock }),
    'our shed': (clock) => shed({ max: PLACES, clock }),
    'a long queue': () => bulkhead({ max: PLACES, queue: 1_000_000 }),
  };
  const shares: Record<string, number[]> = {};
  for (const seed of quick ? [1] : [1, 2, 3]) {
    for (const [who, make] of Object.entries(ways)) {
      const time = new SimulatedTime();
      const server = new SimulatedServer(time, PLACES, () => TAKES_MS);
      const load = new Load(time, make(time), server, seed);
      await load.offer(2 * CAPACITY, 10_000);
      const [tally] = await load.offer(2 * CAPACITY, 10_000);
      (shares[who] ??= []).push((tally!.within(100) * 100) / (10 * CAPACITY));
    }
  }
  return shares;
}
