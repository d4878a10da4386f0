/**
 * A storm: rounds of faults on a fleet that clients use all the while. After each round all faults
 * have ended and the fleet must serve again within a bound; at the end all nodes must hold the same,
 * and what the clients saw must have been possible.
 */
import assert from 'node:assert/strict';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { seededRandom } from 'quorate/testing';
import { until } from '../cluster.ts';
import { Clients } from './clients.ts';
import { Deck, type Fault, type FaultKind, playFault, textOf } from './faults.ts';
import { Fleet } from './fleet.ts';
import { History } from './history.ts';
import { Replacements } from './membership.ts';

export interface StormOptions {
  readonly seed: number;
  /** How long faults go on. The last round is played to its end. */
  readonly forMs: number;
  readonly size: number;
  readonly flags: readonly string[];
  readonly kinds: readonly FaultKind[];
  /** Members are replaced all the time. @defaultValue `false` */
  readonly replaceMembers?: boolean;
  readonly say: (line: string) => void;
}

/** Some elections and the start of processes on a machine that does other things too; most take one or two seconds. */
const RECOVERY_MS = 30_000;
/** Answers between two rounds. */
const CALM_ANSWERS = 50;
/** Elections in half a second, so that many fit into a storm; small logs, so that snapshots are sent. */
const FLAGS = [
  '--heartbeat-interval=50',
  '--election-timeout=500',
  '--snapshot-count=300',
  '--snapshot-catchup-entries=50',
];

export class Storm {
  readonly #options: StormOptions;
  readonly #fleet: Fleet;
  readonly #history = new History();
  readonly #clients: Clients;
  readonly #replacements: Replacements | undefined;
  readonly #deck: Deck;
  /** For those who watch over the test: not through the network. */
  readonly #kv: Kv;
  readonly #played = new Map<FaultKind, number>();
  /** From the end of the last fault to the next write, and to the answers of a majority's processes. */
  readonly #recoveries: { readonly tookMs: number; readonly upMs: number }[] = [];
  /** The round under way, for a failure. */
  #round: readonly Fault[] = [];

  private constructor(options: StormOptions, fleet: Fleet) {
    const random = seededRandom(options.seed);
    this.#options = options;
    this.#fleet = fleet;
    this.#deck = new Deck(random, options.size, options.kinds);
    // The schedule is the seed's alone: clients draw from their own.
    const others = seededRandom(options.seed + 1);
    this.#clients = new Clients(fleet.endpoints, this.#history, others);
    this.#kv = etcdKv({ endpoints: fleet.directEndpoints, timeoutMs: 1000 });
    this.#replacements = options.replaceMembers ? new Replacements(fleet, others) : undefined;
  }

  /** From the start of the fleet to the verdict. Leaves nothing behind. */
  static async run(options: StormOptions): Promise<void> {
    const flags = [...FLAGS, ...options.flags];
    await using fleet = await Fleet.start({ size: options.size, flags });
    if (fleet.smallDisk === undefined) {
      options.say(`NO DISK WAS FILLED: nothing can be mounted here: ${fleet.noSmallDisk}`);
    }
    const storm = new Storm(options, fleet);
    try {
      await storm.#rage();
      await storm.#judge();
    } catch (error) {
      const round = storm.#round.map((fault) => `  ${textOf(fault)}`).join('\n');
      throw new Error(
        `seed ${options.seed}: ${(error as Error).message}\nfaults of the round:\n${round}\n${fleet.outputs()}`,
        { cause: error },
      );
    } finally {
      storm.#tell();
      await storm.#close();
    }
  }

  async #rage(): Promise<void> {
    const endMs = performance.now() + this.#options.forMs;
    while (performance.now() < endMs) {
      this.#round = this.#deck.round();
      await Promise.all(this.#round.map((fault) => this.#play(fault)));
      await this.#recover();
    }
    await this.#replacements?.stop();
  }

