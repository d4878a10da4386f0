/** A worker as the process that watches over it has it: started, signalled, killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Wiring } from './drivers.ts';
import type { FromWorker, ToWorker } from './messages.ts';

const PROGRAM = fileURLToPath(new URL('worker.ts', import.meta.url));

export class WorkerProcess {
  readonly name: string;
  /** What it said on its standard error: nothing, unless it broke. */
  output = '';
  readonly #wiring: Wiring;
  readonly #onMessage: (message: FromWorker) => void;
  #child: ChildProcess | undefined;

  constructor(wiring: Wiring, onMessage: (message: FromWorker) => void) {
    this.name = wiring.name;
    this.#wiring = wiring;
    this.#onMessage = onMessage;
    this.#child = undefined;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Resolves when it can take locks. */
  start(): Promise<void> {
    const env = { ...process.env, QUORATE_LOCK_CHAOS: JSON.stringify(this.#wiring) };
    const args = ['--conditions=quorate-source', PROGRAM];
    const child = spawn(process.execPath, args, {
      env,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Tokens are bigints.
      serialization: 'advanced',
    });
    this.#child = child;
    child.stderr!.on('data', (chunk: Buffer) => {
      this.output = (this.output + chunk.toString()).slice(-5000);
    });
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromWorker) => {
        if (message.kind === 'ready') resolve();
        this.#onMessage(message);
      });
      // What it is told while it is killed does not reach it.
      child.on('error', () => undefined);
      child.on('exit', () => reject(new Error(`${this.name} ended\n${this.output}`)));
    });
  }

  tell(message: ToWorker): void {
    if (this.#child?.connected) this.#child.send(message);
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }
}
