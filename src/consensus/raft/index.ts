/** The Raft core. */
export { MessageType, type RaftMessage } from './messages.ts';
export { RaftCore } from './raft.ts';
export {
  defaultRaftSettings,
  type RaftOptions,
  type RaftSettings,
  validateSettings,
} from './settings.ts';
