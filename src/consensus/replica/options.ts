/** What a replica is made of, what it tells its owner, and what it shows of itself. */
import type { WaitOptions } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Core, PeerProgress } from '../core.ts';
import type { StateMachine } from '../state-machine.ts';
import type { Storage } from '../storage.ts';
import type { Transport } from '../transport.ts';
import type { NodeId, Role } from '../types.ts';
import type { Members } from './members.ts';
import type { ReplicaSettings } from './settings.ts';

export interface ReplicaOptions<Result> {
  readonly id: NodeId;
  readonly core: Core;
  readonly storage: Storage;
  readonly transport: Transport;
  readonly machine: StateMachine<Result>;
  readonly members: Members;
  readonly settings: ReplicaSettings;
  readonly clock: Clock;
  /** Runs a function later in this turn of the event loop, after the I/O events that are ready. */
  readonly defer: (run: () => void) => void;
  readonly events?: ReplicaEvents;
  /**
   * Whether a member says that it gives no vote yet, since it lost what it promised, or may have.
   * @defaultValue no member ever does
   */
  readonly isOnProbation?: (member: NodeId) => boolean;
  /** Called once, when the replica stops: what works for it beside the loop ends with it. */
  readonly onStop?: () => void;
}

/** How to propose. */
export interface ProposeOptions extends WaitOptions {
  /**
   * Only as an entry of this node's present leadership. For what only a leader can know and what is
   * wrong once another leads: never forwarded, nor proposed again in a later term.
   */
  readonly onlyAsLeader?: boolean | undefined;
}

/** What the owner of a replica is told. Called from within the loop: be brief, do not throw. */
export interface ReplicaEvents {
  /** Entries were applied in this turn, or a snapshot was restored. */
  readonly onApplied?: () => void;
  /** `true`: this node leads, and has applied everything up to its own term. `false`: no more. */
  readonly onLeading?: (leading: boolean) => void;
  /** Role, term or leader changed. */
  readonly onChange?: (status: ReplicaStatus) => void;
  /** The node stops itself: the disk failed, or an invariant broke. */
  readonly onFailed?: (error: Error) => void;
  /** This node was removed from the cluster: it has stopped, and its data are of no more use. */
  readonly onRemoved?: () => void;
  /** Whether a member has ever run: its name is known. @defaultValue true for members with a name in the log */
  readonly isStarted?: (member: NodeId) => boolean;
  /** A request of a peer by `call`. */
  readonly onCall?: (method: string, payload: Uint8Array) => Promise<Uint8Array>;
}

/** How a replica stands: its role in the quorum, and how far its log is. */
export interface ReplicaStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  /** `''` while none is known. */
  readonly leader: NodeId;
  /** Newest entry known to be durable on a majority. */
  readonly commitIndex: number;
  /** Newest entry that the state machine here has applied. */
  readonly appliedIndex: number;
  /** Oldest entry still in the log. */
  readonly firstIndex: number;
  /** Newest entry of the log, committed or not. */
  readonly lastIndex: number;
  /** Newest entry that a snapshot covers; 0 without one. */
  readonly snapshotIndex: number;
  /** What log and snapshots take on the disk. */
  readonly diskBytes: number;
  /** As leader: how far each other node is. Empty elsewhere. */
  readonly peers: readonly PeerProgress[];
}
