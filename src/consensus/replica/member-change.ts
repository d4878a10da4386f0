/** Changes of who belongs to the cluster: as they are asked for, and as etcd writes them into the log. */
import { QuorateError } from '../../core/errors.ts';
import {
  ConfChange,
  ConfChangeTransition,
  ConfChangeType,
  ConfChangeV2,
} from '../../proto/raftpb.ts';
import { type Entry, EntryType, type NodeId } from '../types.ts';

/** A member to be added. */
export interface NewMember {
  readonly peerUrls: readonly string[];
  /** Gets the log and does not vote until it is promoted. @defaultValue `false` */
  readonly learner?: boolean | undefined;
  /** @defaultValue `''`: a node tells its name when it starts */
  readonly name?: string | undefined;
  /** @defaultValue made of the peer URLs and the time, as etcd does */
  readonly id?: NodeId | undefined;
}

/** One change of the members. `update` replaces the peer URLs; `demote` makes a learner of a voter. */
export type MemberChange =
  | { readonly kind: 'add'; readonly member: NewMember }
  | { readonly kind: 'promote'; readonly id: NodeId }
  | { readonly kind: 'demote'; readonly id: NodeId }
  | { readonly kind: 'remove'; readonly id: NodeId }
  | { readonly kind: 'update'; readonly id: NodeId; readonly peerUrls: readonly string[] };

/** A member of the cluster, as the log says. */
export interface MemberInfo {
  readonly id: NodeId;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly learner: boolean;
  /** A learner that was a voter once. @defaultValue `false` */
  readonly wasVoter?: boolean;
  /** Its peer URLs were replaced since it was added. @defaultValue `false` */
  readonly moved?: boolean;
}

/** A change whose new member is complete. */
export type MemberStep =
  | Exclude<MemberChange, { readonly kind: 'add' }>
  | { readonly kind: 'add'; readonly member: MemberInfo };

/** What one entry of the log does to the members. */
export interface LoggedChange {
  readonly steps: readonly MemberStep[];
  /** `enter` and `leave` a joint configuration; `simple`: in one step. */
  readonly transition: 'simple' | 'enter' | 'leave';
  /** `enter`: the leader leaves it by itself. */
  readonly autoLeave: boolean;
}

/** The entry's type and data: one change as etcd writes it, several as one joint change. */
export function encodeChange(steps: readonly MemberStep[]): {
  readonly type: EntryType;
  readonly data: Buffer;
} {
  const [first] = steps;
  if (steps.length === 1 && first !== undefined && first.kind !== 'demote') {
    const { type, nodeId } = singleOf(first);
    const data = ConfChange.encode(ConfChange.create({ type, nodeId, context: contextOf(first) }));
    return { type: EntryType.configChange, data };
  }
  const context = `[${steps.map((step) => contextOf(step) || 'null').join(',')}]`;
  const change = { transition: ConfChangeTransition.auto, changes: steps.map(singleOf), context };
  return { type: EntryType.configChangeV2, data: ConfChangeV2.encode(change) };
}

