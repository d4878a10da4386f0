/** A cluster of Multi-Paxos cores on a bad day, for tests. The members are fixed. */
import type { Core } from '../core.ts';
import type { RaftOptions } from '../raft/settings.ts';
import { CoreSimulation } from '../test-core-simulation.ts';
import { PaxosCore } from './paxos.ts';
import { Properties, SlotDisk } from './test-properties.ts';

export class Simulation extends CoreSimulation<SlotDisk, Properties> {
  protected override openCore(options: RaftOptions): Core {
    return new PaxosCore(options);
  }

  protected override newDisk(): SlotDisk {
    return new SlotDisk(this.configuration);
  }

  protected override newProperties(): Properties {
    return new Properties(this.configuration);
  }
}
