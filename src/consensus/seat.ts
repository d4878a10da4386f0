/**
 * The seat that a node takes: its ids, how its log begins, and whom it can reach before the log says.
 *
 * A founder has it from `peers` alone, as all founders have. A node that joins asks a member: its id was
 * made when it was added. Later it is in the node's own log, which then also knows the members; `peers`
 * tells no more then than where to ask and listen (etcd: `bootstrap.go`).
 */
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { QuorateError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { ReplicaPlace } from './place.ts';
import { bootstrapEntries, clusterIdOf, type MemberInfo, Members } from './replica/members.ts';
import type { Identity, Storage } from './storage.ts';
import { type AskOptions, askMembers } from './transport/ask-members.ts';
import { type Entry, EntryType, type HardState, type NodeId } from './types.ts';
import { readIdentity } from './wal/identity.ts';

/** The ids a node goes by, and the members as far as is known before it runs. */
export interface Seat {
  readonly identity: Identity;
  /** How a new log begins; `undefined`: empty, everything comes from the leader. */
  readonly bootstrap:
    | { readonly entries: readonly Entry[]; readonly hardState: HardState }
    | undefined;
  /** Empty where only the log can tell. */
  readonly members: readonly MemberInfo[];
}

/** What a node asks its peers with. */
export interface SeatSurroundings {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly sockets: AskOptions['sockets'] | undefined;
  readonly defer: AskOptions['defer'] | undefined;
}

/** What a member tells one that asks who the members are. */
interface ClusterDescription {
  readonly clusterId: NodeId;
  readonly members: readonly MemberInfo[];
}

/**
 * The seat of a node that is about to open its folder. `founders` are the members that `place.peers`
 * names, `own` among them.
 *
 * @throws with `join`, `ERR_UNAVAILABLE` where no member answers, `ERR_MEMBER_NOT_FOUND` where none
 *   knows this node
 */
export async function takeSeat(
  place: ReplicaPlace,
  founders: readonly MemberInfo[],
  own: MemberInfo,
  surroundings: SeatSurroundings,
): Promise<Seat> {
  const found = await readIdentity(surroundings.disk, place.dataDir);
  if (found === undefined && place.join === true) return joinSeat(place, own, surroundings);
  const clusterId = clusterIdOf(founders.map((member) => member.id));
  if (found !== undefined && (found.clusterId !== clusterId || found.nodeId !== own.id)) {
    return { identity: found, bootstrap: undefined, members: [] };
  }
  const entries = bootstrapEntries(founders);
  const hardState = { term: 1, vote: '', commit: entries.length };
  const identity = { clusterId, nodeId: own.id };
  return { identity, bootstrap: { entries, hardState }, members: founders };
}

/**
 * Completes a seat whose ids came from the log, once that is open.
 *
 * @throws `ERR_DATA_DIR_MISMATCH` where the log is that of another node or cluster than `place` says
 */
export async function seatOfLog(
  seat: Seat,
  place: ReplicaPlace,
  own: MemberInfo,
  storage: Storage,
  surroundings: SeatSurroundings,
): Promise<Seat> {
  if (seat.members.length > 0) return seat;
  const { nodeId, clusterId } = seat.identity;
  const roster = await membersOf(storage);
  const members = roster.list();
  // It stopped before anything came from the leader, or its log is no longer whole.
  const isBare = members.every(({ id }) => id === nodeId);
  if (members.length === 0 || (isBare && place.join === true)) {
    const joined = await joinSeat(place, own, surroundings).catch((error) => {
      if (members.length === 0) throw error;
    });
    if (joined === undefined) return { ...seat, members };
    const isSame = joined.identity.clusterId === clusterId && joined.identity.nodeId === nodeId;
    if (isSame) return joined;
    throw mismatch(place, seat.identity, 'the cluster knows this node under other ids');
  }
  // Nobody came, went or moved since the beginning, as far as is known here: then all ids follow from
  // `peers`, and these do not. Whoever says `join` knows of changes that the log here does not have.
  const isUnchanged =
    roster.removed().length === 0 &&
    members.every(({ moved }) => moved !== true) &&
    clusterIdOf(members.map(({ id }) => id)) === clusterId;
  if (isUnchanged && place.join !== true) {
    const why = 'peers and clusterToken make other ids; where its address has changed, say join';
    throw mismatch(place, seat.identity, why);
  }
  const taken = members.find(({ id, peerUrls }) => {
    return id !== nodeId && peerUrls.some((url) => own.peerUrls.includes(url));
  });
  if (taken === undefined) return { ...seat, members };
  throw mismatch(place, seat.identity, `${own.peerUrls.join()} is that of node ${taken.id}`);
}

function mismatch({ dataDir, name }: ReplicaPlace, found: Identity, why: string): QuorateError {
  return new QuorateError(
    'ERR_DATA_DIR_MISMATCH',
    `${dataDir} belongs to node ${found.nodeId} of cluster ${found.clusterId}, not to '${name}' of these ` +
      `peers (${why}); check the name, the initial cluster and the data directory that this node was started with`,
  );
}

/** The members by snapshot and log, as if all of it had been committed. */
async function membersOf(storage: Storage): Promise<Members> {
  const members = new Members();
  for await (const first of storage.readSnapshot()?.chunks ?? []) {
    // The rest is the state machine's.
    members.decode(first);
    break;
  }
  for (const entry of storage.recovered.entries) {
    const { type } = entry;
    const isChange = type === EntryType.configChange || type === EntryType.configChangeV2;
    if (isChange) members.apply(entry);
  }
  return members;
}

/** Asks the members in `peers`, one after the other, for the seat that this node was given. */
async function joinSeat(
  place: ReplicaPlace,
  own: MemberInfo,
  { clock, random, sockets, defer }: SeatSurroundings,
): Promise<Seat> {
  const urls = Object.entries(place.peers)
    .filter(([name]) => name !== place.name)
    .flatMap(([, given]) => given);
  if (urls.length === 0) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      'join: peers (--initial-cluster) names nobody else; name at least one member of the cluster besides this node',
    );
  }
  const options = {
    ...{ clock, random, tls: place.peerTls },
    ...(sockets === undefined ? {} : { sockets }),
    ...(defer === undefined ? {} : { defer }),
  };
  const faults: string[] = [];
  let heard: ClusterDescription | undefined;
  for (const url of urls) {
    try {
      const answer = parseDescription(url, await askMembers(url, options));
      heard = answer.members.length > 0 ? answer : heard;
      const seat = seatAmong(answer, own);
      if (seat !== undefined) return seat;
      faults.push(`${url} does not know the members yet`);
    } catch (error) {
      faults.push((error as Error).message);
    }
  }
  throw heard === undefined ? nobodyAnswers(faults) : notAdded(heard, own);
}

