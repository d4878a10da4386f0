/**
 * Marks the paths that a run took and that runs rarely take, by what is seen from outside. A path
 * that no seed takes is a property that no seed tests.
 */
import type { Effects } from '../../../consensus/core.ts';
import { MessageType, type PeerMessage } from '../../../consensus/messages.ts';
import type { RecoveredState } from '../../../consensus/storage.ts';
import { type Configuration, type Entry, EntryType } from '../../../consensus/types.ts';
import type { World } from '../types.ts';
import type { SeatLog } from './seat-log.ts';

/** Every path that some seed must take; the command line names those that none took. */
export const RARE_PATHS = [
  'append-refused',
  'change-appended',
  'compacted',
  'corrupt-refused',
  'damaged-frame-refused',
  'disk-full',
  'disk-replaced',
  'entry-of-old-term-chosen',
  'joint-entered',
  'joint-left',
  'leader-changed',
  'learner-refused',
  'lease-expired',
  'lease-revoked',
  'lock-granted',
  'lock-lost',
  'log-truncated',
  'member-add-done',
  'member-promote-done',
  'member-remove-done',
  'member-swap-done',
  'no-majority-off-probation',
  'prevote-refused',
  'read-by-lease',
  'read-dropped',
  'read-forwarded',
  'repaired-from-peers',
  'restart-with-snapshot',
  'restart-with-uncommitted-tail',
  'snapshot-aborted',
  'snapshot-discarded',
  'snapshot-installed',
  'snapshot-wanted',
  'started-empty',
  'torn-tail-cut',
  'transfer-begun',
  'transfer-done',
  'vote-refused',
  'watch-progress',
  'watch-resumed',
  'watch-resumed-after-compaction',
  'worst-case-looked-at',
  'write-not-durable-lost',
  'write-refused',
  'write-unknown',
] as const;

/** A path that the simulator knows of. */
export type RarePath = (typeof RARE_PATHS)[number];

/** What nodes log on rare paths. */
const LOGGED: readonly (readonly [pattern: RegExp, path: RarePath])[] = [
  [/lost a part of its log; has caught up/, 'repaired-from-peers'],
  [/came with an empty folder; has caught up/, 'disk-replaced'],
  [/the disk of .* is full/, 'disk-full'],
  [/wrong checksum|length of a frame was damaged/, 'damaged-frame-refused'],
  [/last write was cut short/, 'torn-tail-cut'],
  [/before that snapshot was complete/, 'snapshot-discarded'],
];

export class RarePaths {
  readonly #world: World;
  #leaderCount: number;

  constructor(world: World) {
    this.#world = world;
    this.#leaderCount = 0;
  }

  started(seat: SeatLog, found: RecoveredState): void {
    if (found.fresh) this.#world.reach('started-empty');
    if (found.snapshot !== undefined) this.#world.reach('restart-with-snapshot');
    if ((found.entries.at(-1)?.index ?? 0) > found.hardState.commit) {
      this.#world.reach('restart-with-uncommitted-tail');
    }
    const last = found.entries.at(-1)?.index ?? found.snapshot?.index ?? 0;
    if (last < seat.terms.length - 1) this.#world.reach('write-not-durable-lost');
  }

  /** A node has logged this. */
  logged(text: string): void {
    for (const [pattern, path] of LOGGED) if (pattern.test(text)) this.#world.reach(path);
  }

  /** A snapshot stream has ended before its end. */
  snapshotAborted(): void {
    this.#world.reach('snapshot-aborted');
  }

  sent({ type, reject }: PeerMessage): void {
    switch (type) {
      case MessageType.appendReply:
        if (reject) this.#world.reach('append-refused');
        return;
      case MessageType.voteReply:
        if (reject) this.#world.reach('vote-refused');
        return;
      case MessageType.preVoteReply:
        if (reject) this.#world.reach('prevote-refused');
        return;
      case MessageType.timeoutNow:
        this.#world.reach('transfer-begun');
        return;
      case MessageType.readIndex:
        this.#world.reach('read-forwarded');
        return;
      default:
        return;
    }
  }

  took(_seat: SeatLog, effects: Effects): void {
    if (effects.snapshotsWanted.length > 0) this.#world.reach('snapshot-wanted');
    if (effects.install !== undefined) this.#world.reach('snapshot-installed');
    if (effects.droppedReads.length > 0) this.#world.reach('read-dropped');
  }

  elected(): void {
    this.#leaderCount += 1;
    if (this.#leaderCount > 1) this.#world.reach('leader-changed');
  }

  changeAppended(entry: Entry): void {
    if (entry.type === EntryType.configChangeV2 || entry.term > 1) {
      this.#world.reach('change-appended');
    }
  }

  configured(before: Configuration | undefined, now: Configuration): void {
    if (before === undefined) return;
    if (before.joint === undefined && now.joint !== undefined) this.#world.reach('joint-entered');
    if (before.joint !== undefined && now.joint === undefined) this.#world.reach('joint-left');
  }
}
