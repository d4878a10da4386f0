/**
 * The one loop that drives a consensus core: events change the core, then one pass per turn of the
 * event loop carries out what the core wants: send, persist, apply, answer.
 *
 * Persist before promise: a message that depends on a write is queued behind that write, in
 * `#persist` and nowhere else.
 */
import { orAborted, type WaitOptions } from '../../core/abort.ts';
import type { Cancel, Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Core, Effects } from '../core.ts';
import type { PeerMessage } from '../messages.ts';
import type { StateMachine } from '../state-machine.ts';
import type { Storage } from '../storage.ts';
import type { Transport } from '../transport.ts';
import type { Entry, NodeId, Role, SnapshotMetadata } from '../types.ts';
import { NO_NODE } from '../types.ts';
import { notLeading, stopped } from './errors.ts';
import { decodeForward } from './forwarding.ts';
import { FullDisk } from './full-disk.ts';
import { HandOver } from './hand-over.ts';
import type { MemberChange, MemberInfo } from './member-change.ts';
import type { Members } from './members.ts';
import type { ProposeOptions, ReplicaEvents, ReplicaOptions, ReplicaStatus } from './options.ts';
import { OutgoingSnapshots } from './outgoing-snapshots.ts';
import { Proposals } from './proposals.ts';
import { Reads } from './reads.ts';
import { CHANGE_MEMBERS, Reconfiguration } from './reconfiguration.ts';
import { Retention } from './retention.ts';
import type { ReplicaSettings } from './settings.ts';
import { Snapshots } from './snapshots.ts';
import { FORWARD, Submission } from './submission.ts';

/**
 * One node's part in a replicated state machine: open one with `openReplica`.
 *
 * A proposal is applied once, on every node, in the same order; `propose` and `readBarrier` work on
 * every member. Should its disk fail, or an invariant break, it stops for good and rejects all calls.
 *
 * @typeParam Result - what the state machine's `apply` answers.
 */
export class Replica<Result> {
  readonly id: NodeId;
  readonly settings: ReplicaSettings;
  readonly members: Members;
  readonly #core: Core;
  readonly #storage: Storage;
  readonly #transport: Transport;
  readonly #machine: StateMachine<Result>;
  readonly #clock: Clock;
  readonly #defer: (run: () => void) => void;
  readonly #events: ReplicaEvents;
  readonly #onStop: (() => void) | undefined;
  readonly #proposals: Proposals<Result>;
  readonly #submission: Submission<Result>;
  readonly #reads = new Reads();
  readonly #snapshots: Snapshots<Result>;
  readonly #retention: Retention;
  readonly #handOver: HandOver;
  readonly #fullDisk: FullDisk;
  readonly #changes: Reconfiguration;
  readonly #outgoing: OutgoingSnapshots;
  #cancelTick: Cancel | undefined;
  #scheduled = false;
  #applied = 0;
  #role: Role = 'follower';
  #term = 0;
  #leader: NodeId = NO_NODE;
  /** Leads and has applied an entry of its own term. */
  #leading = false;
  #writesPending = 0;
  #installing = false;
  #stopped: QuorateError | undefined;
  #closing: Promise<void> | undefined;
  readonly #run = (): void => this.#turn();

