/** Runs the command line as real processes, and waits for what they say instead of for time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Not this process's own flags: the test runner adds many. */
const FLAGS = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
const MAIN = join(dirname(fileURLToPath(import.meta.url)), '../../src/cli/main.ts');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface CliOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** @defaultValue this process's */
  readonly cwd?: string;
  /** What stands for the command. @defaultValue the sources, on this Node */
  readonly program?: readonly [string, ...string[]];
}

export class Cli implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  out = '';
  err = '';
  readonly #waiters = new Set<() => void>();

  constructor(args: readonly string[], options: CliOptions = {}) {
    const env = options.env ?? withoutVariables();
    const [file, ...own] = options.program ?? [process.execPath, ...FLAGS, MAIN];
    this.child = spawn(file, [...own, ...args], { env, cwd: options.cwd });
    this.child.stdout!.on('data', (data: Buffer) => this.#said('out', data));
    this.child.stderr!.on('data', (data: Buffer) => this.#said('err', data));
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      for (const wake of this.#waiters) wake();
      return { code, signal, out: this.out, err: this.err } as Ended;
    });
  }

  #said(where: 'out' | 'err', data: Buffer): void {
    this[where] += data.toString();
    for (const wake of this.#waiters) wake();
  }

  /** Resolves with the match once the process has written it, to stdout or stderr. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.out) ?? pattern.exec(this.err);
      if (match !== null) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        const { code, signal } = await this.ended;
        const late = pattern.exec(this.out) ?? pattern.exec(this.err);
        if (late !== null) return late;
        throw new Error(`it ended (${code ?? signal}) without ${pattern}:\n${this.out}${this.err}`);
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiters.delete(wake);
          resolve();
        };
        this.#waiters.add(wake);
      });
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM');
    await this.ended;
  }
}

/** The environment without what would speak into a command: addresses of other clusters. */
export function withoutVariables(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(ETCD|ETCDCTL|NODE_TEST|CONSUL|QUORATE_(DRIVER|REDIS|POSTGRES))_?/.test(name),
    ),
  );
}

/** Runs a command to its end. */
export function cli(...args: string[]): Promise<Ended> {
  return new Cli(args).ended;
}

/** Whether a process is there, and no zombie. */
export function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Until it holds; the test's own timeout bounds it. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}
