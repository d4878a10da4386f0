/**
 * The one thread in which a simulated run happens: true time, the events in order, the streams of
 * random numbers, the trace, and what was counted.
 *
 * Every event runs in a callback of its own of the event loop, since Node settles all promises
 * between two of them: so what an event sets going has come to rest before the next one. Nothing but
 * events may set something going, or equal seeds would not mean equal runs.
 */
import { type Random, seededRandom } from '../../core/random.ts';
import { EventQueue } from './event-queue.ts';
import { TraceHash, textHash } from './trace.ts';
import type { Cancel, Violation, World } from './types.ts';

/** Events per round of the event loop: a round costs as much as several events. */
const BATCH = 64;

/** Lines of the trace that are kept where one was asked for. */
const MAX_TRACE_LINES = 100_000;

export interface WorldOptions {
  readonly seed: number;
  /** Keep the newest lines of the trace, for people to read. @defaultValue false */
  readonly keepTrace?: boolean;
}

export class SimulatedWorld implements World {
  readonly seed: number;
  nowMs = 0;
  events = 0;
  /** How often each kind of fault was injected. */
  readonly faults: Record<string, number> = {};
  /** How often each rare path was taken. */
  readonly reached: Record<string, number> = {};
  violation: Violation | undefined = undefined;
  /** Called after every event, when all promises that it settled have been told. */
  afterEvent: (() => void) | undefined = undefined;
  readonly #queue = new EventQueue();
  readonly #hash = new TraceHash();
  readonly #lines: string[] | undefined;
  #dropped = 0;
  /** Events that `afterEvent` was called for. */
  #looked = 0;

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.#lines = options.keepTrace === true ? [] : undefined;
  }

  /** Events that wait. */
  get waiting(): number {
    return this.#queue.size;
  }

  /** 16 hex digits: of all that happened so far, in order. */
  get traceHash(): string {
    return this.#hash.digest();
  }

  /** The newest lines of the trace, oldest first; empty where none is kept. */
  get traceLines(): readonly string[] {
    return this.#lines?.slice(this.#dropped) ?? [];
  }

  after(delayMs: number, run: () => void): Cancel {
    const event = this.#queue.add(this.nowMs + Math.max(0, delayMs), run);
    return () => this.#queue.cancel(event);
  }

  random(stream: string): Random {
    return seededRandom(textHash(`${this.seed}/${stream}`));
  }

  trace(what: string, a?: number | string, b?: number | string): void {
    this.#hash.addText(what);
    if (a !== undefined) this.#fold(a);
    if (b !== undefined) this.#fold(b);
    if (this.#lines !== undefined) this.note([what, a ?? '', b ?? ''].join(' ').trimEnd());
  }

  note(line: string): void {
    if (this.#lines === undefined) return;
    this.#lines.push(`${this.nowMs.toFixed(3)} ${line}`);
    if (this.#lines.length - this.#dropped > MAX_TRACE_LINES) this.#dropOldest();
  }

  fault(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
    this.trace('fault', kind);
  }

  reach(path: string): void {
    this.reached[path] = (this.reached[path] ?? 0) + 1;
  }

  violate(property: string, message: string): void {
    this.violation ??= { property, message, atMs: this.nowMs, event: this.events };
    this.trace('violation', property);
    this.note(message);
  }

  /** Runs what is due up to and including `untilMs`, while `goOn` says so; then it is `untilMs`. */
  run(untilMs: number, goOn: () => boolean = always): Promise<void> {
    return new Promise((resolve) => {
      let left = 0;
      let ended = false;
      const step = (): void => {
        if (ended) return;
        if (this.#step(untilMs, goOn)) {
          left -= 1;
          if (left === 0) batch();
        } else {
          ended = true;
          resolve();
        }
      };
      const batch = (): void => {
        left = BATCH;
        for (let i = 0; i < BATCH; i++) setImmediate(step);
      };
      batch();
    });
  }

  /** Looks at what the last event did, then runs the next one. `false`: there is none to run. */
  #step(untilMs: number, goOn: () => boolean): boolean {
    try {
      if (this.#looked < this.events) {
        this.#looked = this.events;
        this.afterEvent?.();
      }
      if (this.violation !== undefined || !goOn()) return false;
      if (this.#queue.nextMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return false;
      }
      this.#next();
    } catch (error) {
      // In a real process this would have been the end of it.
      this.violate('uncaught-error', errorText(error));
    }
    return true;
  }

  #next(): void {
    const event = this.#queue.take()!;
    const run = event.run!;
    event.run = undefined;
    this.nowMs = event.dueMs;
    this.events += 1;
    this.#hash.addNumber(event.dueMs);
    this.#hash.addNumber(event.order);
    run();
  }

  #fold(value: number | string): void {
    if (typeof value === 'number') this.#hash.addNumber(value);
    else this.#hash.addText(value);
  }

  #dropOldest(): void {
    this.#dropped += 1;
    if (this.#dropped < MAX_TRACE_LINES) return;
    this.#lines!.splice(0, this.#dropped);
    this.#dropped = 0;
  }
}

/** What is known of something thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function always(): boolean {
  return true;
}
