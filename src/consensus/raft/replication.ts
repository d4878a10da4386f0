/**
 * The leader's side of log replication (Raft §5.3): which entries go to which peer, and what the
 * answers mean. Proposals only append to the log; `sendAll` runs once for each `take` and turns all
 * that has gathered into one append message a peer.
 */
import type { PeerProgress } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { type Configuration, type Entry, NO_NODE, type NodeId } from '../types.ts';
import { draft } from './draft.ts';
import { entryBytes, type RaftLog } from './log.ts';
import type { Outbox } from './outbox.ts';
import { InflightWindow, Progress } from './progress.ts';
import { majority, reachedByMajority } from './quorum.ts';
import type { RaftSettings } from './settings.ts';

/** A snapshot under way counts as a sign of life for so many election timeouts, then only answers do. */
const SNAPSHOT_GRACE_ELECTIONS = 10;

/** So many election timeouts a removed member has to hear of it. */
const DEPARTURE_ELECTIONS = 3;

const NOTHING: readonly never[] = Object.freeze([]);

export class Replication {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: RaftLog;
  readonly #outbox: Outbox;
  /** All members but this node, and for a while those that were removed. */
  #peers: Progress[];
  readonly #byId: Map<NodeId, Progress>;
  /** Whether this node votes; also among the voters that a joint configuration leaves. */
  #isVoter: boolean;
  #isOutgoing: boolean;
  #isJoint: boolean;
  /** Values of the voters, to find what a majority reached. */
  readonly #scratch: number[];
  /** Something changed that may allow to send. */
  isDue: boolean;
  #snapshotsWanted: PeerMessage[];
  /** Peers in step get the same entries: the last slice, shared between their messages. */
  #slice: readonly Entry[];
  #sliceBytes: number;

  constructor(id: NodeId, settings: RaftSettings, log: RaftLog, outbox: Outbox) {
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#outbox = outbox;
    this.#peers = [];
    this.#byId = new Map();
    this.#isVoter = false;
    this.#isOutgoing = false;
    this.#isJoint = false;
    this.#scratch = [];
    this.isDue = false;
    this.#snapshotsWanted = [];
    this.#slice = [];
    this.#sliceBytes = 0;
  }

  get hasSnapshotsWanted(): boolean {
    return this.#snapshotsWanted.length > 0;
  }

  progressOf(id: NodeId): Progress | undefined {
    return this.#byId.get(id);
  }

