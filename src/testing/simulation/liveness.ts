/**
 * After the storm: no fault is left, every process runs. Safety alone would be kept by a cluster that
 * does nothing at all; so within a bound there must be a leader, every node must take a fresh write,
 * every call be answered, every watch and every state be up to date, and every lease be gone.
 */
import { isQuorateError } from '../../core/errors.ts';
import type { SimulationChecks } from './checks/simulation-checks.ts';
import type { Seat } from './cluster.ts';
import type { Nemesis } from './nemesis.ts';
import type { SimulationContext } from './parts.ts';
import { weatherValue } from './weather.ts';
import { whyNotLinearizable } from './workload/linearizable.ts';
import type { ClientWorkload } from './workload/workload.ts';

const LOOK_MS = 20;
/** Election timeouts within which a leader is found: votes may split several times. */
const ELECTIONS = 20;
/** Nodes start, read their logs, fetch snapshots; a node whose disk is given up starts four times. */
const RECOVERY_MS = 30_000;
/** What a burst left in the log may be 600 entries, of which a slow network carries 10 a second; or a node lacks as many. */
const BACKLOG_MS = 120_000;
const ENTRY_MS = 100;
/** Whoever joins a node that was alone lacks its whole log, and nothing commits before it has that. */
const MAX_BACKLOG_MS = 600_000;
/** The longest lease, the scan for those that ran out, and a second attempt to end them. */
const LEASES_MS = 12_000;

/** A node that finds the note about its leases damaged waits for the longest that there may be. */
const OLD_LEASES_MS = 50_000;

/** How long healing may take in all. */
export function healMs({ story }: SimulationContext): number {
  const electionMs = weatherValue(story.weather, 'electionMs');
  const requestMs = weatherValue(story.weather, 'requestTimeoutMs');
  return (
    2 * RECOVERY_MS +
    2 * MAX_BACKLOG_MS +
    OLD_LEASES_MS +
    ELECTIONS * electionMs +
    LEASES_MS +
    5 * requestMs
  );
}

export class Healing {
  readonly #context: SimulationContext;
  readonly #checks: SimulationChecks;
  readonly #workload: ClientWorkload;
  readonly #nemesis: Nemesis;

  constructor(
    context: SimulationContext,
    checks: SimulationChecks,
    workload: ClientWorkload,
    nemesis: Nemesis,
  ) {
    this.#context = context;
    this.#checks = checks;
    this.#workload = workload;
    this.#nemesis = nemesis;
  }

