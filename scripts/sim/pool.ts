/** Worker processes that play runs. A worker that dies or hangs is a violation, and is replaced. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { storyOf } from '../../src/testing/simulation/simulation.ts';
import type { SimulationResult } from '../../src/testing/simulation/types.ts';
import type { Report, Task } from './worker.ts';

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url));

/** A run that says nothing for so long will not end: an event that never settles, or an endless loop. */
const HANG_MS = 120_000;

const MAX_STDERR = 4000;

export interface Outcome {
  readonly result: SimulationResult;
  readonly cpuMs: number;
}

export interface Progress {
  readonly virtualMs: number;
  readonly events: number;
}

class Worker {
  readonly child: ChildProcess;
  stderr = '';

  constructor() {
    this.child = fork(WORKER, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-MAX_STDERR);
    });
  }

  play(task: Task, onProgress: (progress: Progress) => void): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const { child } = this;
    let last: Progress = { virtualMs: 0, events: 0 };
    let hangs = false;
    let timer: NodeJS.Timeout | undefined;
    const alive = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        hangs = true;
        child.kill('SIGKILL');
      }, HANG_MS);
    };
    const end = (outcome: Outcome): void => {
      clearTimeout(timer);
      child.off('message', onReport).off('close', onClose);
      resolve(outcome);
    };
    const onReport = (report: Report): void => {
      if (report.kind === 'done') end(report);
      else {
        last = report;
        alive();
        onProgress(report);
      }
    };
    const onClose = (code: number | null, signal: string | null): void => {
      const how = signal === null ? `status ${code}` : signal;
      const message = hangs
        ? `nothing happened for ${HANG_MS} ms`
        : `the process ended with ${how}: ${this.stderr.trim()}`;
      end(brokenBy(task, hangs ? 'hang' : 'crash', message, last));
    };
    child.on('message', onReport).on('close', onClose);
    alive();
    this.stderr = '';
    child.send(task, (error) => {
      // A worker that died in between reports by `close`.
      if (error !== null && child.exitCode === null && child.signalCode === null) child.kill();
    });
    return promise;
  }
}

export class Pool {
  readonly #jobs: number;
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();
  readonly #waiting: (() => void)[] = [];
  #busy = 0;

  constructor(jobs: number) {
    this.#jobs = jobs;
  }

  /** Plays one run as soon as a worker is free; runs start in the order of the calls. */
  async play(
    task: Task,
    onProgress: (progress: Progress) => void = () => undefined,
  ): Promise<Outcome> {
    if (this.#busy >= this.#jobs) await new Promise<void>((free) => this.#waiting.push(free));
    else this.#busy++;
    const worker = this.#idle.pop() ?? this.#start();
    try {
      return await worker.play(task, onProgress);
    } finally {
      if (worker.child.connected) this.#idle.push(worker);
      else this.#all.delete(worker);
      const next = this.#waiting.shift();
      if (next === undefined) this.#busy--;
      else next();
    }
  }

  /** Ends the workers, also those that are at it. */
  close(): void {
    for (const { child } of this.#all) child.kill('SIGKILL');
    this.#all.clear();
  }

  #start(): Worker {
    const worker = new Worker();
    this.#all.add(worker);
    return worker;
  }
}

function brokenBy(task: Task, property: string, message: string, last: Progress): Outcome {
  const { seed, consensus, workload = 'mixed', story } = task;
  return {
    cpuMs: 0,
    result: {
      seed,
      story: storyOf({ seed, consensus, workload, ...(story === undefined ? {} : { story }) }),
      traceHash: '',
      events: last.events,
      virtualMs: last.virtualMs,
      violation: { property, message, atMs: last.virtualMs, event: last.events },
      faults: {},
      reached: {},
      operations: {},
      trace: [],
    },
  };
}
