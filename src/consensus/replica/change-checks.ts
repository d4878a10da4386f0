/**
 * What a leader checks before it proposes a change of the members, as etcd does: not whether the change
 * makes sense, which every node decides alike when it is applied, but whether the cluster would survive it.
 */
import { QuorateError } from '../../core/errors.ts';
import type { CoreStatus } from '../core.ts';
import type { NodeId } from '../types.ts';
import type { MemberInfo, MemberStep } from './member-change.ts';
import type { Members } from './members.ts';

/** A learner that holds less of the leader's log than this is not promoted. */
const READY_SHARE = 0.9;

/** etcd's default: learners cost the leader as much as voters do. */
const MAX_LEARNERS = 1;

/** What the leader knows of the others. */
export interface ClusterView {
  readonly members: Members;
  readonly status: CoreStatus;
  /** It has run at least once. */
  readonly isStarted: (id: NodeId) => boolean;
  /** It can be reached now. This node always can. */
  readonly isConnected: (id: NodeId) => boolean;
  /** It gives no vote yet, since it lost what it promised, or may have. */
  readonly isOnProbation: (id: NodeId) => boolean;
}

/** Why the leader does not propose `steps`. */
export function refusalOf(
  steps: readonly MemberStep[],
  view: ClusterView,
): QuorateError | undefined {
  const { members } = view;
  const refusal = members.refusal(steps) ?? lateLearner(steps, view);
  if (refusal !== undefined) return refusal;
  const before = members.list();
  const after = members.after(steps);
  const learners = after.filter(({ learner }) => learner).length;
  if (learners > MAX_LEARNERS && steps.some(isNewLearner)) {
    return new QuorateError(
      'ERR_TOO_MANY_LEARNERS',
      `at most ${MAX_LEARNERS} learner at a time: promote or remove the one that is there`,
    );
  }
  return quorumAtRisk(before, after, steps, view) ?? withoutQuorum(before, view);
}

/**
 * Nothing commits now: a voter that was added does not run yet, or has not been confirmed. A change that
 * waits in the log could keep it from that for ever, so none gets there.
 */
function withoutQuorum(before: readonly MemberInfo[], view: ClusterView): QuorateError | undefined {
  const voters = before.filter(({ learner }) => !learner);
  const following = voters.filter(({ id }) => isFollowing(id, view));
  if (following.length >= Math.floor(voters.length / 2) + 1) return undefined;
  return new QuorateError(
    'ERR_UNAVAILABLE',
    `only ${following.length} of ${voters.length} voters follow the leader: start those that were added, or mend the cluster`,
    { retryable: true },
  );
}

/** It is connected, and has acknowledged something of this leader's, who follows itself. */
function isFollowing(id: NodeId, { status, isConnected }: ClusterView): boolean {
  if (id === status.id) return true;
  return isConnected(id) && status.peers.some((peer) => peer.id === id && peer.match > 0);
}

function isNewLearner(step: MemberStep): boolean {
  return step.kind === 'add' && step.member.learner;
}

/** Raft thesis §4.2.1: a voter that has to catch up first holds up every commit that needs it. */
function lateLearner(
  steps: readonly MemberStep[],
  { status, isOnProbation }: ClusterView,
): QuorateError | undefined {
  for (const step of steps) {
    if (step.kind !== 'promote') continue;
    const match = status.peers.find(({ id }) => id === step.id)?.match ?? 0;
    const isLate = match < READY_SHARE * status.lastIndex;
    if (!isLate && !isOnProbation(step.id)) continue;
    const why = isLate
      ? `holds the log up to ${match} of ${status.lastIndex}`
      : 'is on probation and would give no vote';
    return new QuorateError(
      'ERR_LEARNER_NOT_READY',
      `learner ${step.id} ${why}: wait until it has caught up`,
      { retryable: true },
    );
  }
  return undefined;
}

