/** Snapshots of this node's own state: taken when due, and sent to peers that need them. */
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Core } from '../core.ts';
import type { PeerMessage } from '../messages.ts';
import type { Storage } from '../storage.ts';
import type { Transport } from '../transport.ts';
import type { Members } from './members.ts';
import type { Retention } from './retention.ts';
import type { Snapshots } from './snapshots.ts';

/** The replica, as far as its snapshots need it. */
export interface OutgoingSnapshotsContext {
  readonly core: Core;
  readonly storage: Storage;
  readonly transport: Transport;
  readonly members: Members;
  readonly snapshots: Snapshots<unknown>;
  readonly retention: Retention;
  /** Newest entry that is applied. */
  readonly applied: () => number;
  readonly term: () => number;
  readonly isStopped: () => boolean;
  readonly wake: () => void;
  /** Changes the core from outside the loop. */
  readonly drive: (change: () => void) => void;
  readonly fail: (error: unknown) => void;
}

export class OutgoingSnapshots {
  readonly #context: OutgoingSnapshotsContext;
  /** Index of a snapshot whose file was found damaged when it was read to be sent. */
  #damagedIndex = 0;

  constructor(context: OutgoingSnapshotsContext) {
    this.#context = context;
  }

  /** Whether there is a snapshot of the state as of now; `false` where a received one overtook it. */
  async take(): Promise<boolean> {
    const { core, members, snapshots, storage, applied, isStopped, wake, fail } = this.#context;
    try {
      const index = applied();
      const term = core.termAt(index);
      const taken = await snapshots.take({ index, term, configuration: members.configuration() });
      if (taken && !isStopped()) {
        storage.release(snapshots.releasable());
        wake();
      }
      return taken;
    } catch (error) {
      // A full disk has no room for one: the log goes back further until the next is due.
      if (!isQuorateError(error, 'ERR_NO_SPACE')) fail(error);
      return false;
    }
  }

  /** Sends the snapshot that the core wants sent, and tells it how that went. */
  send(wanted: PeerMessage): void {
    const { core, retention, term, drive } = this.#context;
    const sent = (ok: boolean): void => {
      if (!ok) retention.release(wanted.to);
      // Of another term's stream, the peer's progress knows nothing.
      if (wanted.term === term()) drive(() => core.snapshotSent(wanted.to, ok));
    };
    this.#stream(wanted).then(
      () => sent(true),
      () => sent(false),
    );
  }

  /** Sends the newest snapshot, made now where that is older than the log we still hold. */
  async #stream(wanted: PeerMessage): Promise<void> {
    const { core, transport, snapshots, retention, applied } = this.#context;
    const { newestIndex } = snapshots;
    // The state in memory is whole: where the file is not, another one takes its place.
    const isDamaged = newestIndex === this.#damagedIndex && applied() > newestIndex;
    const isUsable = newestIndex >= core.status().firstIndex - 1 && !isDamaged;
    retention.hold(wanted.to, isUsable ? newestIndex : applied());
    if (!isUsable && (snapshots.busy || !(await this.take()))) {
      throw new QuorateError('ERR_BUSY', 'another snapshot is under way', { retryable: true });
    }
    const { message, metadata, chunks } = snapshots.toSend(wanted);
    await transport.sendSnapshot(message, metadata, this.#watched(metadata.index, chunks));
  }

  async *#watched(
    index: number,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* chunks;
    } catch (error) {
      if (isQuorateError(error, 'ERR_CORRUPT')) this.#damagedIndex = index;
      throw error;
    }
  }
}
