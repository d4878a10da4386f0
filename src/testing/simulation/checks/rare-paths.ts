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
  'leader-changed',
  'log-truncated',
  'append-refused',
  'vote-refused',
  'prevote-refused',
  'transfer-begun',
  'read-dropped',
  'read-forwarded',
  'snapshot-wanted',
  'snapshot-installed',
  'restart-with-snapshot',
  'restart-with-uncommitted-tail',
  'torn-tail-cut',
  'started-empty',
  'entry-of-old-term-chosen',
  'change-appended',
  'joint-entered',
  'joint-left',
  'member-added',
  'member-removed',
  'learner-promoted',
  'leader-changed-mid-write',
  'write-unknown',
  'write-refused',
  'lease-expired',
  'lease-revoked',
  'watch-resumed',
  'watch-resumed-after-compaction',
  'watch-progress',
  'lock-granted',
  'lock-lost',
  'compacted',
  'worst-case-looked-at',
  'disk-full',
  'corrupt-refused',
  'repaired-from-peers',
] as const;

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
    if (last < seat.terms.length - 1) this.#world.reach('torn-tail-cut');
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
    const isNew = now.voters.some((voter) => !before.voters.includes(voter));
    if (isNew) this.#world.reach('member-added');
    if (now.voters.some((voter) => before.learners.includes(voter))) {
      this.#world.reach('learner-promoted');
    }
    if (before.voters.some((voter) => !now.voters.includes(voter))) {
      this.#world.reach('member-removed');
    }
  }
}
