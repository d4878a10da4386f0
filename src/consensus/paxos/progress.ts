/**
 * What a leader knows of one peer, and how it sends to it.
 *
 * - `probe`: nothing is known, or a message was lost on the way to it: one accept at a time, until it answers.
 * - `replicate`: accepts are pipelined; `next` runs ahead of the answers, within a window.
 * - `snapshot`: the slots it needs are gone; nothing is sent until the snapshot has arrived.
 *
 * A lost accept leaves a hole: the peer accepts what comes behind it all the same, and names the hole.
 */

import type { InflightWindow } from '../raft/progress.ts';
import type { NodeId } from '../types.ts';

/** A hole that was filled a moment ago is not filled again for so many ticks. */
const REPAIR_TICKS = 2;

export class PaxosProgress {
  readonly id: NodeId;
  isVoter: boolean;
  state: 'probe' | 'replicate' | 'snapshot';
  /** The peer holds all up to here, chosen or accepted in our ballot, durably. */
  match: number;
  /** The next slot to send. */
  next: number;
  /** Heard from since the last quorum check. */
  active: boolean;
  /** In `probe`: wait for an answer before the next accept. */
  waiting: boolean;
  /** In `replicate`: send an accept even if it is empty, to find out whether one was lost. */
  verify: boolean;
  /** `match` when the last heartbeat was answered: where it has not moved since, something may be lost. */
  matchAtBeat: number;
  /** Newest commit index that an accept told the peer. */
  sentCommit: number;
  /** The hole filled last began behind this; for how many ticks it is not filled again. */
  repairedAfter: number;
  repairTicks: number;
  snapshotIndex: number;
  snapshotTicks: number;
  /** Newest read round that the peer has answered in this ballot. */
  readRound: number;
  readonly window: InflightWindow;

  constructor(id: NodeId, isVoter: boolean, window: InflightWindow) {
    this.id = id;
    this.isVoter = isVoter;
    this.state = 'probe';
    this.match = 0;
    this.next = 1;
    this.active = false;
    this.waiting = false;
    this.verify = false;
    this.matchAtBeat = -1;
    this.sentCommit = 0;
    this.repairedAfter = -1;
    this.repairTicks = 0;
    this.snapshotIndex = 0;
    this.snapshotTicks = 0;
    this.readRound = 0;
    this.window = window;
  }

  /** A new ballot of ours: nothing is known. */
  reset(next: number): void {
    this.match = 0;
    this.active = false;
    this.matchAtBeat = -1;
    this.sentCommit = 0;
    this.readRound = 0;
    this.probeFrom(next);
  }

  probeFrom(next: number): void {
    this.state = 'probe';
    this.next = Math.max(next, this.match + 1);
    this.waiting = false;
    this.verify = false;
    this.sentCommit = Math.min(this.sentCommit, this.match);
    this.repairedAfter = -1;
    this.repairTicks = 0;
    this.snapshotIndex = 0;
    this.snapshotTicks = 0;
    this.window.clear();
  }

  replicateFrom(next: number): void {
    this.probeFrom(next);
    this.state = 'replicate';
  }

  sendSnapshot(index: number): void {
    this.probeFrom(this.match + 1);
    this.state = 'snapshot';
    this.snapshotIndex = index;
  }

  /** The peer holds all up to `index`; `firstIndex` is the first that we still hold. Returns whether it is news. */
  acknowledge(index: number, firstIndex: number): boolean {
    const isNews = index > this.match;
    if (isNews) {
      this.match = index;
      if (this.next <= index) this.next = index + 1;
    }
    if (this.state === 'replicate') this.window.freeTo(index);
    else if (this.state === 'probe') this.replicateFrom(this.next);
    else if (isNews && this.match + 1 >= firstIndex) this.replicateFrom(this.match + 1);
    return isNews;
  }

  /** Whether the hole behind `after` is to be filled now. */
  mayRepair(after: number): boolean {
    if (after < this.match || this.state === 'snapshot') return false;
    return this.repairTicks === 0 || after !== this.repairedAfter;
  }

  repaired(after: number): void {
    this.repairedAfter = after;
    this.repairTicks = REPAIR_TICKS;
  }

  tick(): void {
    if (this.repairTicks > 0) this.repairTicks -= 1;
    if (this.state === 'snapshot') this.snapshotTicks += 1;
  }
}
