/** A cluster of Raft cores on a bad day, for tests, on which the members may change as well. */
import type { Core } from '../core.ts';
import type { SimulatedNode } from '../test-core-node.ts';
import { sometimes, type Weights } from '../test-core-odds.ts';
import { CoreSimulation } from '../test-core-simulation.ts';
import type { Entry } from '../types.ts';
import { votersOf } from './membership.ts';
import { RaftCore } from './raft.ts';
import type { RaftOptions } from './settings.ts';
import { configurationAfter, drawChange, isChange } from './test-changes.ts';
import { LogDisk, Properties } from './test-properties.ts';

const MAX_NODES = 7;
const CHURN = { deliver: 260, take: 300, tick: 25, crash: 1, change: 80 };

export class Simulation extends CoreSimulation<LogDisk, Properties> {
  /** How many were proposed. */
  changes = 0;

  protected override openCore(options: RaftOptions): Core {
    return new RaftCore(options);
  }

  protected override newDisk(): LogDisk {
    return new LogDisk(this.configuration);
  }

  protected override newProperties(): Properties {
    return new Properties(this.configuration, (id) => this.nodeOf(id).disk);
  }

  protected override countNodes(known: number): number {
    return this.weights.change > 0 ? MAX_NODES : known;
  }

  protected override drawWeights(): Weights {
    const weights = super.drawWeights();
    weights.change = sometimes(this.random, 1 + this.random.below(60));
    // Every third day is a quiet one, with as many changes of the configuration as possible.
    return this.random.below(3) === 0 ? { ...weights, ...CHURN } : weights;
  }

  protected override change(node: SimulatedNode<LogDisk>): void {
    const proposer = this.leader() ?? node;
    const ids = this.nodes.map(({ id }) => id);
    const { type, data } = drawChange(this.random, ids, proposer.configuration);
    if (typeof proposer.core!.proposeChange(type, data) === 'object') this.changes += 1;
  }

  protected override onApplied(node: SimulatedNode<LogDisk>, entry: Entry): void {
    if (!isChange(entry)) return;
    node.configuration = configurationAfter(node.configuration, entry);
    this.properties.checkConfiguration(entry.index, node.configuration);
    node.core!.configure(node.configuration);
  }

  protected override members(): SimulatedNode<LogDisk>[] {
    const newest = this.properties.newestConfiguration;
    const ids = [...votersOf(newest), ...newest.learners];
    return this.nodes.filter(({ id }) => ids.includes(id));
  }
}