/** @throws `ERR_CORRUPT` where the entry cannot be read, `ERR_UNSUPPORTED` for kinds not known here. */
export function decodeChange(entry: Entry): LoggedChange {
  try {
    return entry.type === EntryType.configChange
      ? decodeSingle(entry.data)
      : decodeSeveral(entry.data);
  } catch (cause) {
    if (cause instanceof UnknownKind) {
      throw new QuorateError('ERR_UNSUPPORTED', `${cause.message} in entry ${entry.index}`);
    }
    throw new QuorateError(
      'ERR_CORRUPT',
      `entry ${entry.index} of the log is no configuration change that can be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}

class UnknownKind extends Error {}

function decodeSingle(data: Uint8Array): LoggedChange {
  const { type, nodeId, context } = ConfChange.decode(data);
  const step = stepOf(type, nodeId, contextFrom(context));
  return { steps: step === undefined ? [] : [step], transition: 'simple', autoLeave: false };
}

function decodeSeveral(data: Uint8Array): LoggedChange {
  const { transition, changes, context } = ConfChangeV2.decode(data);
  if (changes.length === 0 && transition === ConfChangeTransition.auto) {
    return { steps: [], transition: 'leave', autoLeave: false };
  }
  const contexts = contextFrom(context);
  const steps: MemberStep[] = [];
  changes.forEach(({ type, nodeId }, at) => {
    const own = Array.isArray(contexts) ? contexts[at] : contexts;
    const step = stepOf(type, nodeId, own ?? {});
    if (step !== undefined) steps.push(step);
  });
  const isJoint = transition !== ConfChangeTransition.auto || changes.length > 1;
  return {
    steps,
    transition: isJoint ? 'enter' : 'simple',
    autoLeave: isJoint && transition !== ConfChangeTransition.explicit,
  };
}

/** The parts of etcd's description of a member that are read. */
interface MemberContext {
  readonly name?: string;
  readonly peerURLs?: readonly string[] | null;
  readonly isPromote?: boolean;
  readonly isDemote?: boolean;
}

function contextFrom(context: string): MemberContext | readonly (MemberContext | null)[] {
  return context === '' ? {} : JSON.parse(context);
}

function stepOf(type: number, node: bigint, context: unknown): MemberStep | undefined {
  // Where etcd decides not to apply a change, it puts 0 here.
  if (node === 0n) return undefined;
  const id = node.toString(16).padStart(16, '0');
  const { name = '', peerURLs, isPromote, isDemote } = context as MemberContext;
  const peerUrls = peerURLs ?? [];
  switch (type) {
    case ConfChangeType.addNode:
      if (isPromote === true) return { kind: 'promote', id };
      return { kind: 'add', member: reachable({ id, name, peerUrls, learner: false }) };
    case ConfChangeType.addLearner:
      if (isDemote === true) return { kind: 'demote', id };
      return { kind: 'add', member: reachable({ id, name, peerUrls, learner: true }) };
    case ConfChangeType.removeNode:
      return { kind: 'remove', id };
    case ConfChangeType.updateNode:
      return { kind: 'update', id, peerUrls };
    default:
      throw new UnknownKind(`configuration change of type ${type}`);
  }
}

function reachable(member: MemberInfo): MemberInfo {
  if (member.peerUrls.length === 0) throw new Error(`member ${member.id} has no peer URL`);
  return member;
}

function singleOf(step: MemberStep): { type: number; nodeId: bigint } {
  const nodeId = BigInt(`0x${step.kind === 'add' ? step.member.id : step.id}`);
  return { type: typeOf(step), nodeId };
}

function typeOf(step: MemberStep): number {
  switch (step.kind) {
    case 'add':
      return step.member.learner ? ConfChangeType.addLearner : ConfChangeType.addNode;
    case 'promote':
      return ConfChangeType.addNode;
    case 'demote':
      return ConfChangeType.addLearner;
    case 'remove':
      return ConfChangeType.removeNode;
    case 'update':
      return ConfChangeType.updateNode;
  }
}

/** As etcd writes it; an id is a number beyond what `JSON.stringify` can write. */
function contextOf(step: MemberStep): string {
  if (step.kind === 'remove') return '';
  const { id, name, peerUrls, learner } =
    step.kind === 'add'
      ? step.member
      : {
          ...step,
          name: '',
          peerUrls: step.kind === 'update' ? step.peerUrls : null,
          learner: false,
        };
  let text = `{"id":${BigInt(`0x${id}`)},"peerURLs":${JSON.stringify(peerUrls)}`;
  if (learner) text += ',"isLearner":true';
  if (name !== '') text += `,"name":${JSON.stringify(name)}`;
  if (step.kind === 'promote') text += ',"isPromote":true';
  if (step.kind === 'demote') text += ',"isDemote":true';
  return `${text}}`;
}
