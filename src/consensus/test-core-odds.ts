/** What a seed of a simulation draws before anything happens: settings of the cores, and what the day is like. */
import type { Random } from '../core/random.ts';
import type { RaftSettings } from './raft/settings.ts';

/** What may happen, and how often beside the rest. */
export interface Weights {
  deliver: number;
  drop: number;
  duplicate: number;
  tick: number;
  write: number;
  take: number;
  propose: number;
  read: number;
  crash: number;
  restart: number;
  compact: number;
  transfer: number;
  stream: number;
  install: number;
  partition: number;
  campaign: number;
  unreachable: number;
  /** Of the members. Never, where they are fixed. */
  change: number;
}

/** `weight` on every other day. */
export function sometimes(random: Random, weight: number): number {
  return random.below(2) === 0 ? 0 : weight;
}

export function drawWeights(random: Random): Weights {
  return {
    deliver: 120,
    drop: sometimes(random, 15),
    duplicate: sometimes(random, 15),
    tick: 20 + random.below(60),
    write: 20 + random.below(60),
    take: 60 + random.below(200),
    propose: 5 + random.below(20),
    read: 5 + random.below(10),
    crash: sometimes(random, 1 + random.below(2)),
    restart: 5,
    compact: sometimes(random, 4),
    transfer: sometimes(random, 1),
    stream: 15,
    install: 15,
    partition: sometimes(random, 1),
    campaign: sometimes(random, 2),
    unreachable: sometimes(random, 2),
    change: 0,
  };
}

export function drawSettings(random: Random): Partial<RaftSettings> {
  const pick = <T>(...choices: T[]): T => choices[random.below(choices.length)]!;
  return {
    electionTicks: pick(3, 6, 10),
    preVote: pick(true, true, true, false),
    checkQuorum: pick(true, true, true, false),
    maxAppendBytes: pick(1, 100, 1000, 1 << 20),
    maxInflightMessages: pick(1, 2, 8, 256),
    maxUncommittedEntries: pick(8, 1000),
    maxCommittedEntriesPerTake: pick(1, 3, 4096),
    maxPendingReads: pick(4, 1000),
  };
}