  async #play(fault: Fault): Promise<void> {
    if (!(await playFault(this.#fleet, fault))) return;
    this.#played.set(fault.kind, (this.#played.get(fault.kind) ?? 0) + 1);
  }

  /** All faults have ended: writes are taken again, and everybody is there. */
  async #recover(): Promise<void> {
    assert.deepEqual(this.#history.violations, []);
    const startedAt = performance.now();
    const up = this.#fleet.awaitMajority(RECOVERY_MS).then(() => performance.now() - startedAt);
    up.catch(() => undefined);
    await until('writes are taken again', () => this.#kv.put('probe', 'x'), RECOVERY_MS);
    const tookMs = performance.now() - startedAt;
    this.#recoveries.push({ tookMs, upMs: Math.min(tookMs, await up) });
    if (process.env['QUORATE_CHAOS_VERBOSE'] !== undefined) {
      const faults = this.#round.map(textOf).join('; ');
      this.#options.say(
        `${faults}: back after ${Math.round(tookMs)} ms, ${this.#history.counts.ok} answers so far`,
      );
    }
    for (const { name, member, isLeaving } of this.#fleet.seats) {
      assert.ok(member.running || isLeaving, `${name} has ended by itself`);
    }
    // In good weather as well there is something to see, on a slow machine too.
    const { ok } = this.#history.counts;
    const enough = (): boolean => this.#history.counts.ok >= ok + CALM_ANSWERS;
    await until('clients are answered again', enough, RECOVERY_MS);
  }

  async #judge(): Promise<void> {
    this.#round = [];
    await this.#clients.stop();
    const { revision } = await until('writes are taken', () => this.#kv.put('probe', 'last'));
    await this.#awaitEqual(revision);
    const { steps } = await this.#clients.verify(this.#kv);
    this.#options.say(`linearizable, in ${steps} steps of the checker`);
  }

  async #awaitEqual(revision: number): Promise<void> {
    const endpoints = this.#fleet.directEndpoints;
    const service = etcdService({ endpoints, timeoutMs: 2000 });
    try {
      await until(
        'all nodes hold the same',
        async () => {
          const hashes = await Promise.all(
            endpoints.map((endpoint) => service.hashKv(endpoint, { revision })),
          );
          return new Set(hashes.map(({ hash }) => hash)).size === 1;
        },
        RECOVERY_MS,
      );
    } finally {
      await service.close();
    }
  }

  #tell(): void {
    const { counts, errors } = this.#history;
    const list = (of: ReadonlyMap<string, number>): string =>
      [...of].map(([what, count]) => `${what} ${count}`).join(', ');
    const recoveries = this.#recoveries.toSorted((a, b) => a.tookMs - b.tookMs);
    const [median, slowest] = [recoveries[recoveries.length >> 1], recoveries.at(-1)];
    const shown = (one: typeof median): string =>
      `${Math.round(one?.tookMs ?? 0)} ms (processes answer after ${Math.round(one?.upMs ?? 0)} ms)`;
    const { value, grants, refused } = this.#clients.counter;
    const { say } = this.#options;
    say(
      `operations: ${counts.ok} answered, ${counts.unknown} unknown, ${counts.notApplied} refused, ${counts.readsFailed} reads failed (${list(errors)})`,
    );
    say(`faults: ${list(this.#played)}`);
    if (this.#played.has('disk full')) {
      const output = this.#fleet.seats[0]?.member.output ?? '';
      const isFull = errors.has('ERR_NO_SPACE') || /the disk of \S+ is full/.test(output);
      say(`the full disk was ${isFull ? '' : 'not '}noticed`);
    }
    say(
      `recovery of ${recoveries.length} rounds: median ${shown(median)}, slowest ${shown(slowest)}`,
    );
    say(`lock: ${grants} grants, ${value} increments, ${refused} refused by the fence`);
    const { done, slowestMs } = this.#replacements ?? { done: 0, slowestMs: 0 };
    if (done > 0) say(`members replaced: ${done}, slowest ${Math.round(slowestMs)} ms`);
  }

  async #close(): Promise<void> {
    await this.#clients.close();
    await this.#replacements?.stop().catch(() => undefined);
    await this.#kv.close();
  }
}
