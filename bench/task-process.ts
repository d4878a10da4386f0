/**
 * Processes that are told by messages what to do. Each system that is measured has its own: none meets timers, listeners or
 * compiled code of another.
 */
import { type ChildProcess, fork } from 'node:child_process';

/** What a process can do: the results are sent back. */
type Tasks<T> = { readonly [Name in keyof T]: (...args: never[]) => Promise<unknown> };

interface Order<T> {
  readonly id: number;
  readonly task: keyof T;
  readonly args: never[];
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** Where the tasks of a program that calls `serveTasks` are asked for. */
export class TaskProcess<T extends Tasks<T>> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #calls = 0;

  /** The first of `args` is the system, which errors name. */
  constructor(program: string, args: readonly [system: string, ...rest: string[]]) {
    this.#child = fork(program, args, {
      execArgv: ['--conditions=quorate-source', '--no-warnings'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // JSON has no Infinity.
      serialization: 'advanced',
    });
    this.#child.on('message', ({ id, result, error }: Reply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(`${args[0]}: ${error}`));
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${args[0]}: it ended`));
    });
  }

  ask<Name extends keyof T>(task: Name, ...args: Parameters<T[Name]>): ReturnType<T[Name]> {
    const id = ++this.#calls;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#child.send({ id, task, args });
    return waiting.promise as ReturnType<T[Name]>;
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** Does what the parent asks for, and ends with it. Does nothing in a process without one. */
export function serveTasks<T extends Tasks<T>>(tasks: T): void {
  if (process.send === undefined) return;
  process.on('message', ({ id, task, args }: Order<T>) => {
    tasks[task](...args).then(
      (result) => process.send!({ id, result }),
      (error: unknown) => process.send!({ id, error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit());
}
