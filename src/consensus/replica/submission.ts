/**
 * How proposals get into the log: all that wait, once a turn, into the core if this node leads, else
 * in one call to the leader. A follower's proposals arrive here at the leader.
 */
import { assert } from '../../core/assert.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Core } from '../core.ts';
import type { Storage } from '../storage.ts';
import type { Transport } from '../transport.ts';
import { NO_NODE, type NodeId, type Role } from '../types.ts';
import { decodePlacements, encodeForward, encodePlacements, type Placement } from './forwarding.ts';
import { noSpace } from './full-disk.ts';
import type { Forward, Proposal, Proposals } from './proposals.ts';
import type { ReplicaSettings } from './settings.ts';

/** The call with which a follower hands proposals to the leader. */
export const FORWARD = 'propose';

/** Most bytes of proposals in one such call; a larger proposal travels alone. */
const MAX_FORWARD_BYTES = 1024 * 1024;

export interface SubmissionContext {
  readonly core: Core;
  readonly transport: Transport;
  readonly settings: ReplicaSettings;
  readonly storage: Storage;
}

export class Submission<Result> {
  readonly #core: Core;
  readonly #transport: Transport;
  readonly #settings: ReplicaSettings;
  readonly #storage: Storage;
  readonly #proposals: Proposals<Result>;

  constructor(
    { core, transport, settings, storage }: SubmissionContext,
    proposals: Proposals<Result>,
  ) {
    this.#core = core;
    this.#transport = transport;
    this.#settings = settings;
    this.#storage = storage;
    this.#proposals = proposals;
  }

  /** Why `data` is not taken at all. */
  refusal(data: Uint8Array): QuorateError | undefined {
    const { maxProposalBytes, maxWaitingProposals, maxWaitingBytes } = this.#settings;
    const { waitingCount, waitingBytes } = this.#proposals;
    // Text would be applied as it is here, and as bytes elsewhere.
    if (!(data instanceof Uint8Array)) {
      return new QuorateError('ERR_INVALID_ARGUMENT', 'a proposal must be a Uint8Array');
    }
    if (data.length === 0) {
      return new QuorateError('ERR_INVALID_ARGUMENT', 'a proposal cannot be empty');
    }
    if (data.length > maxProposalBytes) {
      return new QuorateError(
        'ERR_REQUEST_TOO_LARGE',
        `a proposal of ${data.length} bytes is above the limit of ${maxProposalBytes}; split it, or raise maxProposalBytes (of a node: maxRequestBytes) everywhere`,
      );
    }
    if (waitingCount < maxWaitingProposals && waitingBytes + data.length <= maxWaitingBytes) {
      return undefined;
    }
    return new QuorateError('ERR_BUSY', 'too many requests wait on this node; try again later', {
      retryable: true,
    });
  }

  /** Sends what waits on its way, if there is a leader to send it to. */
  run(role: Role, term: number, leader: NodeId): void {
    if (this.#proposals.waitingCount === 0) return;
    this.#proposals.refuseBound(role === 'leader' ? term : 0);
    if (role === 'leader') this.#place();
    else if (this.#storage.space === 'none') this.#refuse();
    else if (leader !== NO_NODE) this.#forward(leader);
  }

  /** A follower that takes no entries never applies them: it would have no result to answer with. */
  #refuse(): void {
    for (const proposal of this.#proposals.takeWaiting()) {
      this.#proposals.reject(proposal, noSpace('this'));
    }
  }

  /** Proposals of a follower: answers where each went, or why it did not. */
  forPeer(proposals: readonly Uint8Array[]): Uint8Array {
    return encodePlacements(this.#placeAll(proposals));
  }

  #place(): void {
    const batch = this.#proposals.takeWaiting();
    this.#note(batch, this.#placeAll(batch.map((proposal) => proposal.data)));
  }

  /** Where each proposal went: all in one step; near the core's limits one by one, in order. */
  #placeAll(proposals: readonly Uint8Array[]): Placement[] {
    if (this.#storage.space !== 'ample') return proposals.map(() => 'no-space');
    const whole = this.#core.propose(proposals);
    if (typeof whole !== 'string') {
      return proposals.map((_, i) => ({ index: whole.index + i, term: whole.term }));
    }
    if (whole !== 'busy') return proposals.map(() => whole);
    let refusal: Placement | undefined;
    return proposals.map((data) => {
      if (refusal !== undefined) return refusal;
      const placed = this.#core.propose([data]);
      if (typeof placed === 'string') refusal = placed;
      return placed;
    });
  }

  /** Refused ones are tried again on the next event; at the latest on the next tick. */
  #note(
    batch: readonly Proposal<Result>[],
    placements: readonly Placement[],
    forward?: Forward,
  ): void {
    // One too few, and nobody could tell which went where.
    assert(placements.length === batch.length, 'every proposal is told its place');
    const refused: Proposal<Result>[] = [];
    batch.forEach((proposal, i) => {
      const placement = placements[i]!;
      if (placement === 'no-space') this.#proposals.reject(proposal, noSpace('the leading'));
      else if (typeof placement === 'string') refused.push(proposal);
      else this.#proposals.place(proposal, placement.index, placement.term, forward);
    });
    this.#proposals.putBack(refused);
  }

  #forward(leader: NodeId): void {
    let batch: Proposal<Result>[] = [];
    let bytes = 0;
    for (const proposal of this.#proposals.takeWaiting()) {
      if (proposal.state === 'settled') continue;
      if (batch.length > 0 && bytes + proposal.data.length > MAX_FORWARD_BYTES) {
        void this.#forwardBatch(leader, batch);
        batch = [];
        bytes = 0;
      }
      batch.push(proposal);
      bytes += proposal.data.length;
    }
    if (batch.length > 0) void this.#forwardBatch(leader, batch);
  }

  async #forwardBatch(leader: NodeId, batch: readonly Proposal<Result>[]): Promise<void> {
    for (const proposal of batch) proposal.state = 'sent';
    const forward = this.#proposals.forwardBegan();
    try {
      const placements = await this.#ask(leader, batch);
      if (typeof placements === 'string') this.#proposals.putBack(batch);
      else this.#note(batch, placements, forward);
    } catch (error) {
      for (const proposal of batch) this.#proposals.reject(proposal, lostReply(leader, error));
    } finally {
      this.#proposals.forwardEnded(forward);
    }
  }

  /** Where the leader put them; `'refused'` where it surely never saw them, or took none. */
  async #ask(
    leader: NodeId,
    batch: readonly Proposal<Result>[],
  ): Promise<readonly Placement[] | 'refused'> {
    const { requestTimeoutMs } = this.#settings;
    try {
      const payload = encodeForward(batch);
      const reply = await this.#transport.call(leader, FORWARD, payload, requestTimeoutMs);
      return decodePlacements(reply);
    } catch (error) {
      if (isQuorateError(error) && error.outcome === 'not-applied') return 'refused';
      throw error;
    }
  }
}

function lostReply(leader: NodeId, cause: unknown): QuorateError {
  return new QuorateError(
    'ERR_TIMEOUT',
    `the leader ${leader} did not answer in time: the request may have been applied, or may still be; read back before trying again`,
    { outcome: 'unknown', cause },
  );
}
