/**
 * Faults on one engine while processes fight for one lock and write under it. One fault at a time, each
 * while the lock is held; after each the lock must go round again.
 */
import { performance } from 'node:perf_hooks';
import type { LockGuarantees } from 'quorate/locks';
import { type Random, seededRandom } from 'quorate/testing';
import { until } from '../cluster.ts';
import { FaultyNetwork } from '../faulty-network.ts';
import type { Breakage } from './drivers.ts';
import { ENGINES, type Engine, type EngineName } from './engines.ts';
import { FAULT_NAMES, FAULTS, type Fault, type FaultName, type Victim } from './faults.ts';
import type { FromWorker, Hold } from './messages.ts';
import { type Counts, Resource, type ResourceOptions } from './resource.ts';
import { WorkerProcess } from './worker-process.ts';

export interface StormOptions extends ResourceOptions {
  readonly engine: EngineName;
  /** Chooses the order of the faults. What becomes of them is up to the machine. */
  readonly seed: number;
  /** @defaultValue all that apply */
  readonly faults?: readonly FaultName[] | undefined;
  /** Every fault comes so often… @defaultValue 1 */
  readonly times?: number;
  /** …and until so much time has passed. @defaultValue 0 */
  readonly forMs?: number;
  /** For tests of the judge. */
  readonly breakage?: Breakage;
  /** Ends it after the fault under way, however often it was to come. */
  readonly stop?: AbortSignal;
  readonly say?: (line: string) => void;
}

/** Of one kind of fault on one engine. */
export interface Row extends Counts {
  readonly fault: FaultName | 'none';
  /** How often it came. */
  times: number;
  /** Nobody wrote: nobody had the lock, or he who had it stood still. */
  longestGapMs: number;
}

export interface Outcome {
  readonly engine: EngineName;
  readonly guarantees: LockGuarantees;
  readonly rows: readonly Row[];
  readonly violations: readonly string[];
  /** What workers were told instead of a lock, or of its release; with how often. */
  readonly errors: ReadonlyMap<string, number>;
  /** Why clocks were not set though the engine goes by one. */
  readonly noClock: string | undefined;
}

const WORKERS = ['one', 'two', 'three'];
/** Not counted on: where others stand in a queue it never has the lock. */
const HASTY = 'hasty';
/** In good weather, before the first fault. */
const CALM_GRANTS = 6;
/** After each fault: all have had their turn, and he who was hurt is among us again. */
const RECOVERY_GRANTS = 3;
/** Servers start, leaders are elected, and leases that begin anew run out, on a machine that does much else. */
const RECOVERY_MS = 120_000;

export class Storm {
  readonly network = new FaultyNetwork();
  readonly engine: Engine;
  readonly #options: StormOptions;
  readonly #resource: Resource;
  readonly #random: Random;
  readonly #workers: WorkerProcess[] = [];
  readonly #rows = new Map<Row['fault'], Row>();
  readonly #errors = new Map<string, number>();
  readonly #watchers = new Set<(message: FromWorker) => void>();
  #guarantees: LockGuarantees | undefined;
  /** What is counted now. */
  #row: Row;
  #lastWriteMs: number | undefined;
  readonly #onExit = (): void => this.#killWorkers();

  private constructor(options: StormOptions, engine: Engine) {
    this.engine = engine;
    this.#options = options;
    this.#resource = new Resource(options);
    this.#random = seededRandom(options.seed);
    this.#row = this.#rowOf('none');
    this.#lastWriteMs = undefined;
    // One that is stopped would outlive this process.
    process.once('exit', this.#onExit);
  }

  /** From the start of the engine to its end. */
  static async run(options: StormOptions): Promise<Outcome> {
    await using engine = await ENGINES[options.engine].start();
    const storm = new Storm(options, engine);
    try {
      await storm.#startWorkers();
      await storm.#rage();
      return storm.#outcome();
    } catch (error) {
      const { violations } = storm.#resource;
      const outputs = storm.#workers.map(({ name, output }) => `${name}: ${output}`);
      const errors = JSON.stringify([...storm.#errors]);
      const message = `${options.engine}, seed ${options.seed}, ${storm.#row.fault}: ${(error as Error).message}`;
      throw new Error([message, errors, ...violations, ...outputs].join('\n'), { cause: error });
    } finally {
      await storm.#close();
    }
  }

  /** One of those that wait meanwhile. */
  another(worker: WorkerProcess): WorkerProcess {
    const others = this.#workers.filter((one) => one !== worker && one.name !== HASTY);
    return others[this.#random.below(others.length)]!;
  }

  /** Until somebody else wrote twice, or that long. */
  async othersWrite(hold: Hold, limitMs: number): Promise<void> {
    let left = 2;
    await this.#next(limitMs, (message) => {
      const isTheirs = message.kind === 'write' && message.hold.worker !== hold.worker;
      return isTheirs && --left === 0;
    });
  }

  /** As in a power failure. */
  async restartWorkers(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.kill()));
    await Promise.all(this.#workers.map((worker) => worker.start()));
  }

  async #startWorkers(): Promise<void> {
    const names = [...WORKERS, HASTY];
    const seats = await this.engine.seats?.(this.network, names);
    for (const name of names) {
      const links = this.engine.ports.map((port) =>
        this.network.listen('engine', port, () => name),
      );
      const wiring = {
        name,
        seat: seats?.get(name),
        driver: this.engine.driver,
        ports: await Promise.all(links),
        ttlMs: this.engine.ttlMs,
        isHasty: name === HASTY,
        breakage: this.#options.breakage,
      };
      const onMessage = (message: FromWorker): void => this.#heard(worker, message);
      const worker = new WorkerProcess(wiring, onMessage);
      this.#workers.push(worker);
    }
    await Promise.all(this.#workers.map((worker) => worker.start()));
  }

  #heard(worker: WorkerProcess, message: FromWorker): void {
    const { counts } = this.#resource;
    const before = { ...counts };
    if (message.kind === 'ready') this.#guarantees = message.guarantees;
    else if (message.kind === 'failed') {
      this.#errors.set(message.what, (this.#errors.get(message.what) ?? 0) + 1);
    } else if (message.kind === 'granted') {
      this.#resource.granted(message.hold);
    } else if (message.kind === 'write') {
      const accepted = this.#resource.write(message.hold);
      this.#endGap();
      worker.tell({ kind: 'written', accepted });
    }
    for (const name of Object.keys(before) as (keyof Counts)[]) {
      this.#row[name] += counts[name] - before[name];
    }
    for (const watcher of this.#watchers) watcher(message);
  }

  #endGap(): void {
    const nowMs = performance.now();
    const gapMs = nowMs - (this.#lastWriteMs ?? nowMs);
    this.#row.longestGapMs = Math.max(this.#row.longestGapMs, gapMs);
    this.#lastWriteMs = nowMs;
  }

  /** The next message that `fits`; `undefined` where none comes for that long. */
  #next(limitMs: number, fits: (message: FromWorker) => boolean): Promise<FromWorker | undefined> {
    return new Promise((resolve) => {
      const end = (message?: FromWorker): void => {
        clearTimeout(limit);
        this.#watchers.delete(watcher);
        resolve(message);
      };
      const watcher = (message: FromWorker): void => {
        if (fits(message)) end(message);
      };
      const limit = setTimeout(end, limitMs);
      this.#watchers.add(watcher);
    });
  }

