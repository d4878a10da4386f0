/** Clients of a cluster in a storm, and what they must be able to rely on. */
import assert from 'node:assert/strict';
import { isQuorateError } from '../../core/errors.ts';
import type { Consensus } from '../types.ts';
import type { MemberChange } from './member-change.ts';
import { FaultCluster, type Life, type Seat, type Weather } from './test-faults.ts';

const STORM: Weather = {
  maxDelayMs: 12,
  lossOneIn: 40,
  lostReplyOneIn: 15,
  slowDiskOneIn: 6,
  slowDiskMs: 25,
};
export const CALM: Weather = {
  maxDelayMs: 1,
  lossOneIn: 0,
  lostReplyOneIn: 0,
  slowDiskOneIn: 0,
  slowDiskMs: 0,
};

/** Members at the start; the other nodes wait. */
const FIRST_MEMBERS = 3;

/** What one client did and heard. */
interface Sent {
  readonly command: string;
  outcome: 'open' | 'acknowledged' | 'not-applied' | 'unknown';
}

/** Clients of a cluster under faults, and what they must be able to rely on. */
export class Storm {
  readonly cluster: FaultCluster;
  readonly sent: Sent[] = [];
  readonly #seed: number;
  readonly #longest: number;
  #open = 0;
  /** The length of the order that somebody has seen: no later read may see less. */
  #seen = 0;

  /** Changes of the members that were done. */
  changes = 0;

  /** With `spares`, nodes beside the first three, the members change all the time. */
  constructor(seed: number, steps: number, spares = 0, consensus: Consensus = 'raft') {
    this.#seed = seed;
    this.#longest = steps;
    this.cluster = new FaultCluster(seed, STORM, 5, spares);
    this.cluster.consensus = consensus;
  }

  async run(): Promise<void> {
    const { cluster } = this;
    const { clock, random, seats } = cluster;
    for (const seat of seats) cluster.start(seat);
    for (let step = 0; step < this.#longest; step++) {
      await clock.advance(random.below(25));
      this.#disturb();
      if (seats.length > FIRST_MEMBERS && random.below(2) === 0) this.#change();
      for (const life of cluster.lives) {
        if (life.process.stopped) continue;
        for (let i = random.below(4); i > 0; i--) this.#propose(life);
        if (random.below(3) === 0) this.#read(life);
      }
      this.#check();
    }
    await this.#settle();
    await this.#compare();
    await this.#close();
  }

