/** All mutants, by what they break. */
import { leaseMutants } from './lease.ts';
import { lockMutants } from './locks.ts';
import type { Mutant } from './mutant.ts';
import { paxosMutants } from './paxos.ts';
import { raftMutants } from './raft.ts';
import { raftMemberMutants } from './raft-members.ts';
import { raftReadMutants } from './raft-reads.ts';
import { replicaMutants } from './replica.ts';
import { storageMutants } from './storage.ts';

export type { Change, Mutant } from './mutant.ts';

export const mutants: readonly Mutant[] = [
  ...raftMutants,
  ...raftReadMutants,
  ...raftMemberMutants,
  ...leaseMutants,
  ...storageMutants,
  ...replicaMutants,
  ...paxosMutants,
  ...lockMutants,
];
