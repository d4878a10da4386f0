/** What must hold of configurations: who is a majority, and which may follow which (Raft §6). */
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
  return {
    voters: others(voters),
    learners: others(learners),
    ...(joint === undefined ? {} : { joint: { ...joint, outgoing: others(joint.outgoing) } }),
  };
}

function areSame(one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((voter) => other.includes(voter));
}

function text({ voters, joint }: Configuration): string {
  return joint === undefined ? `{${voters}}` : `{${voters}} and {${joint.outgoing}}`;
}
