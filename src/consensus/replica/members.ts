/**
 * Who belongs to the cluster: ids, names and peer URLs, as the log says. Changes arrive as
 * configuration change entries in etcd's form (raftpb.ConfChange with a JSON member as context).
 */
import { createHash } from 'node:crypto';
import { QuorateError } from '../../core/errors.ts';
import { type Configuration, type Entry, EntryType, type NodeId } from '../types.ts';
import { decodeChange, encodeChange, type MemberInfo, type MemberStep } from './member-change.ts';

export type { MemberInfo } from './member-change.ts';

/**
 * A member's id as etcd makes it: the start of SHA-1 over its sorted peer URLs, the cluster token and, for
 * a member added later, the time: so that one that comes again at the same place is another one.
 */
export function memberId(peerUrls: readonly string[], clusterToken: string, salt = ''): NodeId {
  const hash = createHash('sha1').update([...peerUrls].sort().join('') + clusterToken + salt);
  return hash.digest('hex').slice(0, 16);
}

/** The cluster's id as etcd makes it: the start of SHA-1 over the sorted member ids. */
export function clusterIdOf(ids: readonly NodeId[]): NodeId {
  const hash = createHash('sha1');
  for (const id of [...ids].sort()) hash.update(Buffer.from(id, 'hex'));
  return hash.digest('hex').slice(0, 16);
}

/** The first entries of a new cluster's log: one added node each, the same on every member. */
export function bootstrapEntries(members: readonly MemberInfo[]): Entry[] {
  return [...members]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((member, i) => {
      const { data } = encodeChange([{ kind: 'add', member }]);
      return { type: EntryType.configChange, term: 1, index: i + 1, data };
    });
}

/** The members at one moment, with what a joint configuration is about to leave. */
interface Roster {
  readonly members: Map<NodeId, MemberInfo>;
  /** Ids that were members and are none any more, for ever. */
  readonly removed: Set<NodeId>;
  joint: JointRoster | undefined;
  /** Who voted before the voters changed last; `undefined` where that is not known. */
  former: readonly NodeId[] | undefined;
}

interface JointRoster {
  /** The voters of before, as they were, by id. */
  readonly outgoing: Map<NodeId, MemberInfo>;
  readonly autoLeave: boolean;
}

/** The members, as far as the log has been applied. */
export class Members {
  #roster: Roster = { members: new Map(), removed: new Set(), joint: undefined, former: [] };

