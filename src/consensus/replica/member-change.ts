/** Changes of who belongs to the cluster, as they are asked for. */
import type { NodeId } from '../types.ts';

/** A member to be added. */
export interface NewMember {
  readonly peerUrls: readonly string[];
  /** Gets the log and does not vote until it is promoted. @defaultValue `false` */
  readonly learner?: boolean | undefined;
  /** @defaultValue `''`: a node tells its name when it starts */
  readonly name?: string | undefined;
  /** @defaultValue made of the peer URLs, the cluster's token and the time, as etcd does */
  readonly id?: NodeId | undefined;
}

/** One change of the members. `update` replaces the peer URLs. */
export type MemberChange =
  | { readonly kind: 'add'; readonly member: NewMember }
  | { readonly kind: 'promote'; readonly id: NodeId }
  | { readonly kind: 'remove'; readonly id: NodeId }
  | { readonly kind: 'update'; readonly id: NodeId; readonly peerUrls: readonly string[] };
