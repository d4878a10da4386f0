/**
 * Changes of the configuration in a simulation: an entry holds the configuration that is wanted, and what
 * it makes of the present one is the same on every node.
 */
import assert from 'node:assert/strict';
import type { Random } from '../../core/random.ts';
import { type Configuration, type Entry, EntryType, type NodeId } from '../types.ts';
import { votersOf } from './membership.ts';

export interface Change {
  readonly type: EntryType;
  readonly data: Uint8Array;
}

interface Wanted {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

export function isChange({ type }: Entry): boolean {
  return type === EntryType.configChange || type === EntryType.configChangeV2;
}

/** A configuration near (one voter more or less, a learner) or far from `from`, of 1 to 7 of `ids`. */
export function drawChange(random: Random, ids: readonly NodeId[], from: Configuration): Change {
  if (from.joint !== undefined && random.below(2) === 0) {
    return { type: EntryType.configChangeV2, data: new Uint8Array(0) };
  }
  const isFar = random.below(3) === 0;
  const wanted = isFar ? drawAny(random, ids) : drawNear(random, ids, from);
  const data = new TextEncoder().encode(JSON.stringify(wanted));
  return { type: isFar ? EntryType.configChangeV2 : EntryType.configChange, data };
}

function drawAny(random: Random, ids: readonly NodeId[]): Wanted {
  const voters: NodeId[] = [];
  const learners: NodeId[] = [];
  for (const id of ids) {
    const draw = random.below(8);
    if (draw < 4) voters.push(id);
    else if (draw === 4) learners.push(id);
  }
  return voters.length > 0 ? { voters, learners } : { voters: [ids[0]!], learners: [] };
}

function drawNear(random: Random, ids: readonly NodeId[], from: Configuration): Wanted {
  const id = ids[random.below(ids.length)]!;
  const others = (list: readonly NodeId[]): NodeId[] => list.filter((each) => each !== id);
  const voters = others(from.voters);
  const learners = others(from.learners);
  if (from.voters.includes(id)) {
    if (voters.length === 0) return { voters: [id], learners };
    return { voters, learners: random.below(3) === 0 ? [...learners, id].sort() : learners };
  }
  if (random.below(3) === 0) return { voters, learners: [...learners, id].sort() };
  return { voters: [...voters, id].sort(), learners };
}

/** What is in force once `entry` is applied. A change that does not fit any more changes nothing. */
export function configurationAfter(from: Configuration, entry: Entry): Configuration {
  const { joint, voters, learners } = from;
  if (entry.data.length === 0) {
    if (joint === undefined) return from;
    return { voters, learners: [...learners, ...joint.learnersNext].sort() };
  }
  const wanted = JSON.parse(new TextDecoder().decode(entry.data)) as Wanted;
  if (joint !== undefined) return from;
  if (entry.type === EntryType.configChange) {
    return distance(voters, wanted.voters) > 1 ? from : wanted;
  }
  return {
    voters: wanted.voters,
    learners: wanted.learners.filter((id) => !voters.includes(id)),
    joint: {
      outgoing: voters,
      learnersNext: wanted.learners.filter((id) => voters.includes(id)),
      autoLeave: wanted.voters.length % 2 === 1,
    },
  };
}

function distance(a: readonly NodeId[], b: readonly NodeId[]): number {
  const missing = (from: readonly NodeId[], of: readonly NodeId[]): number =>
    of.filter((id) => !from.includes(id)).length;
  return missing(a, b) + missing(b, a);
}

/** Every quorum of one configuration meets every quorum of the next, whichever nodes it is made of. */
export function checkQuorumsMeet(a: Configuration, b: Configuration): void {
  const ids = [...new Set([...votersOf(a), ...votersOf(b)])];
  for (let mask = 0; mask < 1 << ids.length; mask++) {
    const inside = ids.filter((_, at) => (mask >> at) % 2 === 1);
    const outside = ids.filter((_, at) => (mask >> at) % 2 === 0);
    const isSplit = hasQuorum(a, inside) && hasQuorum(b, outside);
    assert.ok(!isSplit, `${inside} and ${outside} could decide differently`);
  }
}

/** Of its own making, so that the code under test is not checked by itself. */
export function hasQuorum({ voters, joint }: Configuration, nodes: readonly NodeId[]): boolean {
  const sets = joint === undefined ? [voters] : [voters, joint.outgoing];
  return sets.every((set) => 2 * set.filter((id) => nodes.includes(id)).length > set.length);
}
