/** What policies add to a call: on success, on failure, and where they refuse it. */
import {
  bulkhead,
  circuitBreaker,
  limit,
  type Policy,
  pipeline,
  retry,
  timeout,
  tokenBucket,
} from '../src/resilience/index.ts';
import type { Report } from './report.ts';
import type { CockatielPolicy, Peers } from './resilience-peers.ts';
import { type Contest, hold, type Once } from './resilience-timing.ts';

/** Limits that are never reached. */
const PLENTY = { limit: 1_000_000, period: 1 };
const NEVER = 2 ** 30;
const DOWN = new Error('down');

const work = async (): Promise<number> => 42;
const failing = async (): Promise<number> => {
  throw DOWN;
};

export async function benchCalls(report: Report, peers: Peers, quick: boolean): Promise<void> {
  const contests: Contest[] = [
    { name: 'a bare await', how: 'awaited', systems: { quorate: () => work } },
    ...pipelines(peers),
    ...breakers(peers),
    ...single(peers),
    ...refusals(peers),
    failures(peers, 1000),
    failures(peers, 50_000),
  ];
  for (const contest of contests) await hold(report, contest, quick);
}

function runs(policy: Policy, what = work): Once {
  return () => policy.run(what);
}

function executes(policy: CockatielPolicy, what = work): Once {
  return () => policy.execute(what);
}

/** Timeout, limiter, retry, breaker, bulkhead. cockatiel has no limiter, opossum no retry and no queue: they do less. */
function pipelines({ cockatiel, Opossum }: Peers): Contest[] {
  const ours = () =>
    pipeline('stock', [
      timeout('2s'),
      limit(tokenBucket({ rate: PLENTY })),
      retry({ attempts: 3 }),
      circuitBreaker(),
      bulkhead({ max: 50, queue: 100 }),
    ]);
  const theirs = (strategy: 'Aggressive' | 'Cooperative') => {
    const { handleAll, SamplingBreaker, TimeoutStrategy } = cockatiel;
    const breaker = new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 2 });
    return cockatiel.wrap(
      cockatiel.timeout(2000, TimeoutStrategy[strategy]),
      cockatiel.retry(handleAll, { maxAttempts: 2 }),
      cockatiel.circuitBreaker(handleAll, { halfOpenAfter: 5000, breaker }),
      cockatiel.bulkhead(50, 100),
    );
  };
  const systems = {
    quorate: () => runs(ours()),
    cockatiel: () => executes(theirs('Aggressive')),
    'cockatiel, cooperative': () => executes(theirs('Cooperative')),
    opossum: () => {
      const breaker = new Opossum(work, { timeout: 2000, capacity: 50 });
      return () => breaker.fire();
    },
  };
  const asOutcome = () => {
    const guard = ours();
    return () => guard.attempt(work);
  };
  const withSignal = () => {
    const guard = ours();
    return () => guard.run(async ({ signal }) => signal.aborted);
  };
  return [
    { name: 'five policies, success', how: 'awaited', bare: work, systems },
    {
      name: 'five policies, as an outcome',
      how: 'awaited',
      bare: work,
      systems: { quorate: asOutcome },
    },
    {
      name: 'five policies, work looks at its signal',
      how: 'awaited',
      bare: work,
      systems: { quorate: withSignal },
    },
  ];
}

function breakers({ cockatiel, Opossum }: Peers): Contest[] {
  const { handleAll, ConsecutiveBreaker, SamplingBreaker } = cockatiel;
  const theirs = (breaker: object) => () =>
    executes(cockatiel.circuitBreaker(handleAll, { halfOpenAfter: 5000, breaker }));
  const byRate = {
    quorate: () => runs(circuitBreaker()),
    cockatiel: theirs(new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 2 })),
    opossum: () => {
      const breaker = new Opossum(work, { timeout: false });
      return () => breaker.fire();
    },
  };
  const consecutive = {
    quorate: () => runs(circuitBreaker({ consecutive: 5 })),
    cockatiel: theirs(new ConsecutiveBreaker(5)),
  };
  const permits = () => {
    const breaker = circuitBreaker();
    return () => {
      const permit = breaker.allow();
      if (permit.ok) permit.success();
    };
  };
  return [
    { name: 'one breaker, failure rate', how: 'awaited', bare: work, systems: byRate },
    { name: 'one breaker, consecutive', how: 'awaited', bare: work, systems: consecutive },
    { name: 'one breaker, allow and success', how: 'at once', systems: { quorate: permits } },
  ];
}

