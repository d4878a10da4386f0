/** The checks of nodes with the key-value store. */
import type { QuorateNode } from '../../../node.ts';
import type { Story } from '../types.ts';
import { weatherValue } from '../weather.ts';
import { ClusterChecks } from './cluster-checks.ts';
import { Oracle } from './oracle.ts';

export class SimulationChecks extends ClusterChecks<QuorateNode, Oracle> {
  constructor(story: Story) {
    // As `openNode` has it: leases live longer than it takes to elect a leader.
    const electionMs = weatherValue(story.weather, 'electionMs');
    super(story, new Oracle(Math.ceil((1.5 * electionMs) / 1000)), async (node) => {
      return (await node.backend.hashKv({ revision: 0 })).hash;
    });
  }
}
