/**
 * What runs in a thread of a pool: loads the module, and calls its functions, one after the other.
 *
 * After a task it waits for the next one without returning to the event loop, as that halves the time between two tasks;
 * only for some milliseconds, and between them what else the thread has to do gets its turn.
 */
import { getHeapStatistics } from 'node:v8';
import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import {
  BEGUN,
  plainlyThrown,
  SENT,
  type ThreadRequest,
  type Thrown,
  thrownFrom,
} from './messages.ts';
import { transferOf } from './moved.ts';

/** The first message to a thread. */
export interface ThreadSetup {
  readonly port: MessagePort;
  /** Shared; see `SENT` and `BEGUN`. */
  readonly marks: Int32Array;
  /** The module whose exports are called. */
  readonly url: string;
  /** A thread whose heap is larger after a task says so. */
  readonly recycleBytes: number;
}

type Exports = Readonly<Record<string, unknown>>;

/** So long the event loop of a thread may have to wait. */
const MAX_WAIT_MS = 10;

class Server {
  readonly #port: MessagePort;
  readonly #marks: Int32Array;
  readonly #exports: Exports;
  readonly #recycleBytes: number;

  constructor({ port, marks, recycleBytes }: ThreadSetup, exports: Exports) {
    this.#port = port;
    this.#marks = marks;
    this.#exports = exports;
    this.#recycleBytes = recycleBytes;
  }

  /** Serves this one, and others that come while it waits for them. */
  async serve(first: ThreadRequest): Promise<void> {
    let untilMs = systemClock.now() + MAX_WAIT_MS;
    let request: ThreadRequest | undefined = first;
    while (request !== undefined) {
      if (!this.#answer(request)) return;
      // What the task left to be done in this turn is done now.
      await undefined;
      request = this.#next(untilMs);
      if (request === undefined || systemClock.now() < untilMs) continue;
      // It was there already, and would be the next time: the port has its messages read one after the other.
      await turn();
      untilMs = systemClock.now() + MAX_WAIT_MS;
    }
  }

  #next(untilMs: number): ThreadRequest | undefined {
    for (;;) {
      const sent = Atomics.load(this.#marks, SENT);
      try {
        const received = receiveMessageOnPort(this.#port);
        if (received !== undefined) return received.message as ThreadRequest;
      } catch (error) {
        this.cannotRead(error);
        return;
      }
      const leftMs = untilMs - systemClock.now();
      if (leftMs <= 0 || Atomics.wait(this.#marks, SENT, sent, leftMs) === 'timed-out') return;
    }
  }

  /** The next request could be sent but not be read. */
  cannotRead(cause: unknown): void {
    const message = `the arguments cannot be read in a thread: ${String(cause)}`;
    const id = (Atomics.load(this.#marks, BEGUN) + 1) | 0;
    Atomics.store(this.#marks, BEGUN, id);
    this.#fail(id, new QuorateError('ERR_INVALID_ARGUMENT', message, { cause }));
  }

  /** @returns whether it is over; else its answer follows later, in a turn of its own. */
  #answer({ id, name, args }: ThreadRequest): boolean {
    Atomics.store(this.#marks, BEGUN, id);
    try {
      const work = this.#exports[name] as (...args: readonly unknown[]) => unknown;
      const result = work(...args);
      if (isThenable(result)) {
        void this.#answerLater(id, result);
        return false;
      }
      this.#reply(id, result);
    } catch (error) {
      this.#fail(id, error);
    }
    return true;
  }

  async #answerLater(id: number, result: PromiseLike<unknown>): Promise<void> {
    try {
      this.#reply(id, await result);
    } catch (error) {
      this.#fail(id, error);
    }
  }

  #reply(id: number, value: unknown): void {
    const reply = { id, value, thrown: undefined, isFull: this.#isFull() };
    try {
      this.#port.postMessage(reply, transferOf(value) ?? NOTHING);
    } catch (cause) {
      const message = `the task was done, but its result cannot be sent: ${String(cause)}`;
      throw new QuorateError('ERR_INVALID_ARGUMENT', message, { outcome: 'unknown', cause });
    }
  }

  #fail(id: number, error: unknown): void {
    post(this.#port, error, (thrown) => ({
      id,
      value: undefined,
      thrown,
      isFull: this.#isFull(),
    }));
  }

  #isFull(): boolean {
    if (this.#recycleBytes === Number.POSITIVE_INFINITY) return false;
    const { used_heap_size: used, external_memory: external } = getHeapStatistics();
    return used + external > this.#recycleBytes;
  }
}

const NOTHING: never[] = [];

/** Of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => void systemClock.after(0, resolve));
}

function post(port: MessagePort, error: unknown, message: (thrown: Thrown) => object): void {
  try {
    port.postMessage(message(thrownFrom(error)));
  } catch {
    port.postMessage(message(plainlyThrown(error)));
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
}

async function start(setup: ThreadSetup): Promise<void> {
  const { port, url } = setup;
  let exports: Exports;
  try {
    exports = (await import(url)) as Exports;
  } catch (error) {
    post(port, error, (unable) => ({ unable }));
    return;
  }
  const names = Object.keys(exports).filter((name) => typeof exports[name] === 'function');
  const server = new Server(setup, exports);
  port.on('message', (request: ThreadRequest) => void server.serve(request));
  port.on('messageerror', (error) => server.cannotRead(error));
  port.postMessage({ exports: names });
}

parentPort!.once('message', (setup: ThreadSetup) => void start(setup));
