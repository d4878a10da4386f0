/** One node of `quorate start`: a child process that is started again when it dies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Cancel, systemClock } from '../../core/clock.ts';
import type { Environment } from '../io.ts';
import { isReport } from '../supervisor.ts';

export interface NodePlan {
  readonly name: string;
  readonly host: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly folder: string;
  readonly logFile: string;
  /** Value of `--initial-cluster`. */
  readonly cluster: string;
  readonly consensus: 'raft' | 'paxos';
}

export interface NodeState {
  readonly phase: 'starting' | 'ready' | 'down' | 'stopping' | 'stopped';
  readonly pid: number | undefined;
  readonly role: string | undefined;
  readonly term: number;
  /** While down: how it ended and what happens next. */
  readonly note: string;
}

export interface ChildEvents {
  readonly changed: (state: NodeState) => void;
  /** It could not start at all: starting it again would not help. */
  readonly failed: (error: Error) => void;
}

/** A node goes by its peer URL: with other ports, or another number of nodes, it is another. */
const SAME_PORTS =
  'start it with the ports, the number of nodes and the --consensus it was made with, or give another --data-dir';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
/** A node that ran this long was well: the next pause is the first one again. */
const WELL_AFTER_MS = 10_000;
/** Ends before it was ever ready after which it is given up. */
const MOST_ATTEMPTS = 3;
/** Stopping includes handing over leadership and the last writes. */
const STOP_LIMIT_MS = 10_000;

const MAIN = fileURLToPath(
  new URL(import.meta.filename.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url),
);

export class ChildNode {
  readonly plan: NodePlan;
  /** Resolves when it is ready for the first time. */
  readonly ready: Promise<void>;
  state: NodeState = { phase: 'starting', pid: undefined, role: undefined, term: 0, note: '' };
  readonly #env: Record<string, string>;
  readonly #events: ChildEvents;
  readonly #becameReady = Promise.withResolvers<void>();
  #wasReady = false;
  #process: ChildProcess | undefined;
  #startedAt = 0;
  #attempts = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #lastError = '';
  #cancelRestart: Cancel | undefined;
  #stopping = false;

  constructor(plan: NodePlan, env: Environment, events: ChildEvents) {
    this.plan = plan;
    this.ready = this.#becameReady.promise;
    this.#events = events;
    // Variables meant for one etcd would give every node the same name and ports.
    this.#env = Object.fromEntries(
      Object.entries(env).filter(
        (entry): entry is [string, string] => entry[1] !== undefined && !/^ETCD_/.test(entry[0]),
      ),
    );
  }

  start(): void {
    const { logFile } = this.plan;
    const log = openSync(logFile, 'a');
    // A session of its own: Ctrl-C reaches `start`, which stops the nodes in good order.
    const child = spawn(process.execPath, [...process.execArgv, MAIN, 'serve', ...this.#flags()], {
      env: this.#env,
      stdio: ['ignore', log, log, 'ipc'],
      detached: true,
    });
    closeSync(log);
    this.#process = child;
    this.#attempts++;
    this.#startedAt = systemClock.now();
    this.#change({ phase: 'starting', pid: child.pid, role: undefined, note: '' });
    child.on('message', (message) => this.#onReport(message));
    child.once('error', (error) => this.#onEnd(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      this.#onEnd(signal === null ? `ended with code ${code}` : `was ended by ${signal}`);
    });
  }

  #flags(): string[] {
    const { name, host, clientPort, peerPort, folder, cluster, consensus } = this.plan;
    const client = `http://${host}:${clientPort}`;
    const peer = `http://${host}:${peerPort}`;
    return [
      ...['--name', name, '--data-dir', folder],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--consensus', consensus],
      ...['--initial-cluster', cluster, '--initial-cluster-token', 'quorate-start'],
    ];
  }

  #onReport(message: unknown): void {
    if (!isReport(message)) return;
    if (message.kind === 'role') this.#change({ role: message.role, term: message.term });
    else if (message.kind === 'failed') {
      const mismatch = message.code === 'ERR_DATA_DIR_MISMATCH';
      this.#lastError = mismatch ? `${message.message}; ${SAME_PORTS}` : message.message;
    } else {
      this.#wasReady = true;
      this.#change({ phase: 'ready' });
      this.#becameReady.resolve();
    }
  }

  #onEnd(how: string): void {
    if (this.#process === undefined) return;
    this.#process = undefined;
    if (this.#stopping) {
      this.#change({ phase: 'stopped', pid: undefined });
      return;
    }
    const why = this.#lastError === '' ? '' : `: ${this.#lastError}`;
    if (!this.#wasReady && (this.#lastError !== '' || this.#attempts === MOST_ATTEMPTS)) {
      this.#change({ phase: 'down', pid: undefined, note: how });
      this.#events.failed(
        new Error(
          `${this.plan.name} could not start, it ${how}${why} (its log is ${this.plan.logFile})`,
        ),
      );
      return;
    }
    if (systemClock.now() - this.#startedAt > WELL_AFTER_MS) this.#pauseMs = FIRST_PAUSE_MS;
    const note = `${how}${why}; it is started again in ${this.#pauseMs / 1000} s`;
    this.#lastError = '';
    this.#cancelRestart = systemClock.after(this.#pauseMs, () => this.start());
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    this.#change({ phase: 'down', pid: undefined, role: undefined, note });
  }

  #change(change: Partial<NodeState>): void {
    this.state = { ...this.state, ...change };
    this.#events.changed(this.state);
  }

  /** Stops it in good order, by force after a while. Resolves when the process is gone. */
  stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelRestart?.();
    const child = this.#process;
    if (child === undefined) return Promise.resolve();
    this.#change({ phase: 'stopping' });
    return new Promise((resolve) => {
      const cancel = systemClock.after(STOP_LIMIT_MS, () => child.kill('SIGKILL'));
      child.once('exit', () => {
        cancel();
        resolve();
      });
      child.kill('SIGTERM');
    });
  }
}
