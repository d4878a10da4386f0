/**
 * The codecs of the etcd v3 API: one constant for each message of `messages.ts`, of the same name.
 *
 * No field number has ever changed there; `etcd 3.6` is the level spoken.
 */
export * from './etcd-cluster.ts';
export * from './etcd-kv.ts';
export * from './etcd-lease.ts';
export * from './etcd-maintenance.ts';
export * from './etcd-raft.ts';
export type { Field, FieldKind, MessageType } from './message.ts';
