/**
 * The leader's side of phase two for all slots: which accepts go to which peer, and what the answers
 * mean. Proposals only append to the log; `sendAll` runs once for each `take` and turns all that has
 * gathered into one accept message a peer. Heartbeats, read rounds and the check of the quorum are here too.
 */
import type { PeerProgress } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { Outbox } from '../raft/outbox.ts';
import { InflightWindow } from '../raft/progress.ts';
import { majority, reachedByMajority } from '../raft/quorum.ts';
import type { RaftSettings } from '../raft/settings.ts';
import { type Configuration, type Entry, NO_NODE, type NodeId } from '../types.ts';
import type { PaxosLog } from './log.ts';
import { PaxosProgress } from './progress.ts';
import { type Slot, slotBytes } from './slot.ts';

/** A snapshot under way counts as a sign of life for so many election timeouts, then only answers do. */
const SNAPSHOT_GRACE_ELECTIONS = 10;

const NOTHING: readonly never[] = Object.freeze([]);

export class PaxosReplication {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: PaxosLog;
  readonly #outbox: Outbox;
  /** All members but this node. */
  #peers: PaxosProgress[];
  readonly #byId: Map<NodeId, PaxosProgress>;
  #voterCount: number;
  #isVoter: boolean;
  readonly #scratch: number[];
  /** Something changed that may allow to send. */
  isDue: boolean;
  #snapshotsWanted: PeerMessage[];
  /** Peers in step get the same values: the last slice, shared between their messages. */
  #slice: readonly Entry[];
  #sliceBytes: number;

  constructor(id: NodeId, settings: RaftSettings, log: PaxosLog, outbox: Outbox) {
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#outbox = outbox;
    this.#peers = [];
    this.#byId = new Map();
    this.#voterCount = 0;
    this.#isVoter = false;
    this.#scratch = [];
    this.isDue = false;
    this.#snapshotsWanted = [];
    this.#slice = [];
    this.#sliceBytes = 0;
  }

  get hasSnapshotsWanted(): boolean {
    return this.#snapshotsWanted.length > 0;
  }

  progressOf(id: NodeId): PaxosProgress | undefined {
    return this.#byId.get(id);
  }

  configure(configuration: Configuration): void {
    this.#voterCount = configuration.voters.length;
    this.#isVoter = configuration.voters.includes(this.#id);
    const peers: PaxosProgress[] = [];
    for (const voter of configuration.voters) this.#keep(voter, true, peers);
    for (const learner of configuration.learners) this.#keep(learner, false, peers);
    this.#byId.clear();
    for (const peer of peers) this.#byId.set(peer.id, peer);
    this.#peers = peers;
    this.isDue = true;
  }

