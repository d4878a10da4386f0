/**
 * Stands in for `node:test` while mutants are tried: notes the tests of a file instead of running them, so that one process
 * can run any of them again and again. It knows what our tests use: `describe`, `it`, `test`, `t.after`, `t.signal`, and what is to be done
 * before and after; also where that is meant once for a suite it is done for each test, as each may be run alone.
 */

/** What a test is given. */
export interface TestContext {
  readonly name: string;
  readonly signal: AbortSignal;
  after(cleanup: () => unknown): void;
}

export type TestFunction = (context: TestContext) => unknown;

/** A test that was noted. */
export interface Case {
  /** The same in every process: file, suites and name. */
  readonly id: string;
  readonly file: string;
  readonly run: TestFunction;
  /** The file's, and those of the suites it is in. */
  readonly hooks: readonly Hooks[];
}

interface Hooks {
  readonly before: (() => unknown)[];
  readonly after: (() => unknown)[];
}

/** All that were noted, in the order of the files. */
export const cases: Case[] = [];

const taken = new Set<string>();
const suites: string[] = [];
let currentFile = '';
let hooks: readonly Hooks[] = [];

const noHooks = (): Hooks => ({ before: [], after: [] });

/** Notes the tests of a file while `load` imports it. */
export async function noting(file: string, load: () => Promise<unknown>): Promise<void> {
  currentFile = file;
  hooks = [noHooks()];
  await load();
}

type Args<F> = readonly [options: unknown, fn: F] | readonly [fn: F];

export function describe(name: string, ...args: Args<() => unknown>): void {
  const outer = hooks;
  suites.push(name);
  hooks = [...outer, noHooks()];
  try {
    (args.at(-1) as () => unknown)();
  } finally {
    suites.pop();
    hooks = outer;
  }
}

export function it(name: string, ...args: Args<TestFunction>): void {
  const { skip } = (args.length === 2 ? (args[0] ?? {}) : {}) as { skip?: unknown };
  if (skip !== undefined && skip !== false) return;
  const base = `${currentFile}: ${[...suites, name].join(' > ')}`;
  let id = base;
  for (let n = 2; taken.has(id); n++) id = `${base} (${n})`;
  taken.add(id);
  cases.push({ id, file: currentFile, run: args.at(-1) as TestFunction, hooks });
}

export function beforeEach(run: () => unknown): void {
  hooks.at(-1)!.before.push(run);
}

export function afterEach(run: () => unknown): void {
  hooks.at(-1)!.after.push(run);
}

export const before = beforeEach;
export const after = afterEach;
export const test = it;
export const suite = describe;

/** Runs one test, and what it wants done after it. Rejects where either fails. */
export async function runCase(one: Case): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  const controller = new AbortController();
  const context: TestContext = {
    name: one.id,
    signal: controller.signal,
    after: (cleanup) => void cleanups.push(cleanup),
  };
  try {
    for (const { before } of one.hooks) for (const prepare of before) await prepare();
    await one.run(context);
  } finally {
    controller.abort();
    for (const cleanup of cleanups) await cleanup();
    for (const { after } of one.hooks.toReversed()) for (const clean of after) await clean();
  }
}
