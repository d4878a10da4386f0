/** Leadership goes to another node on purpose (thesis §3.10): asked for, or because this one stops. */
import { sleep, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Core } from '../core.ts';
import type { Transport } from '../transport.ts';
import type { NodeId } from '../types.ts';
import { notLeading } from './errors.ts';
import type { ReplicaSettings } from './settings.ts';

/** The replica, as far as a hand-over needs it. */
export interface HandOverContext {
  readonly id: NodeId;
  readonly core: Core;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly settings: ReplicaSettings;
  /** Whom this node takes for the leader. */
  readonly leader: () => NodeId;
  /** The core was changed: run the loop. */
  readonly wake: () => void;
}

export class HandOver {
  readonly #context: HandOverContext;
  readonly #stop = new AbortController();

  constructor(context: HandOverContext) {
    this.#context = context;
  }

  /** Hands leadership to `to`; resolves when it leads. */
  async to(to: NodeId, options: WaitOptions): Promise<void> {
    const { id, core, settings, wake, leader } = this.#context;
    throwIfAborted(options.signal);
    if (leader() !== id) throw notLeading();
    if (to === id) return;
    if (!core.transferLeadership(to)) {
      throw new QuorateError('ERR_BAD_TRANSFEREE', `${to} is no voting member of this cluster`);
    }
    wake();
    const moved = await this.#leaderBecomes(to, settings.electionMs * 2, options);
    if (!moved) {
      throw new QuorateError('ERR_TIMEOUT', `leadership did not move to ${to} in time`, {
        outcome: 'unknown',
      });
    }
  }

  /** The replica stops: who waits hears `reason`. */
  stop(reason: Error): void {
    this.#stop.abort(reason);
  }

  /** To the peer with the longest log, so that a planned stop costs no election. */
  async toBest(): Promise<void> {
    const { id, core, settings, wake, leader } = this.#context;
    if (leader() !== id) return;
    const active = core.status().peers.filter((peer) => peer.active && peer.id !== id);
    const best = active.sort((a, b) => b.match - a.match).find(({ id }) => begins(core, id));
    if (best === undefined) return;
    wake();
    await this.#leaderBecomes(best.id, settings.electionMs, {});
  }

  /** Whether leadership moved to `to` in time; `false` at once when that node is gone. */
  async #leaderBecomes(to: NodeId, timeoutMs: number, options: WaitOptions): Promise<boolean> {
    const { transport, clock, settings, leader } = this.#context;
    const deadline = clock.now() + timeoutMs;
    while (leader() !== to) {
      const isGone = !transport.peers().some((peer) => peer.id === to && peer.connected);
      if (isGone || clock.now() > deadline) return false;
      const { signal } = this.#stop;
      await sleep(
        clock,
        settings.heartbeatMs / 4,
        options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]),
      );
    }
    return true;
  }
}

/** A learner is no successor. */
function begins(core: Core, id: NodeId): boolean {
  return core.transferLeadership(id);
}
