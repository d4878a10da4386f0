// An HTTP service that turns slow, then dead, then well again, and two clients of it under constant load: one behind a circuit
// breaker, one that degrades to an answer of its own. Prints what they did in each tenth of a second, and ends with 1 where
// that was not what they promise. Run it:  node scripts/run.mjs examples/bad-dependency/main.ts --phase 1500 --rate 100

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type BreakerChange, circuitBreaker, degrade, pipeline, timeout } from 'quorate/resilience';

const { values } = parseArgs({
  options: {
    phase: { type: 'string', default: '1500' },
    rate: { type: 'string', default: '100' },
  },
});
const phaseMs = Number(values.phase);
const rate = Number(values.rate);
if (!(phaseMs >= 500 && rate >= 50 && rate <= 1000)) {
  throw new Error('--phase: milliseconds from 500; --rate: calls a second, 50 to 1000');
}

const SLOW_ANSWER_MS = 1000;
const TOO_SLOW_MS = 400;
const LONGEST_OPEN_MS = 400;
const ROW_MS = 100;

/** The service that others depend on. Dead, it does not even listen. */
class Dependency {
  isSlow = false;
  #port = 0;
  readonly #server = createServer(async (_request, response) => {
    if (this.isSlow) await delay(SLOW_ANSWER_MS);
    response.end('the price of today');
  });

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  async begin(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async die(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

type Phase = 'well' | 'slow' | 'dead' | 'well again';

interface Change extends BreakerChange {
  readonly atMs: number;
  readonly phase: Phase;
}

/** What became of the calls of one client, in the row that is filled and by phase. */
class Client {
  readonly name: string;
  readonly changes: Change[] = [];
  readonly totals: Record<string, Record<string, number>> = {};
  #row: Record<string, number> = {};

  constructor(name: string) {
    this.name = name;
  }

  readonly onStateChange = (change: BreakerChange): void => {
    this.changes.push({ ...change, atMs: nowMs(), phase });
    const { from, to, reason } = change;
    console.log(`${stamp()}  ${this.name}: ${from} → ${to} (${reason})`);
  };

  /** A call counts for the phase in which it ended. */
  count(what: string): void {
    this.#row[what] = (this.#row[what] ?? 0) + 1;
    const total = (this.totals[phase] ??= {});
    total[what] = (total[what] ?? 0) + 1;
  }

  total(of: Phase, what: string): number {
    return this.totals[of]?.[what] ?? 0;
  }

  takeRow(): string {
    const text = Object.entries(this.#row).map(([what, count]) => `${count} ${what}`);
    this.#row = {};
    return text.sort().join(', ');
  }
}

const dependency = new Dependency();
await dependency.begin();
async function ask(signal: AbortSignal): Promise<string> {
  const response = await fetch(dependency.url, { signal });
  return await response.text();
}
// What is loaded and compiled at the first call has nothing to do with the dependency.
for (let i = 0; i < 20; i++) await ask(new AbortController().signal);

let phase: Phase = 'well';
const beganMs = performance.now();
const nowMs = (): number => performance.now() - beganMs;
const stamp = (): string => `${(nowMs() / 1000).toFixed(2).padStart(6)} s  ${phase.padEnd(10)}`;

const open = { first: 200, max: LONGEST_OPEN_MS, jitter: 0 };
const broken = new Client('breaker');
const guard = pipeline('prices', [
  timeout('3s'),
  circuitBreaker({
    window: { time: '1s' },
    failureRate: 0.5,
    slow: { over: TOO_SLOW_MS, rate: 0.5 },
    open,
    trial: { calls: 2 },
    onStateChange: broken.onStateChange,
  }),
]);
const degraded = new Client('degrade');
const prices = degrade({
  fallback: () => 'the price of yesterday',
  window: '1s',
  mean: TOO_SLOW_MS,
  open,
  onStateChange: degraded.onStateChange,
});

async function callBroken(): Promise<void> {
  const outcome = await guard.attempt(({ signal }) => {
    broken.count('asked');
    return ask(signal);
  });
  broken.count(outcome.ok ? 'ok' : outcome.reason);
}

async function callDegraded(): Promise<void> {
  const outcome = await prices.attempt(({ signal }) => ask(signal));
  if (!outcome.ok) degraded.count(outcome.reason);
  else degraded.count(outcome.value === 'the price of today' ? 'ok' : 'fallback');
}

const calls: Promise<void>[] = [];
let offered = 0;
/** As many calls as there should have been by now, however late the timer is. */
const load = setInterval(() => {
  for (const due = (nowMs() * rate) / 1000; offered < due; offered++) {
    calls.push(callBroken(), callDegraded());
  }
}, 1000 / rate);
const printer = setInterval(() => {
  console.log(`${stamp()}  breaker ${broken.takeRow()} | degrade ${degraded.takeRow()}`);
}, ROW_MS);

await delay(phaseMs);
phase = 'slow';
dependency.isSlow = true;
await delay(phaseMs + SLOW_ANSWER_MS);
phase = 'dead';
dependency.isSlow = false;
await dependency.die();
await delay(phaseMs);
await dependency.begin();
phase = 'well again';
// Until it may be tried, and a while longer.
await delay(LONGEST_OPEN_MS + phaseMs);
clearInterval(load);
clearInterval(printer);
const [refused, fallbacks] = [broken.total(phase, 'open'), degraded.total(phase, 'fallback')];
await Promise.all(calls);
for (let i = 0; i < 10; i++) await Promise.all([callBroken(), callDegraded()]);
await dependency.die();

const failures: string[] = [];
function check(isSo: boolean, what: string): void {
  console.log(`${isSo ? 'ok    ' : 'FAILED'}  ${what}`);
  if (!isSo) failures.push(what);
}
const names = (client: Client, of: Phase): string[] =>
  client.changes.filter((change) => change.phase === of).map(({ from, to }) => `${from} → ${to}`);
const TRIED = ['open → half-open', 'half-open → open'];

console.log('');
for (const [client, rule] of [
  [broken, 'slow-rate'],
  [degraded, 'mean'],
] as const) {
  const { name, changes } = client;
  const meanwhile = [...names(client, 'slow'), ...names(client, 'dead')].slice(1);
  check(names(client, 'well').length === 0, `${name}: nothing while all is well`);
  const first = changes[0];
  check(
    first?.phase === 'slow' && first.to === 'open' && first.reason === rule,
    `${name}: opens where the answers are slow, by its rule '${rule}'`,
  );
  check(
    meanwhile.every((change, i) => change === TRIED[i % 2]),
    `${name}: tries, and opens again, while it is slow and dead`,
  );
  check(names(client, 'dead').length > 0, `${name}: has tried while it was dead`);
  check(
    changes.at(-1)?.to === 'closed' && names(client, 'well again').at(-1) === 'half-open → closed',
    `${name}: closes by a trial when all is well again, and stays closed`,
  );
}
const whileDead = broken.total('dead', 'open') + broken.total('dead', 'failed');
check(
  broken.total('dead', 'asked') <= whileDead / 5,
  `breaker: of ${whileDead} calls of a dead service ${broken.total('dead', 'asked')} were made, the others refused`,
);
check(
  ['failed', 'timeout', 'open', 'aborted'].every((what) =>
    Object.values(degraded.totals).every((total) => total[what] === undefined),
  ),
  'degrade: every call has an answer',
);
check(
  degraded.total('well', 'fallback') === 0 && degraded.total('dead', 'fallback') > 0,
  'degrade: answers of its own while it has to, and not before',
);
check(
  broken.total(phase, 'open') === refused && degraded.total(phase, 'fallback') === fallbacks,
  'both: the last calls are answered by the service',
);
process.exitCode = failures.length === 0 ? 0 : 1;
