/**
 * Who belongs to the cluster: ids, names and peer URLs, as the log says. Changes arrive as
 * configuration change entries in etcd's form (raftpb.ConfChange with a JSON member as context).
 */
import { createHash } from 'node:crypto';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import { ConfChange } from '../../proto/raftpb.ts';
import { type Configuration, type Entry, EntryType, type NodeId } from '../types.ts';

export interface MemberInfo {
  readonly id: NodeId;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly learner: boolean;
}

/** A member's id as etcd makes it: the start of SHA-1 over its sorted peer URLs and the cluster token. */
export function memberId(peerUrls: readonly string[], clusterToken: string): NodeId {
  const hash = createHash('sha1').update([...peerUrls].sort().join('') + clusterToken);
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
    .map((member, i) => ({
      type: EntryType.configChange,
      term: 1,
      index: i + 1,
      data: addNode(member),
    }));
}

function addNode({ id, name, peerUrls }: MemberInfo): Buffer {
  // As etcd writes it; its id is a number beyond what JSON.stringify can write.
  const urls = JSON.stringify(peerUrls);
  const context = `{"id":${BigInt(`0x${id}`)},"peerURLs":${urls},"name":${JSON.stringify(name)}}`;
  return ConfChange.encode(ConfChange.create({ nodeId: BigInt(`0x${id}`), context }));
}

/** The member that a configuration change adds. Nothing else occurs so far: only first members. */
function addedMember(entry: Entry): MemberInfo {
  const { type, nodeId, context } = ConfChange.decode(entry.data);
  if (type !== 0) {
    throw new QuorateError('ERR_UNSUPPORTED', `configuration change of type ${type} in the log`);
  }
  const { name = '', peerURLs = [] } = JSON.parse(context) as MemberContext;
  return { id: nodeId.toString(16).padStart(16, '0'), name, peerUrls: peerURLs, learner: false };
}

/** The part of etcd's member that is read. */
interface MemberContext {
  readonly name?: string;
  readonly peerURLs?: readonly string[];
}

/** The members, as far as the log has been applied. */
export class Members {
  readonly #members = new Map<NodeId, MemberInfo>();

  get(id: NodeId): MemberInfo | undefined {
    return this.#members.get(id);
  }

  list(): MemberInfo[] {
    return [...this.#members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  configuration(): Configuration {
    const members = this.list();
    return {
      voters: members.filter((member) => !member.learner).map((member) => member.id),
      learners: members.filter((member) => member.learner).map((member) => member.id),
    };
  }

  /** Applies a configuration change entry. Throws `ERR_UNSUPPORTED`, or `ERR_CORRUPT`. */
  apply(entry: Entry): void {
    try {
      const member = addedMember(entry);
      this.#members.set(member.id, member);
    } catch (cause) {
      if (isQuorateError(cause, 'ERR_UNSUPPORTED')) throw cause;
      throw new QuorateError(
        'ERR_CORRUPT',
        `entry ${entry.index} of the log is no configuration change that can be read: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  /** For the snapshot. */
  encode(): Buffer {
    return Buffer.from(JSON.stringify({ members: this.list() }));
  }

  decode(chunk: Uint8Array): void {
    const { members } = JSON.parse(Buffer.from(chunk).toString('utf8')) as {
      members: MemberInfo[];
    };
    this.#members.clear();
    for (const member of members) this.#members.set(member.id, member);
  }
}
