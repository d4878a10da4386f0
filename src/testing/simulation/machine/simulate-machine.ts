/**
 * The simulator for your own state machine: replicas of it go through the same storms as Quorate's
 * own nodes, and it is held against what a replicated state machine must be.
 */
import type { StateMachine } from '../../../consensus/state-machine.ts';
import { invalid } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import { ClusterChecks } from '../checks/cluster-checks.ts';
import type { Seat } from '../cluster.ts';
import { defaultParts, playFault } from '../default-parts.ts';
import { healMs } from '../liveness.ts';
import { Nemesis } from '../nemesis.ts';
import type { Checks, SimulationContext, SimulationParts } from '../parts.ts';
import { simulateParts } from '../simulation.ts';
import type { SimulationOptions, SimulationResult, Story } from '../types.ts';
import { MachineHistory } from './machine-history.ts';
import { MachineNode } from './machine-node.ts';
import { MachineWorkload } from './machine-workload.ts';
import { ObservedMachine } from './observed-machine.ts';

/**
 * What is simulated.
 *
 * @typeParam Machine - the state machine; of what its `apply` answers, `Result`.
 */
export interface MachineSimulationOptions<Result, Machine extends StateMachine<Result>>
  extends SimulationOptions {
  /** A new, empty one: every node begins with one each time it starts. */
  readonly machine: () => Machine;
  /** What a client proposes next, at least one byte; all chance must come from `random`. `number` counts from 0. */
  readonly command: (random: Random, number: number) => Uint8Array;
  /** The whole state as text: equal for machines that applied the same commands. */
  readonly digest: (machine: Machine) => string;
}

const LOOK_MS = 20;

/**
 * Runs replicas of a state machine through the storm of a seed. Besides what consensus must keep,
 * the machine itself is checked: equal commands give equal answers and states on every node, through
 * snapshots and restarts; `apply` neither throws, nor keeps or changes the data it is lent.
 *
 * Resolves also where something did not hold: see `violation`. Throws `ERR_INVALID_ARGUMENT`.
 *
 * @example
 * ```ts
 * for (let seed = 0; seed < 100; seed++) {
 *   const { violation } = await simulateMachine({
 *     seed,
 *     machine: () => new Counter(),
 *     command: (random) => Uint8Array.of(random.below(10)),
 *     digest: (counter) => String(counter.total),
 *   });
 *   assert.equal(violation, undefined, `seed ${seed}`);
 * }
 * ```
 */
export async function simulateMachine<Result, Machine extends StateMachine<Result>>(
  options: MachineSimulationOptions<Result, Machine>,
): Promise<SimulationResult> {
  checkOptions(options);
  return simulateParts(options, machineParts(options));
}

/** Where these are wrong nothing would be checked, or nobody would know why all fails. */
function checkOptions<Result, Machine extends StateMachine<Result>>(
  options: MachineSimulationOptions<Result, Machine>,
): void {
  for (const name of ['machine', 'command', 'digest'] as const) {
    if (typeof options[name] !== 'function') throw invalid(`${name} must be a function`);
  }
  const machine = options.machine();
  for (const name of ['apply', 'snapshot', 'restore'] as const) {
    if (typeof machine?.[name] === 'function') continue;
    throw invalid(`machine must return a state machine: it has no ${name}()`);
  }
  const digest: unknown = options.digest(machine);
  if (typeof digest === 'string') return;
  throw invalid(`digest must return the whole state as a string, not as ${typeof digest}`);
}

class MachineChecks<Result, Machine extends StateMachine<Result>> extends ClusterChecks<
  MachineNode<Result, Machine>,
  MachineHistory<Result, Machine>
> {
  constructor(story: Story, history: MachineHistory<Result, Machine>) {
    super(story, history, async (node) => history.hashOf(node.machine));
  }

  override begin(context: SimulationContext<MachineNode<Result, Machine>>): void {
    super.begin(context);
    this.oracle.begin(context.world);
  }

  override end(): void {
    super.end();
    this.oracle.judge();
  }
}

/** The parts of one run. */
function machineParts<Result, Machine extends StateMachine<Result>>(
  options: MachineSimulationOptions<Result, Machine>,
): SimulationParts<MachineNode<Result, Machine>> {
  const { machine, command, digest } = options;
  type Node = MachineNode<Result, Machine>;
  const history = new MachineHistory<Result, Machine>(machine(), digest);
  let nemesis: Nemesis | undefined;
  // Of a node the nemesis asks how it stands, and to hand leadership over.
  const asNemesisSeesIt = (context: SimulationContext<Node>): SimulationContext =>
    context as unknown as SimulationContext;
  return {
    drawStory: defaultParts.drawStory,
    setWeather: (context) => defaultParts.setWeather(asNemesisSeesIt(context)),
    open: (nodeOptions, { name }) =>
      MachineNode.open<Result, Machine>(
        nodeOptions,
        new ObservedMachine<Result, Machine>(machine(), (index, result) =>
          history.answered(name, index, result),
        ),
      ),
    createChecks: (story) => new MachineChecks<Result, Machine>(story, history),
    startWorkload(context, checks) {
      const workload = new MachineWorkload<Result, Machine>(context, history, command);
      const own = checks as MachineChecks<Result, Machine>;
      nemesis = new Nemesis(asNemesisSeesIt(context), own);
      nemesis.workload = workload;
      return workload;
    },
    playFault: (_context, fault) => playFault(nemesis!, fault),
    endFaults: () => nemesis!.calm(),
    async healed(context, checks, workload) {
      const own = checks as MachineChecks<Result, Machine>;
      const clients = workload as MachineWorkload<Result, Machine>;
      await healed(context, own, clients, nemesis!);
      nemesis!.retire();
    },
    healMs: (context) => healMs(asNemesisSeesIt(context)),
  };
}

/** Resolves when every node runs, has taken a command, and all are in the same state. */
async function healed<Result, Machine extends StateMachine<Result>>(
  { world, cluster }: SimulationContext<MachineNode<Result, Machine>>,
  checks: Checks<MachineNode<Result, Machine>> & MachineChecks<Result, Machine>,
  workload: MachineWorkload<Result, Machine>,
  nemesis: Nemesis,
): Promise<void> {
  const pause = (): Promise<void> => new Promise((resolve) => void world.after(LOOK_MS, resolve));
  // A change of members that was under way when the storm ended may still come into force, and start a node.
  let members: Seat<MachineNode<Result, Machine>>[] = [];
  while (nemesis.membership.pending > 0) await pause();
  for (let isServing = false; !isServing; ) {
    await pause();
    const settled = await nemesis.membership.settled();
    members = settled.map(({ number }) => cluster.seats[number]!);
    isServing = true;
    for (const { life } of members) {
      if (life === undefined || !(await workload.propose(life))) isServing = false;
    }
  }
  workload.stop();
  const isBehind = (): boolean => {
    const { lastIndex } = checks.properties.chosen;
    return members.some(({ life }) => {
      return life !== undefined && (life.node?.replica.appliedIndex ?? 0) < lastIndex;
    });
  };
  while (workload.pending > 0 || isBehind()) await pause();
  for (const { name, life } of members) {
    if (life?.node === undefined) continue;
    if (checks.oracle.hashOf(life.node.machine) === checks.oracle.hash()) continue;
    world.violate(
      'machine-determinism',
      `at the end the state of ${name} is not that of the history`,
    );
  }
}