/** Whether a majority of the voters after the change could be missing. */
function quorumAtRisk(
  before: readonly MemberInfo[],
  after: readonly MemberInfo[],
  steps: readonly MemberStep[],
  view: ClusterView,
): QuorateError | undefined {
  const voters = after.filter(({ learner }) => !learner).map(({ id }) => id);
  const quorum = Math.floor(voters.length / 2) + 1;
  const added = new Set<NodeId>();
  const promoted = new Set<NodeId>();
  for (const step of steps) {
    if (step.kind === 'add') added.add(step.member.id);
    if (step.kind === 'promote') promoted.add(step.id);
  }
  const oldVoters = before.filter(({ learner }) => !learner).map(({ id }) => id);
  const isSame = voters.length === oldVoters.length && voters.every((id) => oldVoters.includes(id));
  // From one voter to two there is no other way than to count on the second before it runs.
  if (!(oldVoters.length === 1 && voters.length === 2) && !isSame) {
    const started = voters.filter(
      (id) => promoted.has(id) || (!added.has(id) && view.isStarted(id)),
    );
    if (started.length < quorum) return notEnoughStarted(started.length, voters.length);
  }
  return (
    notEnoughConnected(oldVoters, voters, added, view) ??
    notEnoughVoting(oldVoters, voters, added, view)
  );
}

function notEnoughStarted(started: number, voters: number): QuorateError {
  return new QuorateError(
    'ERR_NOT_ENOUGH_STARTED',
    `only ${started} of ${voters} voters would have started: start those added before, or remove them`,
  );
}

/** A node that is down may go; one that runs only where a majority of the rest runs too. */
function notEnoughConnected(
  oldVoters: readonly NodeId[],
  voters: readonly NodeId[],
  added: ReadonlySet<NodeId>,
  { isConnected }: ClusterView,
): QuorateError | undefined {
  const isAdding = added.size > 0;
  const isDropping = oldVoters.some((id) => !voters.includes(id) && isConnected(id));
  if ((!isAdding && !isDropping) || (isAdding && oldVoters.length === 1)) return undefined;
  // A learner does not count yet and is meant to: it is looked at as the voter that it will be.
  const counted = new Set([...voters, ...added]);
  const connected = [...counted].filter((id) => !added.has(id) && isConnected(id)).length;
  if (connected >= Math.floor(counted.size / 2) + 1) return undefined;
  return new QuorateError(
    'ERR_UNAVAILABLE',
    `only ${connected} of ${counted.size} voters are connected to the leader: mend the cluster first`,
    { retryable: true },
  );
}

/**
 * Whoever is on probation waits for a leader: two that a majority needs would wait for each other for good once
 * this leader is gone. So that no change leads there, a majority has to vote without them. One that has just come
 * may not have said yet that it is on probation: until it says so it acknowledges nothing.
 */
function notEnoughVoting(
  oldVoters: readonly NodeId[],
  voters: readonly NodeId[],
  added: ReadonlySet<NodeId>,
  view: ClusterView,
): QuorateError | undefined {
  const { isConnected, isOnProbation } = view;
  const isGrowing = voters.some((id) => !oldVoters.includes(id));
  const isDropping = oldVoters.some((id) => !voters.includes(id) && isConnected(id));
  // The second of two takes part at once: the first was in every majority.
  if ((!isGrowing && !isDropping) || (oldVoters.length === 1 && voters.length === 2)) {
    return undefined;
  }
  const present = voters.filter((id) => !added.has(id) && isConnected(id));
  const waiting = present.filter((id) => isOnProbation(id));
  const silent = present.filter((id) => !isOnProbation(id) && !isFollowing(id, view));
  const voting = present.length - waiting.length - silent.length;
  if (voting >= Math.floor(voters.length / 2) + 1) return undefined;
  let hint = 'mend the cluster first';
  if (waiting.length > 0)
    hint = `on probation until they have caught up: ${waiting.join(', ')}; try again when they have`;
  else if (silent.length > 0)
    hint = `nothing acknowledged yet by ${silent.join(', ')}; try again when they follow`;
  return new QuorateError(
    'ERR_UNAVAILABLE',
    `only ${voting} of ${voters.length} voters would be connected and vote: ${hint}`,
    { retryable: true },
  );
}
