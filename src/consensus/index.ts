/** Consensus for your own state machine. */
import '../core/runtime.ts';

export type { LeaseReads } from './lease-reads.ts';
export { type OpenedReplica, type OpenReplicaOptions, openReplica } from './open-replica.ts';
export {
  type Accepted,
  type AcceptorState,
  answerAsAcceptor,
  backOff,
  Learner,
  newAcceptor,
  type PaxosReply,
  type PaxosRequest,
  Proposer,
  type ProposerOptions,
  type SingleBallot,
} from './paxos/single-decree.ts';
export type { MemberChange, MemberInfo, NewMember } from './replica/member-change.ts';
export type { ProposeOptions, ReplicaEvents, ReplicaStatus } from './replica/options.ts';
export type { Replica } from './replica/replica.ts';
export type { ReplicaSettings } from './replica/settings.ts';
export type { StateMachine } from './state-machine.ts';
