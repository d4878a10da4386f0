/**
 * Ballot numbers. A ballot has one owner, who proposes at most one value a slot in it (Lamport §2.3), so
 * no two nodes may ever use the same: `round * 1024 + ordinal`, where the ordinal is the owner's place
 * among all members, sorted by id. Members are fixed under Paxos, so ordinals are for ever.
 *
 * It takes the place of Raft's term everywhere: a number below 2^53 that only rises. A node makes a
 * ballot durable as its own promise before anyone hears of it, and begins the next one above all it has
 * promised: so none is used again after a restart.
 */
import { assert } from '../../core/assert.ts';
import type { Configuration, NodeId } from '../types.ts';

/** More members than anyone has. */
const STRIDE = 1024;

/** The smallest ballot of the node with `ordinal` that is above `above`. */
export function nextBallot(above: number, ordinal: number): number {
  assert(ordinal >= 0 && ordinal < STRIDE, 'only a member has ballots');
  const ballot = (Math.floor(above / STRIDE) + 1) * STRIDE + ordinal;
  assert(Number.isSafeInteger(ballot), 'ballots are exact numbers');
  return ballot;
}

/** The ordinal of the node that owns `ballot`. */
export function ownerOf(ballot: number): number {
  return ballot % STRIDE;
}

/** Every member's ordinal: learners have one too, so that it does not depend on who votes. */
export function ordinals(configuration: Configuration): ReadonlyMap<NodeId, number> {
  const members = [...configuration.voters, ...configuration.learners].sort();
  return new Map(members.map((id, ordinal) => [id, ordinal]));
}
