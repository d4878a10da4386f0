/**
 * Who votes, as far as this node has applied the log, and what a majority of them is. While two sets of
 * voters are joined (Raft §6, thesis §4.3), every decision needs a majority of each.
 *
 * A configuration is in force once it is applied, not once it is in the log: `docs/decisions/` says why
 * that is as safe, and what has to hold for it.
 */
import type { Configuration, NodeId } from '../types.ts';
import { majority, type Verdict, verdict } from './quorum.ts';

const NOBODY: readonly NodeId[] = Object.freeze([]);

export class Membership {
  readonly #id: NodeId;
  configuration: Configuration;
  /** All who vote: of both sets where two are joined. */
  voters: readonly NodeId[];
  /** Whether this node is one of them. */
  isVoter: boolean;

  constructor(id: NodeId, configuration: Configuration) {
    this.#id = id;
    this.configuration = configuration;
    this.voters = NOBODY;
    this.isVoter = false;
    this.configure(configuration);
  }

  /** Returns whether that is news. */
  configure(configuration: Configuration): boolean {
    const isNews = !isSameConfiguration(this.configuration, configuration);
    this.configuration = configuration;
    this.voters = votersOf(configuration);
    this.isVoter = this.voters.includes(this.#id);
    return isNews;
  }

  get isJoint(): boolean {
    return this.configuration.joint !== undefined;
  }

  /** How an election stands: won with a majority of each set, lost when that is out of reach. */
  verdict(answers: ReadonlyMap<NodeId, boolean>): Verdict {
    const { voters, joint } = this.configuration;
    const incoming = verdictOf(voters, answers);
    if (joint === undefined) return incoming;
    const outgoing = verdictOf(joint.outgoing, answers);
    if (incoming === 'lost' || outgoing === 'lost') return 'lost';
    return incoming === 'won' ? outgoing : 'open';
  }
}

function verdictOf(voters: readonly NodeId[], answers: ReadonlyMap<NodeId, boolean>): Verdict {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const answer = answers.get(voter);
    if (answer === true) granted += 1;
    else if (answer === false) refused += 1;
  }
  return verdict(voters.length, granted, refused);
}

/** All who vote, sorted, each once. */
export function votersOf({ voters, joint }: Configuration): readonly NodeId[] {
  return joint === undefined ? voters : [...new Set([...voters, ...joint.outgoing])].sort();
}

/** Whether `nodes` hold a majority of every set of voters. */
export function isQuorum({ voters, joint }: Configuration, nodes: readonly NodeId[]): boolean {
  const holds = (set: readonly NodeId[]): boolean =>
    set.filter((voter) => nodes.includes(voter)).length >= majority(set.length);
  return holds(voters) && (joint === undefined || holds(joint.outgoing));
}

function isSameConfiguration(a: Configuration, b: Configuration): boolean {
  return (
    isSameList(a.voters, b.voters) &&
    isSameList(a.learners, b.learners) &&
    isSameList(a.joint?.outgoing ?? NOBODY, b.joint?.outgoing ?? NOBODY) &&
    isSameList(a.joint?.learnersNext ?? NOBODY, b.joint?.learnersNext ?? NOBODY) &&
    a.joint?.autoLeave === b.joint?.autoLeave
  );
}

function isSameList(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at]);
}
