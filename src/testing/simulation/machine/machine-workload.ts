/** Clients that propose commands to replicas of a state machine, and now and then read. */
import type { StateMachine } from '../../../consensus/state-machine.ts';
import { isQuorateError } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import { exponential, pick } from '../draw.ts';
import type { Life } from '../life.ts';
import type { SimulationContext, Workload } from '../parts.ts';
import { weatherValue } from '../weather.ts';
import { errorText } from '../world.ts';
import type { MachineHistory } from './machine-history.ts';
import type { MachineNode } from './machine-node.ts';

/** A client without a node to talk to looks again after so long. */
const LOOK_AGAIN_MS = 20;
/** One in so many calls is a read. */
const READ_ONE_IN = 4;

export class MachineWorkload<Result, Machine extends StateMachine<Result>> implements Workload {
  readonly operations: Record<string, number> = {};
  pending = 0;
  readonly #context: SimulationContext<MachineNode<Result, Machine>>;
  readonly #history: MachineHistory<Result, Machine>;
  readonly #command: (random: Random, number: number) => Uint8Array;
  readonly #random: Random;
  readonly #thinkMeanMs: number;
  #commands = 0;
  /** The newest entry that somebody has seen the effects of: no read that begins later may miss it. */
  #seenIndex = 0;
  #stopped = false;

  constructor(
    context: SimulationContext<MachineNode<Result, Machine>>,
    history: MachineHistory<Result, Machine>,
    command: (random: Random, number: number) => Uint8Array,
  ) {
    this.#context = context;
    this.#history = history;
    this.#command = command;
    this.#random = context.world.random('clients');
    this.#thinkMeanMs = weatherValue(context.story.weather, 'thinkMeanMs');
    for (let client = 0; client < context.story.clients; client++) this.#think();
  }

  stop(): void {
    this.#stopped = true;
  }

  /** So many proposals at once. */
  burst(count: number): void {
    const { running } = this.#context.cluster;
    for (let i = 0; i < count && running.length > 0 && !this.#stopped; i++) {
      void this.propose(pick(this.#random, running));
    }
  }

  /** Proposes the next command through a node; resolves with whether it was acknowledged. */
  async propose(life: Life<MachineNode<Result, Machine>>): Promise<boolean> {
    const command = this.#command(this.#random, this.#commands);
    this.#commands += 1;
    if (!(command instanceof Uint8Array) || command.length === 0) {
      const number = this.#commands - 1;
      this.#context.world.violate('bad-command', `command ${number} is no Uint8Array with content`);
      return false;
    }
    this.#history.proposed(command);
    this.pending += 1;
    try {
      // Copied: a replica keeps what it is given, and a user's memory may be used again.
      const result = await life.call(({ replica }) => replica.propose(Buffer.from(command)));
      this.#history.acknowledged(command, result);
      this.#saw(life);
      this.#count('propose ok');
      return true;
    } catch (error) {
      if (!isQuorateError(error)) this.#context.world.violate('unexpected-error', errorText(error));
      else if (error.outcome === 'not-applied') this.#history.refused(command);
      this.#count(isQuorateError(error) ? `propose ${error.outcome}` : 'propose failed');
      return false;
    } finally {
      this.pending -= 1;
    }
  }

  async #read(life: Life<MachineNode<Result, Machine>>): Promise<void> {
    const atLeast = this.#seenIndex;
    this.pending += 1;
    try {
      const index = await life.call(async ({ replica }) => {
        await replica.readBarrier();
        return replica.appliedIndex;
      });
      if (index < atLeast) {
        this.#context.world.violate(
          'linearizable-reads',
          `a read on ${life.name} saw entry ${index} where entry ${atLeast} had been seen before`,
        );
      }
      this.#saw(life);
      this.#count('read ok');
    } catch (error) {
      if (!isQuorateError(error)) this.#context.world.violate('unexpected-error', errorText(error));
      this.#count('read failed');
    } finally {
      this.pending -= 1;
    }
  }

  #think(): void {
    const { world } = this.#context;
    world.after(exponential(this.#random, this.#thinkMeanMs), () => void this.#act());
  }

  async #act(): Promise<void> {
    if (this.#stopped) return;
    const { world, cluster } = this.#context;
    const lives = cluster.running;
    if (lives.length === 0) {
      world.after(LOOK_AGAIN_MS, () => void this.#act());
      return;
    }
    const life = pick(this.#random, lives);
    if (this.#random.below(READ_ONE_IN) === 0) await this.#read(life);
    else await this.propose(life);
    this.#think();
  }

  #saw({ node }: Life<MachineNode<Result, Machine>>): void {
    if (node !== undefined) this.#seenIndex = Math.max(this.#seenIndex, node.replica.appliedIndex);
  }

  #count(what: string): void {
    this.operations[what] = (this.operations[what] ?? 0) + 1;
  }
}
