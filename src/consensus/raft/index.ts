/** The Raft core. */
export { MessageType, type RaftMessage } from './messages.ts';
export { RaftCore, type RaftOptions } from './raft.ts';
export { defaultRaftSettings, type RaftSettings, validateSettings } from './settings.ts';