  /**
   * Members that stay keep their progress; new ones start as after an election. Those that left are
   * told so, if `isLeading`: each until it holds the log up to `index` and knows it is committed.
   */
  configure({ voters, learners, joint }: Configuration, isLeading: boolean): void {
    this.#isVoter = voters.includes(this.#id);
    this.#isOutgoing = joint?.outgoing.includes(this.#id) ?? false;
    this.#isJoint = joint !== undefined;
    const before = this.#peers;
    this.#peers = [];
    for (const peer of before) {
      peer.isVoter = false;
      peer.isOutgoing = false;
    }
    for (const id of voters) this.#keep(id, 'isVoter');
    for (const id of joint?.outgoing ?? []) this.#keep(id, 'isOutgoing');
    for (const id of learners) this.#keep(id, undefined);
    if (isLeading) for (const peer of before) this.#depart(peer);
    this.#byId.clear();
    for (const peer of this.#peers) this.#byId.set(peer.id, peer);
    this.isDue = true;
  }

  #keep(id: NodeId, vote: 'isVoter' | 'isOutgoing' | undefined): void {
    if (id === this.#id) return;
    let progress = this.#byId.get(id);
    if (progress === undefined) {
      const { maxInflightMessages, maxInflightBytes } = this.#settings;
      progress = new Progress(id, new InflightWindow(maxInflightMessages, maxInflightBytes));
      progress.reset(this.#log.lastIndex + 1);
      // A newcomer gets one election timeout to answer before it counts as lost.
      progress.active = true;
      this.#byId.set(id, progress);
    }
    if (vote !== undefined) progress[vote] = true;
    progress.departingTicks = 0;
    if (!this.#peers.includes(progress)) this.#peers.push(progress);
  }

  /** Raft §6: a server that does not hear of its removal goes on asking for votes. */
  #depart(peer: Progress): void {
    if (this.#peers.includes(peer)) return;
    peer.depart(this.#log.commit, DEPARTURE_ELECTIONS * this.#settings.electionTicks);
    this.#peers.push(peer);
  }

  /** Forgets those that left and were told, and those that had time enough to hear it. */
  #tickDepartures(): void {
    if (!this.#peers.some((peer) => peer.departingTicks > 0)) return;
    this.#peers = this.#peers.filter((peer) => {
      if (peer.departingTicks === 0) return true;
      peer.departingTicks -= 1;
      const isTold = Math.min(peer.match, peer.sentCommit) >= peer.departureIndex;
      if (peer.departingTicks > 0 && !isTold) return true;
      this.#byId.delete(peer.id);
      return false;
    });
  }

  /** Leadership begins (`lastIndex` before the leader's first entry) or ends: all is forgotten. */
  reset(): void {
    this.#peers = this.#peers.filter((peer) => peer.departingTicks === 0);
    this.#byId.clear();
    for (const peer of this.#peers) {
      this.#byId.set(peer.id, peer);
      peer.reset(this.#log.lastIndex + 1);
    }
    this.#snapshotsWanted = [];
    this.isDue = true;
  }

  // Quorums

  /** The newest entry that a quorum holds durably; `own` is what this node does. */
  matchedByQuorum(own: number): number {
    let count = 0;
    if (this.#isVoter) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isVoter) this.#scratch[count++] = peer.match;
    const incoming = reachedByMajority(this.#scratch, count);
    if (!this.#isJoint) return incoming;
    count = 0;
    if (this.#isOutgoing) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isOutgoing) this.#scratch[count++] = peer.match;
    return Math.min(incoming, reachedByMajority(this.#scratch, count));
  }

  /** The newest read round that a quorum answered; this node answers `own`. */
  readByMajority(own: number): number {
    let count = 0;
    if (this.#isVoter) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isVoter) this.#scratch[count++] = peer.readRound;
    const incoming = reachedByMajority(this.#scratch, count);
    if (!this.#isJoint) return incoming;
    count = 0;
    if (this.#isOutgoing) this.#scratch[count++] = own;
    for (const peer of this.#peers) if (peer.isOutgoing) this.#scratch[count++] = peer.readRound;
    return Math.min(incoming, reachedByMajority(this.#scratch, count));
  }

  /** Whether a quorum was heard from since the last call. */
  checkQuorum(): boolean {
    const grace = SNAPSHOT_GRACE_ELECTIONS * this.#settings.electionTicks;
    const incoming = { voters: this.#isVoter ? 1 : 0, active: this.#isVoter ? 1 : 0 };
    const outgoing = { voters: this.#isOutgoing ? 1 : 0, active: this.#isOutgoing ? 1 : 0 };
    for (const peer of this.#peers) {
      const isReceiving = peer.state === 'snapshot' && peer.snapshotTicks < grace;
      const active = peer.active || isReceiving ? 1 : 0;
      if (peer.isVoter) {
        incoming.voters += 1;
        incoming.active += active;
      }
      if (peer.isOutgoing) {
        outgoing.voters += 1;
        outgoing.active += active;
      }
      peer.active = false;
    }
    const isHeard = incoming.active >= majority(incoming.voters);
    return isHeard && (!this.#isJoint || outgoing.active >= majority(outgoing.voters));
  }

  /** The voter with the longest log that answers, another one than `not` if there is one. */
  successor(not: NodeId): NodeId {
    let best: Progress | undefined;
    for (const peer of this.#peers) {
      if (!peer.isVoter || peer.state === 'snapshot') continue;
      const isBetter = best === undefined || best.id === not || peer.match > best.match;
      if (isBetter && (peer.id !== not || best === undefined)) best = peer;
    }
    return best?.id ?? NO_NODE;
  }

  // Sending

  /** Heartbeats to all. A peer is told only of commits that it holds. */
  sendHeartbeats(term: number, round: number): void {
    for (const peer of this.#peers) {
      const heartbeat = draft(MessageType.heartbeat, this.#id, peer.id, term);
      heartbeat.commit = Math.min(peer.match, this.#log.commit);
      heartbeat.context = round;
      this.#outbox.send(heartbeat);
    }
  }

  tick(): void {
    for (const peer of this.#peers) if (peer.state === 'snapshot') peer.snapshotTicks += 1;
    this.#tickDepartures();
  }

  /** Sends each peer all that its state and window allow. */
  sendAll(term: number): void {
    this.isDue = false;
    for (const peer of this.#peers) this.#sendTo(peer, term);
    this.#slice = [];
  }

  #sendTo(peer: Progress, term: number): void {
    if (peer.state === 'snapshot' || (peer.state === 'probe' && peer.waiting)) return;
    if (peer.next <= this.#log.offset) {
      this.#wantSnapshot(peer, term);
      return;
    }
    if (peer.state === 'probe') {
      const entries = peer.next <= this.#log.lastIndex ? this.#entriesFrom(peer.next) : [];
      this.#sendAppend(peer, term, entries);
      peer.waiting = true;
      return;
    }
    while (peer.next <= this.#log.lastIndex && !peer.window.isFull) {
      const entries = this.#entriesFrom(peer.next);
      peer.window.add(entries[entries.length - 1]!.index, this.#sliceBytes);
      this.#sendAppend(peer, term, entries);
      peer.next += entries.length;
    }
    const tellable = Math.min(this.#log.commit, peer.next - 1);
    if (peer.verify || tellable > peer.sentCommit) this.#sendAppend(peer, term, []);
  }

  #sendAppend(peer: Progress, term: number, entries: readonly Entry[]): void {
    const append = draft(MessageType.append, this.#id, peer.id, term);
    append.index = peer.next - 1;
    append.logTerm = this.#log.termAt(append.index);
    append.entries = entries;
    append.commit = this.#log.commit;
    this.#outbox.send(append);
    peer.verify = false;
    peer.sentCommit = Math.min(this.#log.commit, append.index + entries.length);
  }

  #entriesFrom(from: number): readonly Entry[] {
    if (this.#slice.length > 0 && this.#slice[0]!.index === from) return this.#slice;
    const entries = this.#log.slice(from, this.#log.lastIndex, this.#settings.maxAppendBytes);
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    this.#slice = entries;
    this.#sliceBytes = bytes;
    return entries;
  }

  /** Only to a peer that answers: a stream to a dead one would hold up its next try. */
  #wantSnapshot(peer: Progress, term: number): void {
    if (!peer.active || peer.departingTicks > 0) return;
    const message = draft(MessageType.snapshot, this.#id, peer.id, term);
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
  onAppendReply(peer: Progress, reply: PeerMessage): boolean {
    peer.active = true;
    if (reply.reject) {
      const { hintIndex, hintTerm } = reply;
      const hint = hintTerm > 0 ? this.#log.newestNotAfter(hintIndex, hintTerm) : hintIndex;
      if (peer.refuse(reply.index, hint)) this.isDue = true;
      return false;
    }
    // More than we have cannot be a match with our log: never count what we cannot check.
    if (reply.index > this.#log.lastIndex) return false;
    this.isDue = true;
    return peer.acknowledge(reply.index, this.#log.firstIndex);
  }

  onHeartbeatReply(peer: Progress, reply: PeerMessage): void {
    peer.active = true;
    peer.waiting = false;
    if (reply.context > peer.readRound) peer.readRound = reply.context;
    if (peer.state === 'replicate' && peer.match < this.#log.lastIndex) peer.verify = true;
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
    peer.reset(this.#log.lastIndex + 1);
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
    const members = this.#peers.filter((peer) => peer.departingTicks === 0);
    return members.map(({ id, match, next, state, active }) => ({
      id,
      match,
      next,
      state,
      active,
    }));
  }
}