  constructor(options: ReplicaOptions<Result>) {
    this.id = options.id;
    this.settings = options.settings;
    this.members = options.members;
    this.#core = options.core;
    this.#storage = options.storage;
    this.#transport = options.transport;
    this.#machine = options.machine;
    this.#clock = options.clock;
    this.#defer = options.defer;
    this.#events = options.events ?? {};
    this.#onStop = options.onStop;
    this.#applied = options.storage.recovered.snapshot?.index ?? 0;
    this.#proposals = new Proposals(this.#applied);
    const { id, core, transport, settings, storage, machine, members, clock } = options;
    this.#submission = new Submission({ core, transport, settings, storage }, this.#proposals);
    this.#retention = new Retention(settings);
    this.#snapshots = new Snapshots(storage, machine, members, settings);
    const context = {
      ...{ id, core, transport, clock, settings, members },
      applied: () => ({ index: this.#applied, term: core.termAt(this.#applied) }),
      leader: () => this.#leader,
      isLeading: () => this.#leading,
      isStarted: this.#events.isStarted,
      isOnProbation: options.isOnProbation,
      wake: () => this.#wake(),
      requireRunning: () => {
        if (this.#stopped !== undefined) throw this.#stopped;
      },
    };
    this.#handOver = new HandOver(context);
    this.#fullDisk = new FullDisk(storage, () => this.#handOver.toBest());
    this.#changes = new Reconfiguration(context);
    const snapshots = this.#snapshots;
    const retention = this.#retention;
    this.#outgoing = new OutgoingSnapshots({
      ...{ core, storage, transport, members, snapshots, retention },
      applied: () => this.#applied,
      term: () => this.#term,
      isStopped: () => this.#stopped !== undefined,
      wake: () => this.#wake(),
      drive: (change) => this.#drive(change),
      fail: (error) => this.#fail(error),
    });
  }

  /** Applies what was known to be committed, then listens and takes part. */
  async start(): Promise<void> {
    this.#storage.forgetEntries();
    await this.#snapshots.restore();
    this.#changes.restored(this.#applied);
    await this.#transport.start({
      onMessage: (message) => this.#receive(message),
      onCall: (from, method, payload) => this.#answer(from, method, payload),
      onSnapshot: (message, metadata, chunks) => this.#receiveSnapshot(message, metadata, chunks),
      onUnreachable: (peer) => this.#drive(() => this.#core.unreachable(peer)),
      onRemoved: () => this.#removed(),
    });
    this.#cancelTick = this.#clock.every(this.settings.heartbeatMs, () => this.#tick());
    this.#turn();
    // Nobody else could lead: no reason to wait for an election timeout.
    const { voters } = this.members.configuration();
    if (voters.length === 1 && voters[0] === this.id) this.#core.campaign();
    this.#wake();
  }

  get leader(): NodeId {
    return this.#leader;
  }

  get term(): number {
    return this.#term;
  }

  /** Leads, and the state machine holds all that earlier leaders committed. */
  get leading(): boolean {
    return this.#leading;
  }

  get appliedIndex(): number {
    return this.#applied;
  }

  /** Proposals without an answer yet. */
  get pendingProposals(): number {
    return this.#proposals.unsettled;
  }

  /**
   * Replicates `data` and resolves with what `apply` answered on this node, once it is durable on a
   * majority. On a follower it goes to the leader. Waits through a change of leader.
   *
   * Rejects with `ERR_REQUEST_TOO_LARGE`, `ERR_BUSY` or `ERR_NO_LEADER` (not applied), `ERR_TIMEOUT`
   * (unknown), `ERR_CLOSED`, or the signal's reason (the proposal itself is not taken back); with
   * `onlyAsLeader` also with `ERR_NOT_LEADER` (not applied).
   */
  propose(data: Uint8Array, options: ProposeOptions = {}): Promise<Result> {
    const refusal = this.#stopped ?? this.#submission.refusal(data);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (options.signal?.aborted) return Promise.reject(options.signal.reason);
    if (options.onlyAsLeader === true && !this.#leading) return Promise.reject(notLeading());
    const deadline = this.#clock.now() + this.settings.requestTimeoutMs;
    const onlyInTerm = options.onlyAsLeader === true ? this.#term : 0;
    const answer = this.#proposals.add(data, deadline, onlyInTerm);
    this.#wake();
    return options.signal === undefined ? answer : orAborted(answer, options.signal);
  }

  /**
   * Resolves when the local state machine holds everything that was committed before the call: what
   * is read from it then is linearizable (ReadIndex, Raft thesis §6.4). Works on every member.
   */
  readBarrier(options: WaitOptions = {}): Promise<void> {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped);
    if (options.signal?.aborted) return Promise.reject(options.signal.reason);
    const point = this.#reads.add(this.#clock.now() + this.settings.requestTimeoutMs);
    this.#wake();
    return options.signal === undefined ? point : orAborted(point, options.signal);
  }

  /**
   * Asks the present leader's `onCall`. `ERR_NO_LEADER` while there is none, or where it is this
   * node; `ERR_TIMEOUT` or `ERR_UNAVAILABLE` where no answer comes.
   */
  async callLeader(method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (this.#leader === NO_NODE || this.#leader === this.id) {
      throw new QuorateError('ERR_NO_LEADER', 'no other node is known to lead', {
        retryable: true,
      });
    }
    return this.#transport.call(this.#leader, method, payload, timeoutMs);
  }

  /** Hands leadership to `to`; resolves when it leads. */
  async transferLeadership(to: NodeId, options: WaitOptions = {}): Promise<void> {
    return this.#handOver.to(to, options);
  }

  /**
   * Changes who belongs to the cluster, as etcd does: one change in one step, several at once by joint
   * consensus. On a follower it goes to the leader. Resolves with all members once it is applied here.
   *
   * Rejects (not applied) with `ERR_MEMBER_EXISTS`, `ERR_PEER_URL_EXISTS`, `ERR_BAD_PEER_URLS`,
   * `ERR_MEMBER_NOT_FOUND`, `ERR_NOT_LEARNER`, `ERR_LEARNER_NOT_READY`, `ERR_TOO_MANY_LEARNERS`,
   * `ERR_NOT_ENOUGH_STARTED`, `ERR_UNAVAILABLE` (voters that it needs are not connected),
   * `ERR_BUSY` (another change is under way), `ERR_NO_LEADER`; with `ERR_TIMEOUT` (unknown),
   * `ERR_CLOSED`, or the signal's reason.
   */
  changeMembers(
    changes: readonly MemberChange[],
    options: WaitOptions = {},
  ): Promise<readonly MemberInfo[]> {
    return this.#changes.change(changes, options);
  }

  /** How this replica stands now. No I/O. */
  status(): ReplicaStatus {
    const core = this.#core.status();
    return {
      id: this.id,
      role: core.role,
      term: core.term,
      leader: core.leader,
      commitIndex: core.commit,
      appliedIndex: this.#applied,
      firstIndex: core.firstIndex,
      lastIndex: core.lastIndex,
      snapshotIndex: this.#snapshots.newestIndex,
      diskBytes: this.#storage.diskBytes(),
      peers: core.peers,
    };
  }

  /** Hands leadership over if it can, answers what is open, and lets go of the disk and the network. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Where the node stops by itself meanwhile, there is still all to let go of.
    if (this.#stopped === undefined) await this.#handOver.toBest().catch(() => undefined);
    this.#stop(new QuorateError('ERR_CLOSED', 'the node was closed'));
    await this.#snapshots.abandon();
    await this.#transport.close().finally(() => this.#snapshots.ended());
    await this.#storage.close();
  }

  // ---- events ------------------------------------------------------------------------------

  #tick(): void {
    const now = this.#clock.now();
    const noLeader = this.#leader === NO_NODE;
    this.#drive(() => this.#core.tick());
    this.#fullDisk.tick(this.#role === 'leader');
    this.#proposals.expire(now, noLeader);
    this.#reads.expire(now, noLeader);
    if (this.#changes.tick(this.#role === 'leader')) this.#removed();
  }

  #receive(message: PeerMessage): void {
    if (this.#stopped !== undefined || this.#fullDisk.refuses(message)) return;
    try {
      this.#core.step(message);
      this.#wake();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Changes the core from outside the loop. What it finds broken stops the node, and nobody else. */
  #drive(change: () => void): void {
    if (this.#stopped !== undefined) return;
    try {
      change();
      this.#wake();
    } catch (error) {
      this.#fail(error);
    }
  }

  async #answer(_from: NodeId, method: string, payload: Uint8Array): Promise<Uint8Array> {
    if (this.#stopped !== undefined) throw this.#stopped;
    if (method === FORWARD) {
      const proposals = decodeForward(payload);
      let placements: Uint8Array | undefined;
      this.#drive(() => {
        placements = this.#submission.forPeer(proposals);
      });
      // The core broke halfway: some may be in the log.
      return placements ?? Promise.reject(stopped(this.#stopped!, 'unknown'));
    }
    if (method === CHANGE_MEMBERS) return this.#changes.answer(payload);
    if (this.#events.onCall === undefined) {
      throw new QuorateError('ERR_UNSUPPORTED', `this node does not answer '${method}'`);
    }
    return this.#events.onCall(method, payload);
  }

  async #receiveSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    if (this.#stopped !== undefined) throw this.#stopped;
    if (this.#installing) {
      throw new QuorateError('ERR_BUSY', 'a snapshot is being installed', { retryable: true });
    }
    // What we have may be newer: then we only say so, else the leader would send it for ever.
    if (metadata.index > this.#applied) {
      await this.#snapshots.receive(metadata, chunks);
      this.#snapshots.requireArrived(metadata);
    }
    this.#receive(message);
    this.#turn();
    // Not taken: what we have is newer.
    if (!this.#installing) await this.#snapshots.abandon();
  }

  // ---- the loop ----------------------------------------------------------------------------

  #wake(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#defer(this.#run);
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#stopped !== undefined) return;
    try {
      this.#submission.run(this.#role, this.#term, this.#leader);
      if (!this.#reads.idle) this.#reads.submit((context) => this.#core.readIndex(context));
      const appliedBefore = this.#applied;
      if (this.#core.hasEffects()) this.#perform(this.#core.take());
      this.#settleChanges();
      if (this.#applied !== appliedBefore) {
        this.#reads.applied(this.#applied);
        this.#events.onApplied?.();
      }
      const keepFrom = this.#retention.dropBefore(this.#applied, this.#core);
      if (keepFrom !== undefined) this.#core.compact(this.#applied, keepFrom);
      if (!this.#installing && this.#snapshots.due(this.#clock.now())) void this.#outgoing.take();
      if (this.#core.hasEffects()) this.#wake();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Whoever asked for a change hears of it when the disk knows that it is committed. */
  #settleChanges(): void {
    this.#changes.tellTransport();
    const settle = this.#changes.takeSettling();
    if (settle === undefined) return;
    if (this.#core.hasEffects()) this.#perform(this.#core.take());
    this.#storage.persist({ hardState: undefined, entries: [] }, settle);
  }

  #perform(effects: Effects): void {
    if (effects.stateChanged) this.#changed();
    this.#send(effects.messages);
    this.#persist(effects);
    if (effects.install !== undefined) this.#install(effects.install);
    for (const entry of effects.committed) this.#apply(entry);
    if (effects.committed.length > 0) this.#core.applied(this.#applied);
    for (const read of effects.reads) {
      this.#reads.answered(read.context, read.index, this.#applied);
    }
    for (const context of effects.droppedReads) this.#reads.dropped(context);
    for (const wanted of effects.snapshotsWanted) this.#outgoing.send(wanted);
  }

  /** On their way before this turn does anything else: the followers' disks work while ours does. */
  #send(messages: readonly PeerMessage[]): void {
    if (messages.length === 0) return;
    for (const message of messages) this.#transport.send(message);
    this.#transport.flush();
  }

  #persist(effects: Effects): void {
    const { persist, messagesAfterPersist } = effects;
    if (persist === undefined && messagesAfterPersist.length === 0) return;
    if (persist === undefined && this.#writesPending === 0) {
      this.#send(messagesAfterPersist);
      return;
    }
    this.#writesPending += 1;
    // Without anything of its own to write it still waits its turn behind the writes before it.
    this.#storage.persist(persist ?? { hardState: undefined, entries: [] }, (error) => {
      this.#writesPending -= 1;
      if (this.#stopped !== undefined) return;
      if (error !== undefined) return this.#fail(error);
      this.#drive(() => {
        if (persist !== undefined) this.#core.persisted(persist.sequence);
        this.#send(messagesAfterPersist);
      });
    });
  }

  #apply(entry: Entry): void {
    let result: Result | undefined;
    const isChange = this.#changes.applied(entry);
    if (!isChange && entry.data.length > 0) {
      result = this.#machine.apply(entry.data, entry.index);
    }
    this.#applied = entry.index;
    this.#snapshots.applied(entry.data.length, this.#clock.now());
    this.#retention.applied(entry.data.length);
    this.#proposals.applied(entry.index, entry.term, result);
    if (!this.#leading && this.#role === 'leader' && entry.term === this.#term) {
      this.#leading = true;
      this.#events.onLeading?.(true);
    }
  }

  #changed(): void {
    const status = this.#core.status();
    this.#role = status.role;
    this.#term = status.term;
    this.#leader = status.leader;
    if (this.#leading && status.role !== 'leader') {
      this.#leading = false;
      this.#events.onLeading?.(false);
    }
    this.#events.onChange?.(this.status());
  }

  // ---- snapshots ---------------------------------------------------------------------------

  #install(metadata: SnapshotMetadata): void {
    this.#installing = true;
    this.#snapshots
      .install(metadata)
      .then(() => this.#installed(metadata))
      .catch((error) => this.#fail(error));
  }

  #installed(metadata: SnapshotMetadata): void {
    this.#installing = false;
    if (this.#stopped !== undefined) return;
    this.#applied = metadata.index;
    this.#retention.reset();
    this.#core.snapshotInstalled(metadata);
    this.#changes.restored(metadata.index);
    this.#proposals.skippedTo(metadata.index, metadata.term);
    this.#reads.applied(metadata.index);
    this.#events.onApplied?.();
    this.#wake();
  }

  // ---- the end -----------------------------------------------------------------------------

  #removed(): void {
    if (this.#stopped !== undefined) return;
    this.#stop(new QuorateError('ERR_CLOSED', 'this node was removed from the cluster'));
    this.#events.onRemoved?.();
  }

  #fail(cause: unknown): void {
    if (this.#stopped !== undefined) return;
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#stop(error);
    this.#events.onFailed?.(error);
  }

  #stop(why: Error): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = stopped(why, 'not-applied');
    this.#onStop?.();
    this.#handOver.stop(this.#stopped);
    this.#cancelTick?.();
    if (this.#leading) {
      this.#leading = false;
      this.#events.onLeading?.(false);
    }
    this.#proposals.rejectAll((sent) => stopped(why, sent ? 'unknown' : 'not-applied'));
    this.#reads.rejectAll(this.#stopped);
    this.#changes.end();
  }
}