function single({ cockatiel }: Peers): Contest[] {
  const { Aggressive } = cockatiel.TimeoutStrategy;
  const policies: [string, Record<string, () => Once>][] = [
    [
      'one timeout',
      {
        quorate: () => runs(timeout('2s')),
        cockatiel: () => executes(cockatiel.timeout(2000, Aggressive)),
      },
    ],
    [
      'one retry',
      {
        quorate: () => runs(retry({ attempts: 3 })),
        cockatiel: () => executes(cockatiel.retry(cockatiel.handleAll, { maxAttempts: 2 })),
      },
    ],
    [
      'one bulkhead',
      {
        quorate: () => runs(bulkhead({ max: 50, queue: 100 })),
        cockatiel: () => executes(cockatiel.bulkhead(50, 100)),
      },
    ],
    ['one limiter', { quorate: () => runs(limit(tokenBucket({ rate: PLENTY }))) }],
  ];
  return policies.map(([name, systems]) => ({ name, how: 'awaited', bare: work, systems }));
}

function refusals({ cockatiel, Opossum }: Peers): Contest[] {
  const open = () => {
    const breaker = circuitBreaker({ open: '1h' });
    breaker.open();
    return breaker;
  };
  const theirs = async () => {
    const policy = cockatiel.circuitBreaker(cockatiel.handleAll, {
      halfOpenAfter: 3_600_000,
      breaker: new cockatiel.ConsecutiveBreaker(1),
    });
    await policy.execute(failing).catch(() => undefined);
    return executes(policy);
  };
  const opossum = () => {
    const breaker = new Opossum(work, { timeout: false, resetTimeout: 3_600_000 });
    breaker.open();
    return () => breaker.fire();
  };
  const outcome = () => {
    const breaker = open();
    return () => breaker.attempt(work);
  };
  const allow = () => {
    const breaker = open();
    return () => breaker.allow();
  };
  const thrown = { quorate: () => runs(open()), cockatiel: theirs, opossum };
  return [
    { name: 'open breaker, thrown', how: 'caught', systems: thrown },
    { name: 'open breaker, as an outcome', how: 'awaited', systems: { quorate: outcome } },
    { name: 'open breaker, allow', how: 'at once', systems: { quorate: allow } },
  ];
}

/** A failure while there are so many calls in the window, and the breaker does not break for them. */
function failures({ cockatiel, Opossum }: Peers, samples: number): Contest {
  const fill = async (once: Once): Promise<void> => {
    for (let i = 0; i < samples; i++) await once();
  };
  const ours = async () => {
    const breaker = circuitBreaker({ window: { time: '10m' }, failureRate: 1, minCalls: NEVER });
    await fill(runs(breaker));
    return runs(breaker, failing);
  };
  const theirs = async () => {
    const options = { threshold: 0.999, duration: 600_000, minimumRps: NEVER };
    const policy = cockatiel.circuitBreaker(cockatiel.handleAll, {
      halfOpenAfter: 5000,
      breaker: new cockatiel.SamplingBreaker(options),
    });
    await fill(executes(policy));
    return executes(policy, failing);
  };
  const opossum = async () => {
    let isDown = false;
    const breaker = new Opossum(() => (isDown ? failing() : work()), {
      timeout: false,
      volumeThreshold: NEVER,
      rollingCountTimeout: 600_000,
    });
    await fill(() => breaker.fire());
    isDown = true;
    return () => breaker.fire();
  };
  return {
    name: `a failure, ${samples.toLocaleString('en-US')} calls in the window`,
    how: 'caught',
    bare: failing,
    systems: { quorate: ours, cockatiel: theirs, opossum },
  };
}