  #keep(id: NodeId, isVoter: boolean, peers: PaxosProgress[]): void {
    if (id === this.#id) return;
    let progress = this.#byId.get(id);
    if (progress === undefined) {
      const { maxInflightMessages, maxInflightBytes } = this.#settings;
      progress = new PaxosProgress(
        id,
        isVoter,
        new InflightWindow(maxInflightMessages, maxInflightBytes),
      );
      progress.reset(this.#log.commit + 1);
      // A newcomer gets one election timeout to answer before it counts as lost.
      progress.active = true;
    }
    progress.isVoter = isVoter;
    peers.push(progress);
  }

  /** A ballot of ours begins: everybody is sent what is not known to be chosen. */
  reset(): void {
    for (const peer of this.#peers) peer.reset(this.#log.commit + 1);
    this.#snapshotsWanted = [];
    this.isDue = true;
  }

  // Quorums

  /** Up to where a majority has accepted durably; `own` is this node. */
  matchedByMajority(own: number): number {
    let count = 0;
    if (this.#isVoter) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isVoter) this.#scratch[count++] = peer.match;
    return reachedByMajority(this.#scratch, count);
  }

  /** The newest read round that a majority answered; this node answers `own`. */
  readByMajority(own: number): number {
    let count = 0;
    if (this.#isVoter) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isVoter) this.#scratch[count++] = peer.readRound;
    return reachedByMajority(this.#scratch, count);
  }

  /** Whether a majority was heard from since the last call. */
  checkQuorum(): boolean {
    const grace = SNAPSHOT_GRACE_ELECTIONS * this.#settings.electionTicks;
    let active = this.#isVoter ? 1 : 0;
    for (const peer of this.#peers) {
      const isReceiving = peer.state === 'snapshot' && peer.snapshotTicks < grace;
      if (peer.isVoter && (peer.active || isReceiving)) active += 1;
      peer.active = false;
    }
    return active >= majority(this.#voterCount);
  }

  /** The voter that is heard from and has most: to hand over to. */
  successor(): NodeId {
    let best: PaxosProgress | undefined;
    for (const peer of this.#peers) {
      if (!peer.isVoter || !peer.active) continue;
      if (best === undefined || peer.match > best.match) best = peer;
    }
    return best?.id ?? NO_NODE;
  }

  // Sending

  /** Heartbeats to all. A peer is told only of what is chosen and it holds. */
  sendHeartbeats(ballot: number, round: number): void {
    for (const peer of this.#peers) {
      const heartbeat = draft(MessageType.heartbeat, this.#id, peer.id, ballot);
      heartbeat.commit = Math.min(peer.match, this.#log.commit);
      heartbeat.context = round;
      this.#outbox.send(heartbeat);
    }
  }

  tick(): void {
    for (const peer of this.#peers) peer.tick();
  }

  /** Sends each peer all that its state and window allow. */
  sendAll(ballot: number): void {
    this.isDue = false;
    for (const peer of this.#peers) this.#sendTo(peer, ballot);
    this.#slice = [];
  }

  #sendTo(peer: PaxosProgress, ballot: number): void {
    if (peer.state === 'snapshot' || (peer.state === 'probe' && peer.waiting)) return;
    if (peer.next <= this.#log.offset) {
      this.#wantSnapshot(peer, ballot);
      return;
    }
    if (peer.state === 'probe') {
      this.#sendAccept(peer, ballot, peer.next - 1, this.#valuesFrom(peer.next));
      peer.waiting = true;
      return;
    }
    while (peer.next <= this.#log.lastIndex && !peer.window.isFull) {
      const values = this.#valuesFrom(peer.next);
      peer.window.add(peer.next + values.length - 1, this.#sliceBytes);
      this.#sendAccept(peer, ballot, peer.next - 1, values);
      peer.next += values.length;
    }
    const tellable = Math.min(this.#log.commit, peer.next - 1);
    if (peer.verify || tellable > peer.sentCommit) {
      this.#sendAccept(peer, ballot, peer.next - 1, NOTHING);
    }
  }

  #sendAccept(peer: PaxosProgress, ballot: number, after: number, values: readonly Entry[]): void {
    const accept = draft(MessageType.accept, this.#id, peer.id, ballot);
    accept.index = after;
    accept.entries = values;
    accept.commit = this.#log.commit;
    this.#outbox.send(accept);
    peer.verify = false;
    peer.sentCommit = Math.max(peer.sentCommit, Math.min(accept.commit, after + values.length));
  }

  /** A leader's log has no holes. */
  #valuesFrom(from: number): readonly Entry[] {
    if (from > this.#log.lastIndex) return NOTHING;
    if (this.#slice.length > 0 && this.#slice[0]!.index === from) return this.#slice;
    const slots = this.#log.slice(from, this.#log.lastIndex, this.#settings.maxAppendBytes);
    let bytes = 0;
    for (const slot of slots) bytes += slotBytes(slot);
    this.#slice = slots.map((slot) => slot.value);
    this.#sliceBytes = bytes;
    return this.#slice;
  }

  /** Only to a peer that answers: a stream to a dead one would hold up its next try. */
  #wantSnapshot(peer: PaxosProgress, ballot: number): void {
    if (!peer.active) return;
    const message = draft(MessageType.snapshot, this.#id, peer.id, ballot);
    message.index = this.#log.snapshotIndex;
    message.logTerm = this.#log.snapshotTerm;
    message.commit = this.#log.commit;
    peer.sendSnapshot(message.index);
    this.#snapshotsWanted.push(message);
  }

  takeSnapshotsWanted(): readonly PeerMessage[] {
    if (this.#snapshotsWanted.length === 0) return NOTHING;
    const wanted = this.#snapshotsWanted;
    this.#snapshotsWanted = [];
    return wanted;
  }

  // Answers

  /** Returns whether the peer's match moved: a commit may follow. */
  onAccepted(peer: PaxosProgress, reply: PeerMessage): boolean {
    peer.active = true;
    if (reply.index > this.#log.lastIndex) return false;
    this.isDue = true;
    if (!reply.reject) return peer.acknowledge(reply.index, this.#log.firstIndex);
    this.#fillHole(peer, reply);
    return false;
  }

  /** The peer lacks what is between `index` and `hintIndex`: it is sent that alone if it fits one message. */
  #fillHole(peer: PaxosProgress, { index: after, hintIndex, term: ballot }: PeerMessage): void {
    if (!peer.mayRepair(after)) return;
    const to = Math.min(hintIndex, this.#log.lastIndex);
    const isInLog = after >= this.#log.offset && to > after;
    const slots =
      isInLog && peer.state === 'replicate'
        ? this.#log.slice(after + 1, to, this.#settings.maxAppendBytes)
        : NOTHING;
    if (slots.length > 0 && after + slots.length === to) {
      const values = slots.map((slot: Slot) => slot.value);
      this.#sendAccept(peer, ballot, after, values);
    } else peer.replicateFrom(after + 1);
    peer.repaired(after);
  }

  onHeartbeatReply(peer: PaxosProgress, reply: PeerMessage): void {
    peer.active = true;
    peer.waiting = false;
    if (reply.context > peer.readRound) peer.readRound = reply.context;
    if (peer.state === 'replicate' && peer.match < peer.next - 1) {
      peer.verify = peer.match === peer.matchAtBeat;
    }
    peer.matchAtBeat = peer.match;
    if (peer.state === 'probe' || peer.verify) this.isDue = true;
  }

  /** A message to the peer was lost: find out what it has, once it answers heartbeats again. */
  onUnreachable(id: NodeId): void {
    const peer = this.#byId.get(id);
    if (peer === undefined || peer.state === 'snapshot') return;
    if (peer.state === 'replicate') peer.probeFrom(peer.match + 1);
    peer.waiting = true;
  }

  /** The peer's log is gone: it starts as after an election. */
  onLost(id: NodeId): void {
    const peer = this.#byId.get(id);
    if (peer === undefined) return;
    peer.reset(this.#log.commit + 1);
    peer.active = true;
    this.isDue = true;
  }

  onSnapshotSent(id: NodeId, isInstalled: boolean): void {
    const peer = this.#byId.get(id);
    if (peer?.state !== 'snapshot') return;
    peer.probeFrom(isInstalled ? peer.snapshotIndex + 1 : peer.match + 1);
    // After a failure, wait for a sign of life instead of starting over at once.
    peer.waiting = !isInstalled;
    this.isDue = true;
  }

  status(): PeerProgress[] {
    return this.#peers.map(({ id, match, next, state, active }) => ({
      id,
      match,
      next,
      state,
      active,
    }));
  }
}