  get(id: NodeId): MemberInfo | undefined {
    return presentOf(this.#roster, id);
  }

  /**
   * The members, sorted by id. As long as a joint configuration lasts, those that it is about to leave are
   * members and voters still: whoever took one for gone and switched it off could stop the cluster.
   */
  list(): MemberInfo[] {
    const ids = new Set(this.#roster.members.keys());
    for (const id of this.#roster.joint?.outgoing.keys() ?? []) ids.add(id);
    return [...ids].sort().map((id) => presentOf(this.#roster, id)!);
  }

  /** The members as they would be after `entries`, changes that are not applied yet. */
  with(entries: readonly Entry[]): Members {
    const later = new Members();
    later.#roster = this.#roster;
    for (const entry of entries) later.apply(entry);
    return later;
  }

  /**
   * Whether `added` became a voter, for the first time, when `alone` was the only one, and the voters are the
   * same since. Then every majority in which `added` ever counted had `alone` in it.
   */
  wasAddedTo(alone: NodeId, added: NodeId): boolean {
    const { joint, former } = this.#roster;
    const voters = [...votersOf(this.#roster).keys()].sort();
    return (
      joint === undefined &&
      former?.join() === alone &&
      this.get(added)?.wasVoter !== true &&
      voters.join() === [alone, added].sort().join()
    );
  }

  /** Whether this member has never counted in any majority. */
  neverVoted(id: NodeId): boolean {
    const member = this.get(id);
    return member?.learner === true && member.wasVoter !== true;
  }

  /** Between two sets of voters. */
  get isJoint(): boolean {
    return this.#roster.joint !== undefined;
  }

  /** Ids of former members, which will never be members again. */
  removed(): NodeId[] {
    return [...this.#roster.removed];
  }

  /** Peer URLs by id of all who take part, also of voters that a joint configuration is about to leave. */
  peers(): Map<NodeId, readonly string[]> {
    const { members, joint } = this.#roster;
    const peers = new Map<NodeId, readonly string[]>();
    for (const member of joint?.outgoing.values() ?? []) peers.set(member.id, member.peerUrls);
    for (const member of members.values()) peers.set(member.id, member.peerUrls);
    return peers;
  }

  configuration(): Configuration {
    return configurationOf(this.#roster);
  }

  /** Why `steps` make no sense at present: deterministic, the same on every node that applied as much. */
  refusal(steps: readonly MemberStep[]): QuorateError | undefined {
    return applySteps(copyOf(this.#roster), steps);
  }

  /** The members as they would be after `steps`, which must not be refused. */
  after(steps: readonly MemberStep[]): MemberInfo[] {
    const roster = copyOf(this.#roster);
    applySteps(roster, steps);
    return [...roster.members.values()];
  }

  /**
   * Applies a configuration change entry. One that conflicts with what was applied before it changes
   * nothing, on no node, and the reason is returned. Throws `ERR_UNSUPPORTED`, or `ERR_CORRUPT`.
   */
  apply(entry: Entry): QuorateError | undefined {
    const { steps, transition, autoLeave } = decodeChange(entry);
    const before = this.#roster;
    if (transition === 'leave') {
      this.#leaveJoint();
      return undefined;
    }
    if (before.joint !== undefined) {
      return new QuorateError('ERR_BUSY', 'another change of the members is under way', {
        retryable: true,
      });
    }
    const after = copyOf(before);
    const refusal = applySteps(after, steps);
    if (refusal !== undefined) return refusal;
    if (transition === 'enter') after.joint = { outgoing: votersOf(before), autoLeave };
    const voters = (roster: Roster): NodeId[] => [...votersOf(roster).keys()].sort();
    if (voters(before).join() !== voters(after).join()) after.former = voters(before);
    this.#roster = after;
    return undefined;
  }

  #leaveJoint(): void {
    this.#roster = { ...this.#roster, joint: undefined };
  }

  /** For the snapshot. */
  encode(): Buffer {
    const { removed, joint, former } = this.#roster;
    const outgoing = joint === undefined ? undefined : [...joint.outgoing.values()];
    return Buffer.from(
      JSON.stringify({
        members: sorted(this.#roster.members.values()),
        removed: removed.size === 0 ? undefined : [...removed],
        joint: joint === undefined ? undefined : { outgoing, autoLeave: joint.autoLeave },
        former,
      }),
    );
  }

  decode(chunk: Uint8Array): void {
    const { members, removed, joint, former } = JSON.parse(Buffer.from(chunk).toString('utf8')) as {
      members: MemberInfo[];
      removed?: NodeId[];
      joint?: { outgoing: MemberInfo[]; autoLeave: boolean };
      former?: NodeId[];
    };
    this.#roster = {
      members: byId(members),
      removed: new Set(removed ?? []),
      joint: joint && { outgoing: byId(joint.outgoing), autoLeave: joint.autoLeave },
      former,
    };
  }
}

/** A voter that is about to be left is one still, at the address that it has now. */
function presentOf({ members, joint }: Roster, id: NodeId): MemberInfo | undefined {
  const member = members.get(id);
  const outgoing = joint?.outgoing.get(id);
  if (outgoing === undefined || member?.learner === false) return member;
  return member === undefined ? outgoing : { ...member, learner: false };
}

function sorted(members: Iterable<MemberInfo>): MemberInfo[] {
  return [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function byId(members: readonly MemberInfo[]): Map<NodeId, MemberInfo> {
  return new Map(members.map((member) => [member.id, member]));
}

function copyOf({ members, removed, joint, former }: Roster): Roster {
  return { members: new Map(members), removed: new Set(removed), joint, former };
}

function votersOf({ members }: Roster): Map<NodeId, MemberInfo> {
  return byId([...members.values()].filter((member) => !member.learner));
}

function configurationOf({ members, joint }: Roster): Configuration {
  const ids = (wanted: (member: MemberInfo) => boolean): NodeId[] =>
    [...members.values()]
      .filter(wanted)
      .map(({ id }) => id)
      .sort();
  const voters = ids(({ learner }) => !learner);
  if (joint === undefined) return { voters, learners: ids(({ learner }) => learner) };
  // A voter of the old configuration becomes a learner when that has ended: nobody is both.
  const { outgoing, autoLeave } = joint;
  return {
    voters,
    learners: ids(({ id, learner }) => learner && !outgoing.has(id)),
    joint: {
      outgoing: [...outgoing.keys()].sort(),
      learnersNext: ids(({ id, learner }) => learner && outgoing.has(id)),
      autoLeave,
    },
  };
}

/** Changes `roster` step by step. Returns why it cannot be, with the roster half changed. */
function applySteps(roster: Roster, steps: readonly MemberStep[]): QuorateError | undefined {
  for (const step of steps) {
    const refusal = applyStep(roster, step);
    if (refusal !== undefined) return refusal;
  }
  const isEmpty = steps.length > 0 && votersOf(roster).size === 0;
  return isEmpty
    ? new QuorateError('ERR_NOT_ENOUGH_STARTED', 'no voter would be left: add one first')
    : undefined;
}

function applyStep(roster: Roster, step: MemberStep): QuorateError | undefined {
  const { members, removed } = roster;
  const id = step.kind === 'add' ? step.member.id : step.id;
  if (removed.has(id)) {
    return new QuorateError('ERR_MEMBER_NOT_FOUND', `member ${id} has been removed for good`);
  }
  const member = members.get(id);
  if (step.kind === 'add') {
    if (member !== undefined) {
      return new QuorateError('ERR_MEMBER_EXISTS', `member ${id} is there already`);
    }
    const refusal = urlsInUse(roster, id, step.member.peerUrls);
    if (refusal === undefined) members.set(id, step.member);
    return refusal;
  }
  if (member === undefined) {
    return new QuorateError('ERR_MEMBER_NOT_FOUND', `no member has the id ${id}`);
  }
  switch (step.kind) {
    case 'remove':
      members.delete(id);
      removed.add(id);
      return undefined;
    case 'promote':
      if (!member.learner) {
        return new QuorateError('ERR_NOT_LEARNER', `member ${id} is no learner: it votes already`);
      }
      members.set(id, { ...member, learner: false });
      return undefined;
    case 'demote':
      members.set(id, { ...member, learner: true, wasVoter: true });
      return undefined;
    case 'update': {
      const refusal = urlsInUse(roster, id, step.peerUrls);
      if (refusal !== undefined) return refusal;
      members.set(id, { ...member, peerUrls: step.peerUrls, moved: true });
      return undefined;
    }
  }
}

function urlsInUse(
  { members }: Roster,
  id: NodeId,
  urls: readonly string[],
): QuorateError | undefined {
  for (const member of members.values()) {
    const url = member.id === id ? undefined : member.peerUrls.find((each) => urls.includes(each));
    if (url === undefined) continue;
    return new QuorateError('ERR_PEER_URL_EXISTS', `member ${member.id} uses ${url} already`);
  }
  return undefined;
}
