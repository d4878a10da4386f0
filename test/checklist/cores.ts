/** The consensus cores that the checklist is run on: every test is written once, against `Core`. */
import type { Core } from '../../src/consensus/core.ts';
import { PaxosCore } from '../../src/consensus/paxos/paxos.ts';
import type { ReplicaPlace } from '../../src/consensus/place.ts';
import { RaftCore } from '../../src/consensus/raft/raft.ts';
import type { Configuration, Entry, HardState, NodeId } from '../../src/consensus/types.ts';
import type { Random } from '../../src/core/random.ts';

/** What a core starts from, as it was found on the disk. */
export interface CoreStart {
  readonly id: NodeId;
  readonly random: Random;
  /** The node's monotonic clock. */
  readonly now: () => number;
  readonly hardState: HardState;
  readonly configuration: Configuration;
  readonly snapshot: { readonly index: number; readonly term: number };
  readonly entries: readonly Entry[];
  /** At most so much in one message; one entry always fits. */
  readonly maxAppendBytes: number;
}

export interface CoreUnderTest {
  readonly consensus: 'raft' | 'paxos';
  readonly create: (start: CoreStart) => Core;
  /** Whether a write takes the place of all that follows it in the log, or of its own slots only. */
  readonly cutsLog: boolean;
  /** What makes `openReplica` and `openNode` use it. */
  readonly options: Pick<ReplicaPlace, 'consensus' | 'leaseReads'>;
}

export const cores: readonly CoreUnderTest[] = [
  {
    consensus: 'raft',
    create: ({ maxAppendBytes, now: _, ...start }) =>
      new RaftCore({ ...start, applied: start.snapshot.index, settings: { maxAppendBytes } }),
    cutsLog: true,
    options: {},
  },
  {
    consensus: 'paxos',
    create: ({ maxAppendBytes, now: _, ...start }) =>
      new PaxosCore({ ...start, applied: start.snapshot.index, settings: { maxAppendBytes } }),
    cutsLog: false,
    options: { consensus: 'paxos' },
  },
];