  async #rage(): Promise<void> {
    const { times = 1, forMs = 0 } = this.#options;
    const kinds = this.#kinds();
    const endMs = performance.now() + forMs;
    this.#row.times += 1;
    await this.#grants(CALM_GRANTS);
    for (let round = 0; round < times || performance.now() < endMs; round++) {
      for (const kind of this.#shuffled(kinds)) {
        // What goes on for a while ends in time, and not only after its last round.
        if (this.#options.stop?.aborted || (round >= times && performance.now() >= endMs)) return;
        await this.#playUntilItCame(kind);
      }
    }
  }

  #kinds(): FaultName[] {
    const wanted = this.#options.faults ?? FAULT_NAMES;
    return wanted.filter((name) => {
      const fault: Fault = FAULTS[name];
      return fault.appliesTo?.(this.engine) ?? true;
    });
  }

  async #playUntilItCame(kind: FaultName): Promise<void> {
    const fault: Fault = FAULTS[kind];
    this.#row = this.#rowOf(kind);
    while (true) {
      const victim = await this.#victim();
      // Whatever comes, he works on while he believes that he has the lock.
      victim.worker.tell({ kind: 'stay', forMs: RECOVERY_MS });
      const came = await fault.play(this, victim);
      victim.worker.tell({ kind: 'stay', forMs: 0 });
      if (came) break;
    }
    this.#row.times += 1;
    await this.#recover();
    this.#options.say?.(`${this.#options.engine}: ${kind}`);
  }

  /** Whoever looks at the lock next. */
  async #victim(): Promise<Victim> {
    const message = await this.#next(RECOVERY_MS, ({ kind }) => kind === 'looked');
    if (message?.kind !== 'looked') throw new Error('nobody has the lock');
    const { hold } = message;
    return { hold, worker: this.#workers.find(({ name }) => name === hold.worker)! };
  }

  async #recover(): Promise<void> {
    const heard = new Set<string>();
    const watcher = (message: FromWorker): void => {
      if ('hold' in message) heard.add(message.hold.worker);
    };
    this.#watchers.add(watcher);
    try {
      await this.#grants(RECOVERY_GRANTS);
      const all = (): boolean => WORKERS.every((name) => heard.has(name));
      await until('everybody has had the lock again', all, RECOVERY_MS);
    } finally {
      this.#watchers.delete(watcher);
    }
    const ended = this.#workers.find(({ isRunning }) => !isRunning);
    if (ended !== undefined) throw new Error(`${ended.name} has ended by itself`);
  }

  async #grants(count: number): Promise<void> {
    const { counts } = this.#resource;
    const target = counts.grants + count;
    await until(`${count} more grants`, () => counts.grants >= target, RECOVERY_MS);
  }

  #shuffled(kinds: readonly FaultName[]): FaultName[] {
    const cards = [...kinds];
    for (let i = cards.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      [cards[i], cards[j]] = [cards[j]!, cards[i]!];
    }
    return cards;
  }

  #rowOf(fault: Row['fault']): Row {
    const counts = { grants: 0, writes: 0, overlaps: 0, refused: 0, violations: 0 };
    const row = this.#rows.get(fault) ?? { fault, times: 0, longestGapMs: 0, ...counts };
    this.#rows.set(fault, row);
    return row;
  }

  #outcome(): Outcome {
    return {
      engine: this.#options.engine,
      guarantees: this.#guarantees!,
      // As they are listed, and not as they came.
      rows: (['none', ...FAULT_NAMES] as const).flatMap((name) => this.#rows.get(name) ?? []),
      violations: this.#resource.violations,
      noClock: this.engine.noClock,
      errors: this.#errors,
    };
  }

  #killWorkers(): void {
    for (const worker of this.#workers) worker.signal('SIGKILL');
  }

  async #close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.kill()));
    process.off('exit', this.#onExit);
    await this.network.close();
  }
}
