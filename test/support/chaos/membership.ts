/** Members that are replaced while faults go on: removed, and added anew with an empty folder as learners. */
import { setTimeout as delay } from 'node:timers/promises';
import { etcdService } from 'quorate/drivers/etcd';
import type { Random } from 'quorate/testing';
import { until } from '../cluster.ts';
import type { Fleet, Seat } from './fleet.ts';

type Service = ReturnType<typeof etcdService>;

/** A step may have to wait for the end of the faults and for what comes after them. */
const STEP_MS = 90_000;
const PAUSE_MS = 200;

export class Replacements {
  /** Members replaced so far, from removal to promotion. */
  done = 0;
  slowestMs = 0;
  readonly #fleet: Fleet;
  readonly #random: Random;
  readonly #service: Service;
  readonly #running: Promise<void>;
  #goesOn = true;

  constructor(fleet: Fleet, random: Random) {
    this.#fleet = fleet;
    this.#random = random;
    // Not through the network: here only the nodes are to have a hard time.
    this.#service = etcdService({ endpoints: fleet.directEndpoints, timeoutMs: 3000 });
    this.#running = this.#run();
    this.#running.catch(() => undefined);
  }

  /** Ends what was begun. */
  async stop(): Promise<void> {
    this.#goesOn = false;
    try {
      await this.#running;
    } finally {
      await this.#service.close();
    }
  }

  async #run(): Promise<void> {
    while (this.#goesOn) {
      const { seats } = this.#fleet;
      const seat = seats[this.#random.below(seats.length)]!;
      if (seat.isHeld) {
        await delay(PAUSE_MS);
        continue;
      }
      const startedAt = performance.now();
      await this.#replace(seat);
      this.done += 1;
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt);
    }
  }

  async #replace(seat: Seat): Promise<void> {
    const old = await this.#step(`${seat.name} is known`, () => this.#memberAt(seat));
    seat.isLeaving = true;
    await this.#step(`${seat.name} is removed`, async () => {
      await this.#service.memberRemove(old.id).catch(() => undefined);
      return (await this.#service.memberList()).members.every(({ id }) => id !== old.id);
    });
    await this.#step(`${seat.name} is held by no fault`, async () => !seat.isHeld);
    await this.#fleet.renew(seat);
    await this.#step(`${seat.name} is added`, async () => {
      const added = { peerUrls: [seat.peerUrl], isLearner: true };
      await this.#service.memberAdd(added).catch(() => undefined);
      return this.#memberAt(seat);
    });
    await this.#step(`${seat.name} is promoted`, async () => {
      // A node that joins ends where it can ask nobody, or is not told of itself yet.
      if (!seat.member.running) seat.member.start();
      const { id } = await this.#memberAt(seat);
      await this.#service.memberPromote(id).catch(() => undefined);
      return !(await this.#memberAt(seat)).isLearner;
    });
    seat.isLeaving = false;
  }

  /** Until it holds; what fails for want of a leader is tried again. */
  #step<T>(what: string, holds: () => Promise<T | false>): Promise<T> {
    return until(what, holds, STEP_MS);
  }

  async #memberAt({ name, peerUrl }: Seat) {
    const { members } = await this.#service.memberList();
    const member = members.find(({ peerUrls }) => peerUrls.includes(peerUrl));
    if (member === undefined) throw new Error(`${name} is no member`);
    return member;
  }
}
