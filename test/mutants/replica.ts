/** Bugs above consensus: proposals, reads and snapshots of a replica, lost disks, leases and watches of the store. */
import type { Mutant } from './mutant.ts';

export const replicaMutants: readonly Mutant[] = [];
