/** Replicas of a journal: a state machine that keeps every command, so that order and number show. */
import assert from 'node:assert/strict';
import { openReplica } from '../../src/consensus/open-replica.ts';
import type { ReplicaStatus } from '../../src/consensus/replica/options.ts';
import type { Replica } from '../../src/consensus/replica/replica.ts';
import type { StateMachine } from '../../src/consensus/state-machine.ts';
import type { CoreUnderTest } from './cores.ts';
import { NodeCluster, type NodeClusterOptions, type NodeSeat, outcomeOf } from './node-cluster.ts';

/** Tells `observe` of every command with its place, also of those that a snapshot brings. */
class Journal implements StateMachine<number> {
  commands: string[] = [];
  readonly #observe: (place: number, command: string) => void;

  constructor(observe: (place: number, command: string) => void) {
    this.#observe = observe;
  }

  apply(data: Uint8Array): number {
    const command = Buffer.from(data).toString();
    this.#observe(this.commands.length, command);
    return this.commands.push(command);
  }

  *snapshot(): Generator<Uint8Array> {
    yield Buffer.from(JSON.stringify(this.commands));
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    this.commands = JSON.parse(Buffer.concat(parts).toString()) as string[];
    for (const [place, command] of this.commands.entries()) this.#observe(place, command);
  }
}

/** A replica, and the journal it keeps. */
export interface JournalNode {
  readonly replica: Replica<number>;
  readonly journal: Journal;
  status(): ReplicaStatus;
  close(): Promise<void>;
}

export interface JournalClusterOptions extends NodeClusterOptions {
  /** @defaultValue never */
  readonly snapshotEntries?: number;
}

export class JournalCluster extends NodeCluster<JournalNode> {
  /** The one order of all commands, as the first node to apply each saw it. */
  readonly order: string[];
  readonly #places: Map<string, number>;

  constructor(core: CoreUnderTest, options: JournalClusterOptions) {
    const order: string[] = [];
    const places = new Map<string, number>();
    const observe = (place: number, command: string): void => {
      if (place === order.length) {
        assert.equal(places.get(command), undefined, `${this}: ${command} is applied once`);
        order.push(command);
        places.set(command, place);
      }
      assert.equal(command, order[place], `${this}: all nodes have the same at ${place}`);
    };
    super(core, options, async (plan) => {
      const journal = new Journal(observe);
      const { replica } = await openReplica<number>({
        ...plan,
        ...core.options,
        machine: journal,
        snapshotEntries: options.snapshotEntries ?? 1_000_000,
        keepEntries: 3,
      });
      return {
        replica,
        journal,
        status: () => replica.status(),
        close: () => replica.close(),
      };
    });
    this.order = order;
    this.#places = places;
  }

  place(command: string): number | undefined {
    return this.#places.get(command);
  }

  /** Proposes at `seat`: the place it got, or what became of it. */
  async submit(
    seat: NodeSeat<JournalNode>,
    command: string,
  ): Promise<number | 'not-applied' | 'unknown'> {
    const { node } = seat;
    if (node === undefined) return 'not-applied';
    try {
      const place = (await node.replica.propose(Buffer.from(command))) - 1;
      assert.equal(this.#places.get(command), place, `${this}: ${command} has the place told`);
      return place;
    } catch (error) {
      return outcomeOf(error);
    }
  }

  /** Gets `command` applied by `expected` nodes: tries again until it is. Texts must differ. */
  async one(command: string, expected: number): Promise<number> {
    const deadlineMs = this.clock.now() + 20_000;
    for (let at = 0; this.clock.now() < deadlineMs; at++) {
      const seat = this.seat(at);
      const attempt = `${command}#${at}`;
      if (!seat.connected || seat.node === undefined) continue;
      const place = await this.during(this.submit(seat, attempt));
      if (typeof place !== 'number') continue;
      await this.until(`${expected} apply ${attempt}`, () => this.appliedBy(place) >= expected);
      return place;
    }
    return assert.fail(`${this}: ${command} was not agreed on by ${expected} nodes`);
  }

  appliedBy(place: number): number {
    return this.seats.filter(({ node }) => (node?.journal.commands.length ?? 0) > place).length;
  }

  /** Heals everything, demands progress and equal journals, and closes. */
  async finish(): Promise<void> {
    this.unreliable = false;
    this.partition(this.seats);
    this.connect(...this.seats);
    await this.start(...this.seats.filter(({ node }) => node === undefined));
    await this.one('the end', this.seats.length);
    await this.until('all have everything', () =>
      this.seats.every(({ node }) => node!.journal.commands.length === this.order.length),
    );
    for (const { node } of this.seats) assert.deepEqual(node!.journal.commands, this.order);
    await this.close();
  }
}
