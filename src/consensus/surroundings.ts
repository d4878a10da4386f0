/** What a replica stands on: the machine's, unless a simulation or a test puts its own in its place. */
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import type { Random } from '../core/random.ts';
import type { Core } from './core.ts';
import type { RaftSettings } from './raft/settings.ts';
import type { RecoveredState } from './storage.ts';
import type { PeerSockets } from './transport/sockets.ts';
import type { Transport } from './transport.ts';

/** What stands in for the clock, the disk and the network of a machine, and watches what passes. */
export interface ReplicaSurroundings {
  readonly clock?: Clock;
  readonly random?: Random;
  readonly disk?: Disk;
  readonly transport?: Transport;
  readonly defer?: (run: () => void) => void;
  /** Wraps the consensus core, so that all that goes in and out can be watched. */
  readonly wrapCore?: (core: Core, recovered: RecoveredState) => Core;
  /** Beneath the transport, where none is given. */
  readonly sockets?: PeerSockets;
  /** Wraps the transport, so that all that is sent and received can be watched. */
  readonly wrapTransport?: (transport: Transport) => Transport;
  /** Small log segments, so that they change often. */
  readonly segmentBytes?: number;
  /** Small limits of the consensus core, so that they are met. */
  readonly coreLimits?: CoreLimits;
  /** Leases that last longer than an election takes, so that they are waited for. */
  readonly leaseMs?: number;
}

/** What bounds the work of a core at one time. */
export type CoreLimits = Partial<Omit<RaftSettings, 'electionTicks' | 'heartbeatTicks'>>;
