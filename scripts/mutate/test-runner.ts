/**
 * A test runner for Stryker (https://stryker-mutator.io/docs/stryker-js/api/test-runner): loads the test files of `QUORATE_MUTATE_TESTS`
 * once, with `node:test` replaced, and runs for each mutant the tests that reach it, in this process. The runners that
 * Stryker has for `node:test` start a process for each file and mutant, which takes twenty times as long.
 *
 * A test that takes long is run only for what its file imports itself (`QUORATE_MUTATE_NEAR`): that others could also see something is not worth
 * the time. So a score is never too high for that.
 *
 * A test that can never end, as nothing is under way that could wake it, fails at once; `node:test` sees that, too. What no timer
 * sees, a loop without end, Stryker ends by its own timeout and by counting how often mutants are hit.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Case, cases, noting, runCase } from './node-test.ts';

/** What Stryker puts into the sources looks here for the mutant in force. */
interface Instrumented {
  activeMutant?: string | undefined;
  currentTestId?: string | undefined;
  mutantCoverage?: unknown;
  hitCount?: number | undefined;
  hitLimit?: number | undefined;
}

interface MutantRun {
  readonly testFilter?: readonly string[];
  readonly hitLimit?: number;
  readonly activeMutant: { readonly id: string };
  readonly mutantActivation: 'runtime' | 'static';
}

interface Failure {
  readonly test: string;
  readonly message: string;
  /** Not what a test has found, and perhaps the work of a test of the mutant before: looked at twice. */
  readonly isDoubtful: boolean;
}

class Stuck extends Error {}

const state = ((globalThis as { __stryker__?: Instrumented }).__stryker__ ??= {});
/** In the sandbox: how long tests took in the dry run, for processes that begin anew. */
const TIMES = 'test-times.json';
const LONG_MS = 500;
const LOOK_EVERY_MS = 25;
/** So often in a row nothing may be under way before a test counts as stuck. */
const STUCK_LOOKS = 6;
/** What this process itself has under way: the least that was seen, as a message to Stryker may be on its way at any moment. */
let own = Number.POSITIVE_INFINITY;

/** Errors that nobody caught. */
let strays: unknown[] = [];
process.on('unhandledRejection', (error) => void strays.push(error));
process.on('uncaughtException', (error) => void strays.push(error));

let loading: Promise<void> | undefined;

/** Loads the test files, with whatever mutant is in force. */
function load(): Promise<void> {
  loading ??= loadAll();
  return loading;
}

async function loadAll(): Promise<void> {
  const stand = new URL('./node-test.ts', import.meta.url).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'node:test' ? { url: stand, shortCircuit: true } : next(specifier, context),
  });
  const files = JSON.parse(process.env['QUORATE_MUTATE_TESTS']!) as string[];
  for (const file of files) {
    await noting(file, () => import(pathToFileURL(resolve(file)).href));
  }
}

/** Rejects where nothing is under way any more that could end `run`. */
async function orStuck(run: () => Promise<void>): Promise<void> {
  own = Math.min(own, process.getActiveResourcesInfo().length);
  let idle = 0;
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      idle = process.getActiveResourcesInfo().length > own ? 0 : idle + 1;
      if (idle >= STUCK_LOOKS) reject(new Stuck('it can never end'));
    }, LOOK_EVERY_MS).unref();
  });
  try {
    await Promise.race([run(), stuck]);
  } finally {
    clearInterval(timer);
  }
}

async function failureOf(one: Case): Promise<Failure | undefined> {
  strays = [];
  state.currentTestId = one.id;
  try {
    await orStuck(() => runCase(one));
    // What is thrown on the way is told a turn later.
    await new Promise<void>((done) => void setImmediate(done));
  } catch (error) {
    return { test: one.id, message: textOf(error), isDoubtful: error instanceof Stuck };
  } finally {
    state.currentTestId = undefined;
  }
  return strays.length === 0
    ? undefined
    : { test: one.id, message: textOf(strays[0]), isDoubtful: true };
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const near = new Set(JSON.parse(process.env['QUORATE_MUTATE_NEAR'] ?? '[]') as string[]);

function isNear({ file }: Case): boolean {
  return near.has(file);
}

class NodeTestRunner {
  /** By test, as it was at first: mutants change that. */
  readonly #tookMs: Map<string, number>;

  constructor() {
    const text = existsSync(TIMES) ? readFileSync(TIMES, 'utf8') : '[]';
    this.#tookMs = new Map(JSON.parse(text) as [string, number][]);
  }

  capabilities(): { reloadEnvironment: boolean } {
    return { reloadEnvironment: false };
  }

  async dryRun(): Promise<object> {
    state.mutantCoverage = { static: {}, perTest: {} };
    await load();
    const tests: object[] = [];
    for (const one of cases) {
      const begun = performance.now();
      const failure = await failureOf(one);
      const timeSpentMs = performance.now() - begun;
      this.#tookMs.set(one.id, timeSpentMs);
      const about = { id: one.id, name: one.id, timeSpentMs, fileName: resolve(one.file) };
      if (failure === undefined) tests.push({ ...about, status: 0 });
      else tests.push({ ...about, status: 1, failureMessage: failure.message });
    }
    writeFileSync(TIMES, JSON.stringify([...this.#tookMs]));
    return { status: 'complete', tests, mutantCoverage: state.mutantCoverage };
  }

  async mutantRun(options: MutantRun): Promise<object> {
    const { testFilter, activeMutant, hitLimit, mutantActivation } = options;
    state.mutantCoverage = undefined;
    const isStatic = mutantActivation === 'static';
    try {
      if (isStatic) state.activeMutant = activeMutant.id;
      await load();
    } catch (error) {
      return { status: 'killed', killedBy: [], failureMessage: textOf(error), nrOfTests: 0 };
    }
    const wanted = testFilter && new Set(testFilter);
    const chosen = cases.filter(
      (one) =>
        (wanted === undefined || wanted.has(one.id)) && (isNear(one) || this.#cost(one) < LONG_MS),
    );
    chosen.sort((a, b) => this.#cost(a) - this.#cost(b));
    Object.assign(state, { activeMutant: activeMutant.id, hitCount: 0, hitLimit });
    try {
      return await this.#run(chosen, hitLimit);
    } finally {
      Object.assign(state, { activeMutant: undefined, hitCount: undefined, hitLimit: undefined });
    }
  }

  /** The first test that fails ends it. */
  async #run(chosen: readonly Case[], hitLimit: number | undefined): Promise<object> {
    for (const [index, one] of chosen.entries()) {
      let failure = await failureOf(one);
      if (failure?.isDoubtful) failure = await failureOf(one);
      if (hitLimit !== undefined && state.hitCount! > hitLimit) {
        return { status: 'timeout', reason: `hit more than ${hitLimit} times` };
      }
      if (failure === undefined) continue;
      const { test, message } = failure;
      const nrOfTests = index + 1;
      return { status: 'killed', killedBy: [test], failureMessage: message, nrOfTests };
    }
    return { status: 'survived', nrOfTests: chosen.length };
  }

  /** The quick ones first: most mutants die by one of them. */
  #cost({ id }: Case): number {
    return this.#tookMs.get(id) ?? 0;
  }
}

export const strykerPlugins = [
  { kind: 'TestRunner', name: 'node-test', injectableClass: NodeTestRunner },
];