  #disturb(): void {
    const { cluster } = this;
    const { random, seats, network } = cluster;
    const seat = seats[random.below(seats.length)]!;
    const other = seats[random.below(seats.length)]!;
    const fate = random.below(28);
    if (fate < 2) network.isolate(seat.id);
    else if (fate < 3) network.cut(seat.id, other.id);
    else if (fate < 6) this.#heal();
    else if (fate < 7) cluster.crash(seat);
    else if (fate < 8) cluster.stop(seat);
    else if (fate < 9) seat.life?.replica.transferLeadership(other.id).catch(expected);
    else if (fate < 10) {
      for (const each of seats) if (random.below(2) === 0) cluster.crash(each);
    } else if (fate < 14) {
      for (const each of seats) if (each.life === undefined && !each.busy) cluster.start(each);
    } else if (fate < 16) seat.life?.process.stop();
    else if (fate < 19) this.#continueAll();
  }

  /** Stopped processes go on: first with what their clients ask, before they hear of anything. */
  #continueAll(): void {
    for (const { life } of this.cluster.seats) {
      if (!life?.process.stopped) continue;
      this.#read(life);
      life.process.go();
    }
  }

  #heal(): void {
    const { network, seats } = this.cluster;
    for (const { id } of seats) {
      network.rejoin(id);
      for (const { id: other } of seats) network.restore(id, other);
    }
  }

  /** Asks any node for a change that may or may not make sense. */
  #change(): void {
    const { random, seats, lives } = this.cluster;
    const life = lives[random.below(lives.length)];
    if (life === undefined || life.process.stopped) return;
    const changes: MemberChange[] = [];
    const first = random.below(seats.length);
    for (let i = random.below(3) === 0 ? 2 : 1; i > 0; i--) {
      changes.push(this.#draw(seats[(first + i) % seats.length]!, life));
    }
    this.#open += 1;
    life.replica.changeMembers(changes).then(
      () => {
        this.#open -= 1;
        this.changes += 1;
      },
      (error) => {
        this.#open -= 1;
        if (!isQuorateError(error)) this.cluster.violations.push(String(error.stack));
      },
    );
  }

  #draw(seat: Seat, life: Life): MemberChange {
    const { random } = this.cluster;
    const { id, member } = seat;
    const known = life.replica.members.get(id);
    if (known === undefined)
      return { kind: 'add', member: { ...member, learner: random.below(3) > 0 } };
    if (known.learner) return { kind: random.below(4) > 0 ? 'promote' : 'remove', id };
    // Each removal uses up a node for good.
    return random.below(3) === 0 ? { kind: 'remove', id } : { kind: 'demote', id };
  }

  /** Those of the nodes that are members, as far as the newest of them knows. */
  get #members(): Life[] {
    const lives = this.cluster.lives.filter((life) => !life.removed);
    const newest = lives.toSorted((a, b) => b.replica.appliedIndex - a.replica.appliedIndex)[0];
    return lives.filter(({ id }) => newest?.replica.members.get(id) !== undefined);
  }

  #propose(life: Life): void {
    const { random } = this.cluster;
    const sent: Sent = { command: `c${this.sent.length}`, outcome: 'open' };
    this.sent.push(sent);
    this.#open += 1;
    const data = Buffer.from(sent.command.padEnd(5 + random.below(300)));
    life.replica.propose(data).then(
      (place) => {
        this.#open -= 1;
        // A dead node's answer reaches nobody.
        if (life.dead) return;
        sent.outcome = 'acknowledged';
        this.#seen = Math.max(this.#seen, place);
        if (this.cluster.place(sent.command) !== place - 1) {
          this.cluster.violations.push(`${sent.command} was answered with the place ${place}`);
        }
      },
      (error) => {
        this.#open -= 1;
        if (!isQuorateError(error)) this.cluster.violations.push(String(error));
        else if (!life.dead) sent.outcome = error.outcome;
      },
    );
  }

  #read(life: Life): void {
    const atLeast = this.#seen;
    this.#open += 1;
    life.replica.readBarrier().then(
      () => {
        this.#open -= 1;
        if (life.dead) return;
        const { length } = life.journal.commands;
        if (length < atLeast) {
          this.cluster.violations.push(`a read saw ${length} commands where ${atLeast} were seen`);
        }
        this.#seen = Math.max(this.#seen, length);
      },
      (error) => {
        this.#open -= 1;
        if (!isQuorateError(error)) this.cluster.violations.push(String(error));
      },
    );
  }

  #check(): void {
    assert.deepEqual(this.cluster.violations, [], `seed ${this.#seed}`);
  }

  async #until(what: string, holds: () => boolean, timeoutMs: number): Promise<void> {
    const { clock } = this.cluster;
    const deadline = clock.now() + timeoutMs;
    while (!holds()) {
      this.#check();
      assert.ok(clock.now() < deadline, `seed ${this.#seed}: not in time: ${what}`);
      await clock.advance(10);
    }
  }

  /** The weather clears: everybody comes back, every call gets its answer, all nodes agree. */
  async #settle(): Promise<void> {
    const { cluster } = this;
    cluster.weather = CALM;
    this.#heal();
    this.#continueAll();
    await this.#until('no start or stop under way', () => cluster.quiet, 2000);
    for (const seat of cluster.seats) if (seat.life === undefined) cluster.start(seat);
    await this.#until('all started', () => cluster.quiet, 2000);
    await this.#until('every call settled', () => this.#open === 0, 3000);
    const caughtUp = (): boolean =>
      this.#members.every(({ journal }) => journal.commands.length === cluster.order.length);
    await this.#until('all members have everything', caughtUp, 2000);
    const asked = this.#members;
    for (const life of asked) this.#propose(life);
    await this.#until('writes go through', () => this.#open === 0, 2000);
    const outcomes = this.sent.slice(-asked.length).map((sent) => sent.outcome);
    assert.deepEqual(new Set(outcomes), new Set(['acknowledged']), `seed ${this.#seed}`);
    await this.#until('all members have the last writes', caughtUp, 2000);
  }

  async #compare(): Promise<void> {
    this.#check();
    const { order } = this.cluster;
    const applied = new Set(order);
    const lives = this.#members;
    const configuration = lives[0]!.replica.members.configuration();
    for (const { journal, replica } of lives) {
      assert.deepEqual(journal.commands, order);
      assert.deepEqual(replica.members.configuration(), configuration);
    }
    for (const { command, outcome } of this.sent) {
      const where = `seed ${this.#seed}: ${command}`;
      if (outcome === 'acknowledged') assert.ok(applied.has(command), `${where} is lost`);
      if (outcome === 'not-applied') assert.ok(!applied.has(command), `${where} was applied`);
    }
  }

  async #close(): Promise<void> {
    const { cluster } = this;
    for (const seat of cluster.seats) cluster.stop(seat);
    await this.#until('all closed', () => cluster.quiet, 5000);
    this.#check();
    await cluster.clock.advance(5000);
    assert.equal(cluster.clock.pending, 0, `seed ${this.#seed}: a timer is left`);
  }
}

function expected(): void {
  // Handing over may fail in a storm.
}