/** What a member answers to one that asks. */
export function describeCluster(clusterId: NodeId, members: readonly MemberInfo[]): Uint8Array {
  const description: ClusterDescription = { clusterId, members };
  return Buffer.from(JSON.stringify(description));
}

const ID = /^[0-9a-f]{16}$/;

/** Throws `ERR_PROTOCOL`. */
function parseDescription(url: string, answer: Uint8Array): ClusterDescription {
  try {
    const parsed = JSON.parse(Buffer.from(answer).toString('utf8')) as ClusterDescription;
    const isWhole = parsed.members.every(({ id, name, peerUrls, learner }) => {
      const isMember = ID.test(id) && typeof name === 'string' && typeof learner === 'boolean';
      return isMember && peerUrls.every((one) => typeof one === 'string');
    });
    if (ID.test(parsed.clusterId) && isWhole) return parsed;
  } catch {
    // Neither is what anything else was to say.
  }
  throw new QuorateError('ERR_PROTOCOL', `${url} answered with no list of members`);
}

/** The seat of the member that is reached at the URLs of `own`. */
function seatAmong({ clusterId, members }: ClusterDescription, own: MemberInfo): Seat | undefined {
  const key = keyOf(own);
  const seat = members.find((member) => keyOf(member) === key);
  if (seat === undefined) return undefined;
  return { identity: { clusterId, nodeId: seat.id }, bootstrap: undefined, members };
}

function keyOf({ peerUrls }: MemberInfo): string {
  return [...peerUrls].sort().join(' ');
}

function nobodyAnswers(faults: readonly string[]): QuorateError {
  return new QuorateError(
    'ERR_UNAVAILABLE',
    `join: no member of the cluster could be asked for the members (${faults.join('; ')}); ` +
      'check the URLs of the others in peers (--initial-cluster), and that they run',
    { retryable: true },
  );
}

function notAdded({ clusterId, members }: ClusterDescription, own: MemberInfo): QuorateError {
  const urls = own.peerUrls.join();
  const known = members.map(({ peerUrls }) => peerUrls.join()).join(' ');
  return new QuorateError(
    'ERR_MEMBER_NOT_FOUND',
    `join: cluster ${clusterId} has no member at ${urls} (its members: ${known}); ` +
      `add this one first: quorate member add ${own.name} --learner --peer-urls ${urls}`,
  );
}
