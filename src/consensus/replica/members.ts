/**
 * Who belongs to the cluster: ids, names and peer URLs, as the log says. Changes arrive as
 * configuration change entries in etcd's form (raftpb.ConfChange with a JSON member as context).
 */
import { createHash } from 'node:crypto';
import { QuorateError } from '../../core/errors.ts';
import { type Configuration, type Entry, EntryType, type NodeId } from '../types.ts';

export interface MemberInfo {
  readonly id: NodeId;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly learner: boolean;
}

/** What a new cluster starts with. */
export interface InitialMember {
  readonly name: string;
  readonly peerUrls: readonly string[];
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
      data: encodeAddNode(member),
    }));
}

/** raftpb.ConfChange {1 id, 2 type, 3 node_id, 4 context}; type 0 (add a voter) is not on the wire. */
function encodeAddNode(member: MemberInfo): Buffer {
  const context = Buffer.from(
    `{"id":${BigInt(`0x${member.id}`)},"peerURLs":${JSON.stringify(member.peerUrls)},"name":${JSON.stringify(member.name)}}`,
  );
  return Buffer.concat([
    Buffer.from([0x18]),
    varint(BigInt(`0x${member.id}`)),
    Buffer.from([0x22]),
    varint(BigInt(context.length)),
    context,
  ]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

/** Reads the fields of a ConfChange: numbers by field, and the context. */
function decodeConfChange(data: Uint8Array): { type: number; node: NodeId; context: string } {
  const fields = new Map<number, bigint>();
  let context = '';
  let at = 0;
  const read = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = data[at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new QuorateError('ERR_CORRUPT', 'a configuration change entry is cut short');
  };
  while (at < data.length) {
    const tag = Number(read());
    if ((tag & 7) === 0) {
      fields.set(tag >> 3, read());
    } else if ((tag & 7) === 2) {
      const length = Number(read());
      context = Buffer.from(data.subarray(at, at + length)).toString('utf8');
      at += length;
    } else {
      throw new QuorateError(
        'ERR_CORRUPT',
        `a configuration change entry has a field of kind ${tag & 7}`,
      );
    }
  }
  return {
    type: Number(fields.get(2) ?? 0n),
    node: (fields.get(3) ?? 0n).toString(16).padStart(16, '0'),
    context,
  };
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

  /** Applies a configuration change entry. Only additions occur so far: the cluster's first members. */
  apply(entry: Entry): void {
    const { type, node, context } = decodeConfChange(entry.data);
    if (type !== 0) {
      throw new QuorateError('ERR_UNSUPPORTED', `configuration change of type ${type} in the log`);
    }
    const member = JSON.parse(context) as { name?: string; peerURLs?: string[] };
    this.#members.set(node, {
      id: node,
      name: member.name ?? '',
      peerUrls: member.peerURLs ?? [],
      learner: false,
    });
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