  /** Resolves when all is well. Rejects with what is not, where it takes too long. */
  async healed(): Promise<void> {
    const { story, cluster } = this.#context;
    const requestMs = weatherValue(story.weather, 'requestTimeoutMs');
    const electionMs = weatherValue(story.weather, 'electionMs');
    const { mayStop } = this.#checks.atlas;
    // Who joins, or may have been removed, is waited for when the members are known.
    await this.#until('every node runs', RECOVERY_MS + OLD_LEASES_MS, () => {
      return cluster.seats.every(({ life, lives, number }) => {
        return life?.state === 'running' || lives === 0 || mayStop.has(number);
      });
    });
    if (await this.#isStuck(ELECTIONS * electionMs)) return this.#endWithoutMajority(requestMs);
    await this.#until('there is a leader', ELECTIONS * electionMs, () => {
      return this.#nemesis.leader() !== undefined;
    });
    await this.#until('every change of members is answered', 3 * requestMs, () => {
      return this.#nemesis.membership.pending === 0;
    });
    this.#workload.calmDown();
    const members = await this.#untilCaughtUp();
    for (const seat of members) await this.#write(seat.number, requestMs);
    if (this.#workload.hasLocks) await this.#workload.endLocks((...what) => this.#until(...what));
    await this.#handOver(requestMs);
    await this.#until('every call is answered', 3 * requestMs, () => this.#workload.pending === 0);
    await this.#until('every lease has run out', LEASES_MS + electionMs, () => {
      return this.#checks.oracle.leases().length === 0;
    });
    await this.#until('every node has applied everything', RECOVERY_MS, () => this.#areEqual());
    await this.#until('every watch has seen everything', RECOVERY_MS, () => {
      return this.#workload.isCaughtUp;
    });
    await this.#compareStates();
    this.#checkLinearizability();
    this.#nemesis.retire();
  }

  /** Whether too many nodes still give no vote when `withinMs` are over; most that do not are about to. */
  async #isStuck(withinMs: number): Promise<boolean> {
    const { world } = this.#context;
    const untilMs = world.nowMs + withinMs;
    while (this.#checks.atlas.isStuck && world.nowMs <= untilMs) await this.#pause();
    return this.#checks.atlas.isStuck;
  }

  /** Nobody serves any more, as it must be: every call is told so, and what was answered before holds. */
  async #endWithoutMajority(requestMs: number): Promise<void> {
    this.#context.world.reach('no-majority-off-probation');
    const leader = this.#nemesis.leader();
    if (leader !== undefined) throw new Error(`${leader.name} leads without a majority that votes`);
    this.#workload.calmDown();
    await this.#until('every call is answered', 3 * requestMs, () => this.#workload.pending === 0);
    this.#checkLinearizability();
    this.#nemesis.retire();
  }

  async #until(what: string, withinMs: number, holds: () => boolean): Promise<void> {
    const { world } = this.#context;
    const untilMs = world.nowMs + withinMs;
    while (!holds()) {
      if (world.nowMs > untilMs) throw new Error(`not within ${withinMs} ms: ${what}`);
      await this.#pause();
    }
  }

  /** For what may have to be carried to a node that has nothing. */
  get #backlogMs(): number {
    const { running } = this.#context.cluster;
    const lengths = running.map(({ node }) => node!.status().lastIndex);
    return Math.min(Math.max(BACKLOG_MS, ENTRY_MS * Math.max(...lengths)), MAX_BACKLOG_MS);
  }

  /**
   * The members, when each runs and has applied what the clients left: a fresh write waits for that, and how
   * long it takes says nothing about the cluster. Where a change shows up late, others are the members.
   */
  async #untilCaughtUp(): Promise<readonly Seat[]> {
    const { membership } = this.#nemesis;
    for (;;) {
      const members = await membership.settled(this.#backlogMs);
      await this.#until('every member runs', RECOVERY_MS, () => {
        return !membership.isSettled || members.every(({ life }) => life?.state === 'running');
      });
      let target = Number.POSITIVE_INFINITY;
      await this.#until('every member has applied what the clients left', this.#backlogMs, () => {
        // A new leader's log may be shorter; what comes into it from here on is not waited for.
        const last = this.#nemesis.leader()?.life?.node?.status().lastIndex;
        if (last !== undefined) target = Math.min(target, last);
        const applied = members.map(({ life }) => life?.node?.status().appliedIndex ?? 0);
        return !membership.isSettled || applied.every((index) => index >= target);
      });
      if (membership.isSettled) return members;
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => void this.#context.world.after(LOOK_MS, resolve));
  }

  /** A fresh write through this node is acknowledged; a lost leader on the way is no failure. */
  async #write(seat: number, requestMs: number): Promise<void> {
    const { world, cluster } = this.#context;
    const untilMs = world.nowMs + 2 * requestMs + ELECTIONS * this.#nemesis.electionMs;
    for (;;) {
      try {
        await cluster.seats[seat]!.life?.call(({ kv }) => kv.put(`z${seat}`, 'healed'));
        return;
      } catch (error) {
        if (!isQuorateError(error) || world.nowMs > untilMs) throw error;
      }
      await this.#pause();
    }
  }

  /** Leadership goes where it is asked to. */
  async #handOver(requestMs: number): Promise<void> {
    const { world } = this.#context;
    const untilMs = world.nowMs + 2 * requestMs + ELECTIONS * this.#nemesis.electionMs;
    for (;;) {
      const leader = this.#nemesis.leader()?.life;
      const own = leader?.node?.status().id;
      const voters = leader?.node?.members().filter(({ learner }) => !learner) ?? [];
      const target = voters.find(({ id }) => id !== own)?.id;
      if (leader !== undefined && target === undefined) return;
      try {
        await leader?.call(({ backend }) =>
          backend.moveLeader({ targetId: BigInt(`0x${target}`) }),
        );
        if (leader !== undefined) return;
      } catch (error) {
        if (!isQuorateError(error)) throw error;
      }
      if (world.nowMs > untilMs) throw new Error(`leadership did not go to ${target}`);
      await this.#pause();
    }
  }

  #areEqual(): boolean {
    const { chosen } = this.#checks.properties;
    return this.#context.cluster.running.every((life) => {
      return life.node!.status().appliedIndex === chosen.lastIndex;
    });
  }

  #checkLinearizability(): void {
    const { world } = this.#context;
    const why = whyNotLinearizable(this.#workload.history.operations, () => {
      world.reach('linearizability-undecided');
    });
    if (why !== undefined) world.violate('linearizability', why);
  }

  async #compareStates(): Promise<void> {
    const { world, cluster } = this.#context;
    const expected = this.#checks.oracle.hash();
    for (const { node, name } of cluster.running) {
      const { hash } = await node!.backend.hashKv({ revision: 0 });
      if (hash === expected) continue;
      world.violate(
        'state-machine-safety',
        `at the end the state of ${name} is not that of the history`,
      );
    }
  }
}
