/**
 * For tests of what is built on Quorate: time in your hands, random numbers that come again, faults on purpose, a
 * checker for linearizability, and the simulator that Quorate itself is tested with.
 */
import '../core/runtime.ts';

export type { Clock } from '../core/clock.ts';
export { type Random, seededRandom } from '../core/random.ts';
export {
  type DropFault,
  type ErrorFault,
  type FaultOptions,
  type FaultRules,
  type FaultStats,
  type Faults,
  faults,
  type LatencyFault,
} from './faults.ts';
export {
  type CheckOptions,
  type Counterexample,
  checkLinearizability,
  type Linearizability,
} from './linearizability.ts';
export {
  type KvFound,
  type KvInput,
  type KvOutput,
  type KvState,
  kvModel,
} from './linearizability-kv.ts';
export {
  type CounterInput,
  counterModel,
  type FencedInput,
  fencedModel,
  type ListInput,
  type LockInput,
  type LockOutput,
  type LockState,
  listModel,
  lockModel,
  type RegisterInput,
  type RegisterOutput,
  registerModel,
} from './linearizability-models.ts';
export type { Model, Operation } from './linearizability-types.ts';
export {
  type MachineSimulationOptions,
  simulateMachine,
} from './simulation/machine/simulate-machine.ts';
export {
  type PlayStory,
  type ShrinkOptions,
  type ShrunkStory,
  shrinkStory,
} from './simulation/shrink.ts';
export { simulate, storyOf } from './simulation/simulation.ts';
export { parseStory, storyText } from './simulation/story.ts';
export type {
  PlannedFault,
  SimulationOptions,
  SimulationProgress,
  SimulationResult,
  Story,
  Violation,
} from './simulation/types.ts';
export { VirtualClock } from './virtual-clock.ts';
