/** Puts a replica together: storage, transport, consensus core and the one loop that drives them. */
import { type Clock, systemClock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { QuorateError } from '../core/errors.ts';
import { nodeDisk } from '../core/node-disk.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { Core } from './core.ts';
import { answeringStanding, joiningMarker, serveProbation } from './joining.ts';
import { describeLeases, type LeaseTerms, leaseTerms, outlastOldLeases } from './lease-reads.ts';
import { PaxosCore } from './paxos/paxos.ts';
import { initialMembers, missing, ownMember, type ReplicaPlace, requirePlace } from './place.ts';
import type { LeaseOptions } from './raft/lease.ts';
import { RaftCore } from './raft/raft.ts';
import { Members } from './replica/members.ts';
import type { ReplicaEvents } from './replica/options.ts';
import { PeersOnProbation } from './replica/peers-on-probation.ts';
import { ProbationCore } from './replica/probation.ts';
import { Replica } from './replica/replica.ts';
import { type ReplicaSettings, replicaSettings } from './replica/settings.ts';
import { describeCluster, type Seat, seatOfLog, takeSeat } from './seat.ts';
import type { StateMachine } from './state-machine.ts';
import type { Identity, Storage } from './storage.ts';
import type { CoreLimits, ReplicaSurroundings } from './surroundings.ts';
import { tcpTransport } from './transport/tcp.ts';
import type { Transport } from './transport.ts';
import type { NodeId } from './types.ts';
import { type JoiningMarker, readJoiningMarker } from './wal/joining.ts';
import { openDiskStorage } from './wal/storage.ts';

/** Who a replica is, where its log lives, how it behaves, and what it replicates. */
export interface OpenReplicaOptions<Result> extends ReplicaPlace, Partial<ReplicaSettings> {
  /** Empty as it is passed: the log and the newest snapshot bring it to where it was. */
  readonly machine: StateMachine<Result>;
  readonly events?: ReplicaEvents;
  /** For simulations and tests. @defaultValue the clock, the disk and the network of this machine */
  readonly surroundings?: ReplicaSurroundings;
}

type Place = ReplicaPlace & Pick<OpenReplicaOptions<never>, 'surroundings'>;

/** A running replica with the ids it goes by. */
export interface OpenedReplica<Result> {
  readonly replica: Replica<Result>;
  /** 16 hex digits, made of this node's peer URLs, the cluster token and, where it was added later, the time. */
  readonly nodeId: NodeId;
  /** 16 hex digits, made of the first nodes' ids: the same on every node. */
  readonly clusterId: NodeId;
}

/**
 * Opens a replica of your own state machine: the same log, quorum and snapshots that carry the
 * key-value store.
 *
 * Resolves when the data folder is read and the node listens; it may not know a leader yet.
 * Rejects with `ERR_INVALID_ARGUMENT`, `ERR_DATA_DIR_LOCKED`, `ERR_DATA_DIR_MISMATCH`, `ERR_CORRUPT`
 * or `ERR_ADDRESS_IN_USE`, with `join` also with `ERR_UNAVAILABLE` (no member answers) or
 * `ERR_MEMBER_NOT_FOUND` (this node was not added); nothing stays open then.
 *
 * @example
 * ```ts
 * const { replica } = await openReplica({ name: 'a', peers, dataDir, machine: new Counter() });
 * const count = await replica.propose(Uint8Array.of(1)); // durable on a majority, applied here
 * await replica.close();
 * ```
 */
export async function openReplica<Result>(
  options: OpenReplicaOptions<Result>,
): Promise<OpenedReplica<Result>> {
  requirePlace(options);
  requireMachine(options.machine);
  const settings = replicaSettings(pickSettings(options));
  const members = initialMembers(options);
  const own = ownMember(options, members);
  const { surroundings = {} } = options;
  const { clock = systemClock, disk = nodeDisk, random = systemRandom } = surroundings;
  const { sockets, defer } = surroundings;
  const leases = leaseTerms(
    options.leaseReads,
    options.consensus,
    surroundings.leaseMs ?? settings.electionMs,
  );
  const asking = { disk, clock, random, sockets, defer };
  const taken = withConsensus(await takeSeat(options, members, own, asking), options);
  const { nodeId, clusterId } = taken.identity;
  const storage = await openStorage(options, disk, taken);
  const stopping = new AbortController();
  let transport: Transport | undefined;
  try {
    const seat = await seatOfLog(taken, options, own, storage, asking);
    await outlastOldLeases(disk, options.dataDir, leases, clock, (text) =>
      options.log?.('warn', text),
    );
    const known = new Members();
    const inner =
      surroundings.transport ??
      openTransport(options, seat.identity, settings.electionMs, leases, () =>
        describeCluster(clusterId, known.list()),
      );
    transport = surroundings.wrapTransport?.(inner) ?? inner;
    const others = seat.members.filter((member) => member.id !== nodeId);
    transport.setPeers(new Map(others.map((m) => [m.id, m.peerUrls] as const)), new Set());
    const peers = others.filter((member) => !member.learner).map((member) => member.id);
    const marker = await markerOf(options, disk, storage, seat);
    const lease = leases && leaseOptions(leases, clock, storage);
    const fresh = newCore(
      taken.identity,
      storage,
      settings,
      random,
      surroundings.coreLimits,
      lease,
    );
    const bare = surroundings.wrapCore?.(fresh, storage.recovered) ?? fresh;
    const consensus = options.consensus ?? 'raft';
    const core = marker === undefined ? bare : new ProbationCore(bare, nodeId, consensus);
    const onProbation = new PeersOnProbation(clock, settings.electionMs);
    const replica = new Replica<Result>({
      id: nodeId,
      core,
      storage,
      transport,
      machine: options.machine,
      members: known,
      settings,
      clock,
      defer: defer ?? ((run) => void setImmediate(run)),
      events: answeringStanding(options.events ?? {}, {
        core,
        configuration: () => known.configuration(),
        wasAddedToUs: (id, changes) => known.with(changes).wasAddedTo(nodeId, id),
        neverVoted: (id, changes) => known.with(changes).neverVoted(id),
        onProbation,
        newLength: marker?.isDamaged === true ? -1 : (seat.bootstrap?.entries.length ?? -1),
      }),
      isOnProbation: (member) => onProbation.has(member),
      onStop: () => stopping.abort(),
    });
    await replica.start();
    if (core instanceof ProbationCore && marker !== undefined) {
      const firstLength = seat.bootstrap?.entries.length ?? 0;
      const isFounder = firstLength > 1 && core.status().lastIndex === firstLength;
      const parts = { core, replica, storage, transport, clock, marker, isFounder, peers };
      serveProbation({ ...parts, signal: stopping.signal, log: options.log });
    }
    return { replica, nodeId, clusterId };
  } catch (error) {
    await transport?.close();
    await storage.close();
    throw error;
  }
}

/** Of a node that founded its cluster alone there is no other copy, unless it says that others came. */
function isAlone({ join }: ReplicaPlace, { bootstrap }: Seat): boolean {
  return bootstrap?.entries.length === 1 && join !== true;
}

/** Throws `ERR_CORRUPT` where nobody is left from whom a damaged log could be completed. */
async function markerOf(
  options: ReplicaPlace,
  disk: Disk,
  storage: Storage,
  seat: Seat,
): Promise<JoiningMarker | undefined> {
  const { dataDir } = options;
  const isOnProbation = (await readJoiningMarker(disk, dataDir)) !== undefined;
  // One that said `join` before goes on with its probation, whatever it says now: its log is not all there was.
  if (!isOnProbation && isAlone(options, seat)) return undefined;
  const newLength = seat.bootstrap?.entries.length ?? 0;
  const marker = await joiningMarker(disk, dataDir, storage, newLength);
  if (marker?.isDamaged !== true || seat.members.length > 1) return marker;
  throw new QuorateError(
    'ERR_CORRUPT',
    `the log in ${dataDir} was damaged, and this node knows of no other member that has what is lost. ` +
      'The damaged files are kept beside it, as *.damaged. Where there are others, start them, name them ' +
      'in peers, and say join; else restore the folder from a backup',
  );
}

function openStorage(options: Place, disk: Disk, seat: Seat): Promise<Storage> {
  const { identity, bootstrap } = seat;
  const { dataDir, fsync = true, surroundings, log } = options;
  const segmentBytes = surroundings?.segmentBytes;
  return openDiskStorage({
    disk,
    folder: dataDir,
    identity,
    fsync,
    ...(bootstrap === undefined ? {} : { bootstrap }),
    ...(segmentBytes === undefined ? {} : { settings: { segmentBytes } }),
    onDamage: isAlone(options, seat) ? 'refuse' : 'keep-sound-part',
    onWarning: (text) => log?.('warn', text),
  });
}

function openTransport(
  options: Place,
  { nodeId, clusterId, consensus }: Identity,
  electionMs: number,
  leases: LeaseTerms | undefined,
  describe: () => Uint8Array,
): Transport {
  const { clock = systemClock, random = systemRandom, sockets, defer } = options.surroundings ?? {};
  const own = options.peers[options.name]!;
  const advertisedUrls = typeof own === 'string' ? [own] : own;
  return tcpTransport({
    id: nodeId,
    clusterId,
    consensus,
    leases: describeLeases(leases),
    listenUrls: options.listenPeerUrls ?? advertisedUrls,
    advertisedUrls,
    describeCluster: describe,
    tls: options.peerTls,
    clock,
    random,
    log: (level, text) => options.log?.(level, text),
    settings: { deadAfterMs: 2 * electionMs },
    ...(sockets === undefined ? {} : { sockets }),
    ...(defer === undefined ? {} : { defer }),
  });
}

/** The seat with the consensus that was asked for: a log of another is refused when it is opened. */
function withConsensus(seat: Seat, { consensus }: ReplicaPlace): Seat {
  const { clusterId, nodeId } = seat.identity;
  return { ...seat, identity: { clusterId, nodeId, consensus } };
}

function newCore(
  { nodeId: id, consensus }: Identity,
  storage: Storage,
  settings: ReplicaSettings,
  random: Random,
  limits: CoreLimits | undefined,
  lease: LeaseOptions | undefined,
): Core {
  const { hardState, snapshot, entries } = storage.recovered;
  const options = {
    id,
    settings: {
      ...limits,
      electionTicks: Math.round(settings.electionMs / settings.heartbeatMs),
      heartbeatTicks: 1,
    },
    random,
    hardState,
    configuration: snapshot?.configuration ?? { voters: [], learners: [] },
    snapshot: { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 },
    entries,
    applied: snapshot?.index ?? 0,
    lease,
  };
  return consensus === 'paxos' ? new PaxosCore(options) : new RaftCore(options);
}

function leaseOptions(terms: LeaseTerms, clock: Clock, storage: Storage): LeaseOptions {
  return { ...terms, now: () => clock.now(), mayRenew: () => storage.space === 'ample' };
}

function requireMachine(machine: Partial<StateMachine<unknown>> | undefined | null): void {
  const methods = ['apply', 'snapshot', 'restore'] as const;
  if (methods.every((method) => typeof machine?.[method] === 'function')) return;
  throw missing('machine: an object with apply, snapshot and restore', machine);
}

function pickSettings(options: Partial<ReplicaSettings>): Partial<ReplicaSettings> {
  const picked: Record<string, number> = {};
  for (const name of SETTING_NAMES) {
    const value = options[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}

const SETTING_NAMES = [
  'heartbeatMs',
  'electionMs',
  'requestTimeoutMs',
  'snapshotEntries',
  'snapshotBytes',
  'snapshotAgeMs',
  'keepEntries',
  'keepBytes',
  'maxProposalBytes',
  'maxWaitingProposals',
  'maxWaitingBytes',
] as const satisfies readonly (keyof ReplicaSettings)[];
