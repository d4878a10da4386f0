/**
 * The codec of configuration changes in the log, which etcd's tools read.
 *
 * Source: etcd's raft 3.6 `raft.proto` (Apache-2.0).
 */
import { field, type MessageType, messageType } from './message.ts';

/** Kinds of change. `addNode` also promotes a learner. */
export const ConfChangeType = { addNode: 0, removeNode: 1, updateNode: 2, addLearner: 3 } as const;

/** `auto`: joint where several change. `explicit`: joint, and not left by itself. */
export const ConfChangeTransition = { auto: 0, implicit: 1, explicit: 2 } as const;

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

/** One change of several; a node id of 0 means none. */
const ConfChangeSingle: MessageType<{ type: number; nodeId: bigint }> = messageType(
  'raftpb.ConfChangeSingle',
  [field(1, 'type', 'int32'), field(2, 'nodeId', 'id')],
  () => ({ type: 0, nodeId: 0n }),
);

/** Several changes at once; without any it ends a joint configuration. `context` is ours, as JSON text. */
export const ConfChangeV2: MessageType<{
  transition: number;
  changes: { type: number; nodeId: bigint }[];
  context: string;
}> = messageType(
  'raftpb.ConfChangeV2',
  [
    field(1, 'transition', 'int32'),
    field(2, 'changes', 'message', { repeated: true, message: () => ConfChangeSingle }),
    field(3, 'context', 'string'),
  ],
  () => ({ transition: 0, changes: [], context: '' }),
);
