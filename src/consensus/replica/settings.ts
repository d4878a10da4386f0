/** How a replica behaves: times, what it keeps, what it refuses. Validated together. */
import { QuorateError } from '../../core/errors.ts';

/** Times, bounds and what is kept. Each whole; see `replicaSettings` for how they bound each other. */
export interface ReplicaSettings {
  /** Between two heartbeats of the leader; also the length of a tick. @defaultValue 100 */
  readonly heartbeatMs: number;
  /** A follower that hears no leader for this long (up to twice) starts an election. @defaultValue 1000 */
  readonly electionMs: number;
  /** How long a proposal or read may take, a change of leader included. @defaultValue 5000 + 2 elections */
  readonly requestTimeoutMs: number;
  /**
   * Entries applied since the last snapshot before the next one is taken; and never before the log
   * has grown by as much as that snapshot weighed. @defaultValue 10000
   */
  readonly snapshotEntries: number;
  /** Bytes applied since the last snapshot before the next one is taken. @defaultValue 64 MiB */
  readonly snapshotBytes: number;
  /** Age of the oldest entry not covered by a snapshot before one is taken. @defaultValue one hour */
  readonly snapshotAgeMs: number;
  /** Applied entries kept in memory for followers that are a little late; others get a snapshot. @defaultValue 5000 */
  readonly keepEntries: number;
  /** Their bytes. @defaultValue 64 MiB */
  readonly keepBytes: number;
  /** Largest proposal. @defaultValue 1.5 MiB */
  readonly maxProposalBytes: number;
  /** Proposals that may wait for a leader or for room; beyond: `ERR_BUSY`. @defaultValue 50000 */
  readonly maxWaitingProposals: number;
  /** Their bytes. @defaultValue 64 MiB */
  readonly maxWaitingBytes: number;
}

const replicaDefaults: ReplicaSettings = {
  heartbeatMs: 100,
  electionMs: 1000,
  requestTimeoutMs: 7000,
  snapshotEntries: 10_000,
  snapshotBytes: 64 * 1024 * 1024,
  snapshotAgeMs: 3_600_000,
  keepEntries: 5000,
  keepBytes: 64 * 1024 * 1024,
  maxProposalBytes: 1.5 * 1024 * 1024,
  maxWaitingProposals: 50_000,
  maxWaitingBytes: 64 * 1024 * 1024,
};

/** Longest election timeout that etcd accepts: beyond it a cluster is without a leader for minutes. */
const MAX_ELECTION_MS = 50_000;

/** The settings with their defaults. @throws ERR_INVALID_ARGUMENT naming the setting and its bound */
export function replicaSettings(given: Partial<ReplicaSettings> = {}): ReplicaSettings {
  const electionMs = given.electionMs ?? replicaDefaults.electionMs;
  const settings: ReplicaSettings = {
    ...replicaDefaults,
    requestTimeoutMs: 5000 + 2 * electionMs,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
  for (const [name, value] of Object.entries(settings)) {
    const least = name === 'keepEntries' ? 0 : 1;
    refuseUnless(
      Number.isSafeInteger(value) && value >= least,
      `${name}: ${value} is not a whole number of at least ${least}`,
    );
  }
  refuseUnless(
    electionMs >= 5 * settings.heartbeatMs,
    `electionMs: ${electionMs} must be at least five times heartbeatMs (${settings.heartbeatMs}), or a single late heartbeat deposes the leader`,
  );
  refuseUnless(
    electionMs <= MAX_ELECTION_MS,
    `electionMs: ${electionMs} is above ${MAX_ELECTION_MS}`,
  );
  refuseUnless(
    settings.maxWaitingBytes >= settings.maxProposalBytes,
    `maxWaitingBytes: ${settings.maxWaitingBytes} is below maxProposalBytes (${settings.maxProposalBytes})`,
  );
  return settings;
}

function refuseUnless(holds: boolean, message: string): void {
  if (!holds) throw new QuorateError('ERR_INVALID_ARGUMENT', message);
}
