/** What must hold of configurations: who is a majority, and which may follow which (Raft §6). */
import type { LoggedChange } from '../../../consensus/replica/member-change.ts';
import type { Configuration, NodeId } from '../../../consensus/types.ts';

/** Whether those for whom `has` is true are a majority of the configuration, of both halves of a joint one. */
export function isQuorum(configuration: Configuration, has: (voter: NodeId) => boolean): boolean {
  const { voters, joint } = configuration;
  return isMajority(voters, has) && (joint === undefined || isMajority(joint.outgoing, has));
}

function isMajority(voters: readonly NodeId[], has: (voter: NodeId) => boolean): boolean {
  let count = 0;
  for (const voter of voters) if (has(voter)) count += 1;
  return 2 * count > voters.length;
}

/** Why `next` may not follow `before`: some majority of one could decide without any of the other. */
export function whyNotNext(before: Configuration, next: Configuration): string | undefined {
  if (before.joint !== undefined) {
    if (next.joint === undefined) {
      if (areSame(next.voters, before.voters)) return undefined;
      return `left a joint configuration for ${text(next)}, which is not its new half ${text(before)}`;
    }
    const isKept = areSame(next.voters, before.voters);
    if (isKept && areSame(next.joint.outgoing, before.joint.outgoing)) return undefined;
    return `changed the joint configuration ${text(before)} to ${text(next)}`;
  }
  if (next.joint !== undefined) {
    if (areSame(next.joint.outgoing, before.voters)) return undefined;
    return `the joint configuration ${text(next)} does not hold the voters before it, ${text(before)}`;
  }
  const added = next.voters.filter((voter) => !before.voters.includes(voter));
  const removed = before.voters.filter((voter) => !next.voters.includes(voter));
  if (added.length + removed.length <= 1) return undefined;
  return `${text(before)} became ${text(next)} in one step`;
}

/** The configuration as it is for the others. */
export function without(id: NodeId, configuration: Configuration): Configuration {
  const others = (ids: readonly NodeId[]): NodeId[] => ids.filter((each) => each !== id);
  const { voters, learners, joint } = configuration;
  const halves = joint && {
    ...joint,
    outgoing: others(joint.outgoing),
    learnersNext: others(joint.learnersNext),
  };
  return {
    voters: others(voters),
    learners: others(learners),
    ...(halves === undefined ? {} : { joint: halves }),
  };
}

/**
 * Whether `next` is what `change` makes of `before`, or `before` where the change was refused, but for
 * `id`: a node on probation leaves itself out.
 */
export function follows(
  change: LoggedChange,
  before: Configuration,
  next: Configuration,
  id: NodeId,
): boolean {
  const [was, is] = [without(id, before), without(id, next)];
  return isEqual(is, was) || isEqual(is, without(id, outcomeOf(change, before)));
}

function outcomeOf(change: LoggedChange, before: Configuration): Configuration {
  const { voters, learners, joint } = before;
  if (change.transition === 'leave') {
    return { voters, learners: [...learners, ...(joint?.learnersNext ?? [])] };
  }
  if (joint !== undefined) return before;
  const [voting, learning] = [new Set(voters), new Set(learners)];
  for (const step of change.steps) {
    if (step.kind === 'update') continue;
    const id = step.kind === 'add' ? step.member.id : step.id;
    voting.delete(id);
    learning.delete(id);
    if (step.kind === 'remove') continue;
    const isLearner = step.kind === 'add' ? step.member.learner : step.kind === 'demote';
    (isLearner ? learning : voting).add(id);
  }
  const after = { voters: [...voting], learners: [...learning] };
  if (change.transition === 'simple') return after;
  const isOutgoing = (id: NodeId): boolean => voters.includes(id);
  return {
    voters: after.voters,
    learners: after.learners.filter((id) => !isOutgoing(id)),
    joint: {
      outgoing: voters,
      learnersNext: after.learners.filter(isOutgoing),
      autoLeave: change.autoLeave,
    },
  };
}

function isEqual(one: Configuration, other: Configuration): boolean {
  return (
    areSame(one.voters, other.voters) &&
    areSame(one.learners, other.learners) &&
    areSame(one.joint?.outgoing ?? [], other.joint?.outgoing ?? []) &&
    areSame(one.joint?.learnersNext ?? [], other.joint?.learnersNext ?? [])
  );
}

function areSame(one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((voter) => other.includes(voter));
}

/** For messages. */
export function text({ voters, joint }: Configuration): string {
  return joint === undefined ? `{${voters}}` : `{${voters}} and {${joint.outgoing}}`;
}
