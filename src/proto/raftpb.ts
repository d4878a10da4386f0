/**
 * The codec of configuration changes in the log, which etcd's tools read.
 *
 * Source: etcd's raft 3.6 `raft.proto` (Apache-2.0).
 */
import { field, type MessageType, messageType } from './message.ts';

/** Adds or removes a node; `context` is etcd's description of the member, as JSON text. */
export const ConfChange: MessageType<{
  id: bigint;
  type: number;
  nodeId: bigint;
  context: string;
}> = messageType(
  'raftpb.ConfChange',
  [
    field(1, 'id', 'id'),
    field(2, 'type', 'int32'),
    field(3, 'nodeId', 'id'),
    field(4, 'context', 'string'),
  ],
  () => ({ id: 0n, type: 0, nodeId: 0n, context: '' }),
);
