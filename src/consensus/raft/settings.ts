/**
 * The settings of a Raft core: times in ticks (the replica decides how long a tick is), limits in
 * messages, entries and bytes. They depend on each other, so they are validated together.
 */
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import type { Configuration, Entry, HardState, NodeId } from '../types.ts';
import type { LeaseOptions } from './lease.ts';

/** Settings of one node. All nodes of a cluster should have the same times. */
export interface RaftSettings {
  /**
   * A follower that heard no leader for this many ticks, up to twice as many (drawn at random for
   * each attempt), campaigns. @defaultValue 10
   */
  readonly electionTicks: number;
  /** Ticks between heartbeats of a leader. @defaultValue 1 */
  readonly heartbeatTicks: number;
  /**
   * Ask first whether an election could be won, so that a node that was cut off does not depose a
   * working leader when it returns (thesis §9.6). @defaultValue true
   */
  readonly preVote: boolean;
  /**
   * A leader that hears no quorum for `electionTicks` steps down, and nobody votes while a leader
   * was heard that recently (thesis §6.2, §4.2.3). @defaultValue true
   */
  readonly checkQuorum: boolean;
  /** Entries in one append message, by size; one entry larger than this travels alone. @defaultValue 1 MiB */
  readonly maxAppendBytes: number;
  /** Append messages on their way to one peer, at most. @defaultValue 256 */
  readonly maxInflightMessages: number;
  /** Bytes on their way to one peer, exceeded by at most one message. @defaultValue 16 MiB */
  readonly maxInflightBytes: number;
  /** Proposed and not yet committed, by payload: beyond it `propose` answers `'busy'`. @defaultValue 64 MiB */
  readonly maxUncommittedBytes: number;
  /** Proposed and not yet committed, by count: beyond it `propose` answers `'busy'`. @defaultValue 262144 */
  readonly maxUncommittedEntries: number;
  /** Committed entries that one `take` hands out, by size; the first one always is. @defaultValue 8 MiB */
  readonly maxCommittedBytesPerTake: number;
  /** Committed entries that one `take` hands out, by count. @defaultValue 4096 */
  readonly maxCommittedEntriesPerTake: number;
  /** Linearizable reads that wait at one time; what comes beyond is dropped. @defaultValue 65536 */
  readonly maxPendingReads: number;
}

/** What a node starts from: its settings and what its disk held. */
export interface RaftOptions {
  readonly id: NodeId;
  /** What is absent has its default. */
  readonly settings?: Partial<RaftSettings>;
  readonly random: Random;
  readonly hardState: HardState;
  readonly configuration: Configuration;
  /** The newest snapshot of the state machine; `{ index: 0, term: 0 }` where there is none. */
  readonly snapshot: { readonly index: number; readonly term: number };
  /** The log after the snapshot; all of it is durable. */
  readonly entries: readonly Entry[];
  /** What the state machine has applied already: later entries are handed out. */
  readonly applied: number;
  /** Linearizable reads without a round of messages; the same on all nodes. @defaultValue none */
  readonly lease?: LeaseOptions | undefined;
}

/** The settings of a node that was given none. */
const defaultRaftSettings: RaftSettings = {
  electionTicks: 10,
  heartbeatTicks: 1,
  preVote: true,
  checkQuorum: true,
  maxAppendBytes: 1024 * 1024,
  maxInflightMessages: 256,
  maxInflightBytes: 16 * 1024 * 1024,
  maxUncommittedBytes: 64 * 1024 * 1024,
  maxUncommittedEntries: 262_144,
  maxCommittedBytesPerTake: 8 * 1024 * 1024,
  maxCommittedEntriesPerTake: 4096,
  maxPendingReads: 65_536,
};

/** The in-flight window is a preallocated ring for each peer: this keeps it below 1 MiB. */
const LARGEST_INFLIGHT_MESSAGES = 65_536;

/**
 * Completes `given` with the defaults and checks that the whole makes sense.
 *
 * @throws QuorateError `ERR_INVALID_ARGUMENT` naming the setting, its value and what is allowed.
 */
export function validateSettings(given: Partial<RaftSettings> = {}): RaftSettings {
  const settings: RaftSettings = Object.assign({}, defaultRaftSettings, given);
  for (const [name, value] of Object.entries(settings)) {
    if (typeof defaultRaftSettings[name as keyof RaftSettings] !== 'number') continue;
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      refuse(`${name} must be a whole number of at least 1, but is ${String(value)}`);
    }
  }
  if (settings.electionTicks <= settings.heartbeatTicks) {
    refuse(
      `electionTicks (${settings.electionTicks}) must be greater than heartbeatTicks (${settings.heartbeatTicks}), ` +
        'or followers campaign between two heartbeats; ten times as many is usual',
    );
  }
  if (settings.maxInflightBytes < settings.maxAppendBytes) {
    refuse(
      `maxInflightBytes (${settings.maxInflightBytes}) must be at least maxAppendBytes (${settings.maxAppendBytes})`,
    );
  }
  if (settings.maxInflightMessages > LARGEST_INFLIGHT_MESSAGES) {
    refuse(
      `maxInflightMessages (${settings.maxInflightMessages}) must be at most ${LARGEST_INFLIGHT_MESSAGES}`,
    );
  }
  return settings;
}

function refuse(message: string): never {
  throw new QuorateError('ERR_INVALID_ARGUMENT', `raft settings: ${message}`);
}
