/**
 * The words of the simulator: what a run is asked for, what it reports, and what its parts
 * (world, disk, network, processes, faults, clients, checks) know of each other.
 */
import type { Random } from '../../core/random.ts';

/** The version of the simulator: a seed or a story means the same run only within one. */
export const SIMULATOR_VERSION = 1;

/** What the clients of a run do mostly: a bit of everything, or take locks. */
export type WorkloadName = 'mixed' | 'locks';

/** What a run is asked for. */
export interface SimulationOptions {
  /** Decides everything that is not given here. A whole number from 0 to 2^32 - 1. */
  readonly seed: number;
  /** Which core the nodes run. @defaultValue `'raft'` */
  readonly consensus?: 'raft' | 'paxos';
  /** What the clients do, where the seed draws the story. @defaultValue `'mixed'` */
  readonly workload?: WorkloadName;
  /** Faults to play instead of those that the seed would draw: a shrunk run. */
  readonly story?: Story;
  /** Keep the newest lines of the trace. @defaultValue false */
  readonly keepTrace?: boolean;
  /** Called about ten times a second of real time while the run goes on. */
  readonly onProgress?: (progress: SimulationProgress) => void;
}

/** How far a run is. */
export interface SimulationProgress {
  /** True time of the simulated world. */
  readonly virtualMs: number;
  /** Events run so far. */
  readonly events: number;
}

/**
 * A run in full: how the cluster is built, how bad the weather is, and every fault with its time.
 * `storyOf(seed)` draws one; a shrunk one has fewer faults. JSON, kept with the code it broke.
 */
export interface Story {
  readonly version: number;
  readonly seed: number;
  readonly consensus: 'raft' | 'paxos';
  /** Members at the start; more may join. */
  readonly nodes: number;
  /** Virtual time under faults; then they stop and the cluster must heal. */
  readonly stormMs: number;
  readonly clients: number;
  /** Chances and sizes by name, as the swarm drew them: absent is off. */
  readonly weather: Readonly<Record<string, number>>;
  readonly faults: readonly PlannedFault[];
}

/** One fault at one time: `node` and `peer` are seat numbers from 0. */
export interface PlannedFault {
  readonly atMs: number;
  readonly kind: string;
  readonly node?: number;
  readonly peer?: number;
  readonly forMs?: number;
  readonly amount?: number;
}

/** A property that did not hold. */
export interface Violation {
  /** Short and stable: `election-safety`, `linearizability`, … */
  readonly property: string;
  readonly message: string;
  readonly atMs: number;
  /** Number of the event after which it was seen. */
  readonly event: number;
}

/** What a run was like. */
export interface SimulationResult {
  readonly seed: number;
  readonly story: Story;
  /** Of everything that happened, in order: equal for equal seeds, on every machine. */
  readonly traceHash: string;
  readonly events: number;
  readonly virtualMs: number;
  /** `undefined`: every property held. */
  readonly violation: Violation | undefined;
  /** How often each kind of fault was injected. */
  readonly faults: Readonly<Record<string, number>>;
  /** How often each rare path was taken. */
  readonly reached: Readonly<Record<string, number>>;
  /** What clients did: by outcome. */
  readonly operations: Readonly<Record<string, number>>;
  /** The newest lines of the trace, oldest first; empty where none was to be kept. */
  readonly trace: readonly string[];
}

/** Cancels what was scheduled; calling it again does nothing. */
export type Cancel = () => void;

/**
 * The one thread in which all happens: true time, the events in order, the tree of random numbers,
 * the trace. Nodes do not see it: they have clocks, disks and networks made of it.
 */
export interface World {
  /** True time in milliseconds, with fractions. */
  readonly nowMs: number;
  /** Events run so far. */
  readonly events: number;
  /** Runs `run` as an event of its own after `delayMs` of true time; all promises settle before the next event. */
  after(delayMs: number, run: () => void): Cancel;
  /** A stream of random numbers of its own: what one part draws does not shift what another gets. */
  random(stream: string): Random;
  /** Folds what happened into the trace's hash, and keeps it where a trace was asked for. */
  trace(what: string, a?: number | string, b?: number | string): void;
  /** A line for people, which may differ between machines: kept, not folded into the hash. */
  note(line: string): void;
  /** A fault was injected. */
  fault(kind: string): void;
  /** A rare path was taken. */
  reach(path: string): void;
  /** A property does not hold: the run ends after this event. */
  violate(property: string, message: string): void;
}
