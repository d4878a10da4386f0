/** One thread of a pool, and the task that it has. */
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type Transferable,
  Worker,
} from 'node:worker_threads';
import type { Cancel, Clock } from '../../core/clock.ts';
import {
  BEGUN,
  errorFrom,
  SENT,
  type ThreadMessage,
  type ThreadReply,
  type ThreadRequest,
} from './messages.ts';
import type { ThreadSetup } from './thread-main.ts';

/** A task, as threads know it. */
export interface ThreadCall {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly transfer: readonly Transferable[] | undefined;
  /** Who has it now. */
  thread: Thread | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Who is told what becomes of a thread. */
export interface ThreadOwner {
  isReady(thread: Thread): void;
  /** It has ended a task, and could take another. */
  isFree(thread: Thread): void;
  /** It is there no more. The call is the one that it had. */
  isGone(thread: Thread, call: ThreadCall | undefined): void;
}

export interface ThreadPlan {
  readonly url: string;
  readonly workerData: unknown;
  /** It may take so long to load the module. */
  readonly loadMs: number;
  readonly maxHeapMb: number | undefined;
  readonly recycleBytes: number;
  readonly recycleTasks: number;
}

/**
 * Runs the file beside this one, as it is written and as it is built. A program, not its URL: that is refused where this process was
 * given a program itself, with `--input-type`.
 */
const MAIN = `import(${JSON.stringify(
  new URL(
    import.meta.url.endsWith('.ts') ? './thread-main.ts' : './thread-main.js',
    import.meta.url,
  ).href,
)})`;

const NOTHING: never[] = [];

export class Thread {
  readonly #owner: ThreadOwner;
  readonly #plan: ThreadPlan;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #marks: Int32Array;
  /** What the module can do, once it is loaded. */
  exports: ReadonlySet<string> | undefined;
  /** Why it could not load the module. */
  unable: unknown;
  /** What it ended from, where it did so by itself. */
  error: unknown;
  exitCode: number | undefined;
  /** Somebody wanted it to end. */
  isEnding: boolean;
  /** It has been used enough. */
  isWorn: boolean;
  #call: ThreadCall | undefined;
  #lastId: number;
  readonly #cancelLoadLimit: Cancel;
  readonly gone: Promise<void>;

  constructor(owner: ThreadOwner, plan: ThreadPlan, clock: Clock) {
    this.#owner = owner;
    this.#plan = plan;
    this.#marks = new Int32Array(new SharedArrayBuffer(8));
    this.exports = undefined;
    this.unable = undefined;
    this.error = undefined;
    this.exitCode = undefined;
    this.isEnding = false;
    this.isWorn = false;
    this.#call = undefined;
    this.#lastId = 0;
    const { url, workerData, maxHeapMb, recycleBytes } = plan;
    this.#worker = new Worker(MAIN, {
      eval: true,
      workerData,
      ...(maxHeapMb === undefined
        ? undefined
        : { resourceLimits: { maxOldGenerationSizeMb: maxHeapMb } }),
    });
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.on('message', (message: ThreadMessage) => this.#take(message));
    port1.on('messageerror', (error) => this.#fail(error));
    // The worker alone says whether the process has to wait for it.
    port1.unref();
    const setup: ThreadSetup = { port: port2, marks: this.#marks, url, recycleBytes };
    this.#worker.postMessage(setup, [port2]);
    this.gone = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#hasEnded(code);
        resolve();
      });
    });
    this.#worker.on('error', (error) => this.#noteError(error));
    this.#worker.on('messageerror', (error) => this.#fail(error));
    this.#cancelLoadLimit = clock.after(plan.loadMs, () => {
      this.#fail(new Error(`it took more than ${plan.loadMs} ms`));
    });
  }

  /** Whether the process waits for it. Only asked while it loads: then it does where somebody needs it. */
  keepsProcess(isNeeded: boolean): void {
    if (isNeeded) this.#worker.ref();
    else this.#worker.unref();
  }

  /** @throws DataCloneError where arguments cannot be sent; then it has not got the call. */
  give(call: ThreadCall): void {
    const id = (this.#lastId + 1) | 0;
    const request: ThreadRequest = { id, name: call.name, args: call.args };
    this.#port.postMessage(request, call.transfer ?? NOTHING);
    this.#lastId = id;
    this.#call = call;
    call.thread = this;
    Atomics.add(this.#marks, SENT, 1);
    Atomics.notify(this.#marks, SENT);
    this.#worker.ref();
  }

  /** Ends it, whatever it does. */
  end(): Promise<void> {
    if (!this.isEnding) {
      this.isEnding = true;
      this.#worker.ref();
      void this.#worker.terminate();
    }
    return this.gone;
  }

  /** Whether it had begun the call that it was given last. */
  get hadBegun(): boolean {
    return Atomics.load(this.#marks, BEGUN) === this.#lastId;
  }

  #take(message: ThreadMessage): void {
    if ('id' in message) this.#ended(message);
    else if ('exports' in message) this.#loaded(message.exports);
    else this.#fail(undefined, errorFrom(message.unable));
  }

  #loaded(names: readonly string[]): void {
    this.#cancelLoadLimit();
    this.exports = new Set(names);
    this.#worker.unref();
    this.#owner.isReady(this);
  }

  #ended({ id, value, thrown, isFull }: ThreadReply): void {
    const call = this.#call!;
    this.#call = undefined;
    call.thread = undefined;
    this.#worker.unref();
    this.isWorn = isFull || id >= this.#plan.recycleTasks;
    if (thrown === undefined) call.resolve(value);
    else call.reject(errorFrom(thrown));
    this.#owner.isFree(this);
  }

  #noteError(error: unknown): void {
    this.error ??= error;
  }

  /** What it says cannot be read, or it cannot do anything. */
  #fail(error: unknown, unable?: unknown): void {
    this.#noteError(error);
    this.unable = unable;
    this.#worker.ref();
    void this.#worker.terminate();
  }

  #hasEnded(code: number): void {
    this.#cancelLoadLimit();
    this.isEnding = true;
    this.exitCode = code;
    // What it had said before.
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) break;
      this.#take(received.message as ThreadMessage);
    }
    const call = this.#call;
    this.#call = undefined;
    this.#port.close();
    this.#owner.isGone(this, call);
  }
}
