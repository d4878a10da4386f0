/**
 * The seams of a run: what draws and plays its faults, works on its cluster, watches it, and says
 * whether it has healed. `simulation.ts` puts the parts together and knows nothing else of them.
 */
import type { NodeOptions, QuorateNode } from '../../node.ts';
import type { ClusterObserver, SimulatedCluster } from './cluster.ts';
import type { Life, SimulatedNode } from './life.ts';
import type { PlannedFault, Story, WorkloadName } from './types.ts';
import type { SimulatedWorld } from './world.ts';

/** What every part of a run is given. */
export interface SimulationContext<Node extends SimulatedNode = QuorateNode> {
  readonly story: Story;
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster<Node>;
}

/** Watches a run. Made before the cluster: it learns of the context in `begin`. */
export interface Checks<Node extends SimulatedNode = QuorateNode> {
  /** What the cluster shows. */
  readonly observer: ClusterObserver<Node>;
  /** The cluster is built; no node has been started. */
  begin(context: SimulationContext<Node>): void;
  /** After every event, when all promises have settled. Must be cheap. */
  afterEvent(): void;
  /** Everything is closed: what can only be judged as a whole. */
  end(): void;
}

/** Clients at work. */
export interface Workload {
  /** What clients did, by outcome. */
  readonly operations: Record<string, number>;
  /** No new operations from here on. */
  stop(): void;
  /** Operations that wait for their answers. */
  readonly pending: number;
}

export interface SimulationParts<Node extends SimulatedNode = QuorateNode> {
  /** Opens what lives on a seat. */
  open(options: NodeOptions, life: Life<Node>): Promise<Node>;
  /** Draws the story of a seed. */
  drawStory(seed: number, consensus: Story['consensus'], workload?: WorkloadName): Story;
  createChecks(story: Story): Checks<Node>;
  /** Sets the weather of network, disks and messages for the storm. */
  setWeather(context: SimulationContext<Node>): void;
  /** Plays one fault, in an event at its time. */
  playFault(context: SimulationContext<Node>, fault: PlannedFault): void;
  /** The storm is over: whatever faults left behind ends. Every seat is to run again. */
  endFaults(context: SimulationContext<Node>): void;
  /** Called when the first nodes are being started. Its findings go to `checks`. */
  startWorkload(context: SimulationContext<Node>, checks: Checks<Node>): Workload;
  /** Resolves when the cluster has healed. What it waits for must be events. */
  healed(context: SimulationContext<Node>, checks: Checks<Node>, workload: Workload): Promise<void>;
  /** How long, in virtual time, healing may take. */
  healMs(context: SimulationContext<Node>): number;
}
