/**
 * Changes of the members: asked for here or by a follower, checked and proposed by the leader, applied by
 * every node at the same place of the log (Raft §6; thesis §4). Several changes at once pass through a
 * joint configuration, which the leader's core ends by itself.
 */
import { orAborted, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Core } from '../core.ts';
import type { Transport } from '../transport.ts';
import { type Entry, EntryType, NO_NODE, type NodeId } from '../types.ts';
import { refusalOf } from './change-checks.ts';
import { ChangeFates, type Fate, type Place } from './change-fates.ts';
import type { Placement } from './forwarding.ts';
import {
  encodeChange,
  type MemberChange,
  type MemberInfo,
  type MemberStep,
  type NewMember,
} from './member-change.ts';
import { type Members, memberId } from './members.ts';
import { PeerList } from './peer-list.ts';
import type { ReplicaSettings } from './settings.ts';

/** The call with which a follower hands a change of the members to the leader. */
export const CHANGE_MEMBERS = 'change-members';

/** The leader's answer to it. */
interface Answer {
  readonly placement?: Placement;
  readonly error?: Pick<QuorateError, 'code' | 'message' | 'retryable'>;
}

/** Most changes in one. */
const MAX_STEPS = 32;

/** The replica, as far as changes of members need it. */
export interface ReconfigurationContext {
  readonly id: NodeId;
  readonly core: Core;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly settings: ReplicaSettings;
  readonly members: Members;
  /** Newest entry that is applied. */
  readonly applied: () => Place;
  /** Whom this node takes for the leader. */
  readonly leader: () => NodeId;
  /** Leads, and has applied all that earlier leaders committed. */
  readonly isLeading: () => boolean;
  readonly isStarted: ((member: NodeId) => boolean) | undefined;
  readonly isOnProbation: ((member: NodeId) => boolean) | undefined;
  /** Throws once the replica has stopped. */
  readonly requireRunning: () => void;
  /** The core was changed: run the loop. */
  readonly wake: () => void;
}

export class Reconfiguration {
  readonly #context: ReconfigurationContext;
  readonly #fates: ChangeFates;
  readonly #peerList: PeerList;
  /** Those that try again on the next tick. */
  #pausing: (() => void)[] = [];
  #isListDue = false;
  /** Where this node as leader proposed a change last. */
  #newest: Place = { index: 0, term: 0 };

  constructor(context: ReconfigurationContext) {
    this.#context = context;
    this.#fates = new ChangeFates(context.applied().index);
    const { id, members, transport, settings } = context;
    this.#peerList = new PeerList(id, members, transport, settings);
  }

  // ---- asked for here ----------------------------------------------------------------------

  async change(
    changes: readonly MemberChange[],
    options: WaitOptions,
  ): Promise<readonly MemberInfo[]> {
    throwIfAborted(options.signal);
    this.#context.requireRunning();
    const steps = stepsOf(changes, this.#context.clock.wallNow());
    return orAborted(this.#carryOut(steps, options.signal), options.signal);
  }

  async #carryOut(
    steps: readonly MemberStep[],
    signal: AbortSignal | undefined,
  ): Promise<readonly MemberInfo[]> {
    const { clock, settings, members } = this.#context;
    const deadline = clock.now() + settings.requestTimeoutMs;
    let hindrance: Placement = 'no-leader';
    while (clock.now() < deadline) {
      const placement = await this.#place(steps);
      throwIfAborted(signal);
      if (typeof placement === 'string') {
        hindrance = placement;
        await this.#nextTick();
        continue;
      }
      const fate = await this.#fates.of(
        placement,
        this.#context.applied(),
        members.isJoint,
        deadline,
      );
      if (fate === 'applied') return members.list();
      this.#judge(fate);
    }
    throw hindrance === 'no-leader' || hindrance === 'not-leader'
      ? new QuorateError('ERR_NO_LEADER', 'no leader took the change of members in time', {
          retryable: true,
        })
      : new QuorateError('ERR_BUSY', 'another change of the members is under way', {
          retryable: true,
        });
  }

  /** Returns where the change may be proposed again. */
  #judge(fate: Fate): void {
    if (fate === 'lost') return;
    if (typeof fate === 'object') throw fate.refused;
    throw new QuorateError(
      'ERR_TIMEOUT',
      'the change of members was proposed, and did not end in time: it may have happened, or may still; list the members',
      { outcome: 'unknown' },
    );
  }

  async #place(steps: readonly MemberStep[]): Promise<Placement> {
    const { id, leader, requireRunning } = this.#context;
    requireRunning();
    const to = leader();
    if (to === NO_NODE) return 'no-leader';
    return to === id ? this.#propose(steps) : this.#forward(to, steps);
  }

  async #forward(to: NodeId, steps: readonly MemberStep[]): Promise<Placement> {
    const { transport, settings } = this.#context;
    let reply: Uint8Array;
    try {
      const payload = Buffer.from(JSON.stringify(steps));
      reply = await transport.call(to, CHANGE_MEMBERS, payload, settings.requestTimeoutMs);
    } catch (cause) {
      // It never got there: asked again.
      if (isQuorateError(cause) && cause.outcome === 'not-applied') return 'no-leader';
      throw new QuorateError(
        'ERR_TIMEOUT',
        `the leader ${to} did not answer in time: the change may have happened, or may still; list the members`,
        { outcome: 'unknown', cause },
      );
    }
    const { placement, error } = JSON.parse(Buffer.from(reply).toString('utf8')) as Answer;
    if (error === undefined) return placement ?? 'not-leader';
    throw new QuorateError(error.code, error.message, { retryable: error.retryable });
  }

  #nextTick(): Promise<void> {
    this.#context.requireRunning();
    return new Promise((resolve) => this.#pausing.push(resolve));
  }

  // ---- as leader ---------------------------------------------------------------------------

  /** A follower's change: answers where it went, or why it is not done. */
  answer(payload: Uint8Array): Uint8Array {
    let answer: Answer;
    try {
      const asked = JSON.parse(Buffer.from(payload).toString('utf8')) as MemberChange[];
      // An entry that cannot be read would stop every node: nobody is trusted with that.
      const steps = stepsOf(asked, 0);
      answer = { placement: this.#propose(steps) };
    } catch (error) {
      if (!isQuorateError(error) || error.outcome !== 'not-applied') throw error;
      const { code, message, retryable } = error;
      answer = { error: { code, message, retryable } };
    }
    return Buffer.from(JSON.stringify(answer));
  }

  #propose(steps: readonly MemberStep[]): Placement {
    const { id, core, members, transport, applied, isLeading, wake } = this.#context;
    const { isStarted, isOnProbation = () => false } = this.#context;
    const status = core.status();
    if (status.hasFixedMembers === true) throw fixedMembers();
    if (status.role !== 'leader') return 'not-leader';
    // What is checked must be what is in force when the change is.
    const isUnderWay = this.#newest.term === status.term && this.#newest.index > applied().index;
    if (!isLeading() || members.isJoint || isUnderWay) return 'changing';
    const connected = new Set<NodeId>([id]);
    for (const peer of transport.peers()) if (peer.connected) connected.add(peer.id);
    const refusal = refusalOf(steps, {
      members,
      status,
      isStarted: isStarted ?? ((member) => members.get(member)?.name !== ''),
      isConnected: (member) => connected.has(member),
      isOnProbation,
    });
    if (refusal !== undefined) throw refusal;
    const { type, data } = encodeChange(steps);
    const placement = core.proposeChange(type, data);
    if (typeof placement === 'string') return placement;
    this.#newest = placement;
    wake();
    return placement;
  }

  // ---- in the loop -------------------------------------------------------------------------

  /** An entry was applied. Returns whether it was a change of the members. */
  applied(entry: Entry): boolean {
    if (entry.type !== EntryType.configChange && entry.type !== EntryType.configChangeV2) {
      if (this.#fates.isWaiting) this.#fates.passed(entry);
      return false;
    }
    const { core, members } = this.#context;
    const refusal = members.apply(entry);
    core.configure(members.configuration());
    this.#fates.changed(entry, refusal, members.isJoint);
    this.#isListDue = true;
    return true;
  }

  /** The members of a snapshot are in force. */
  restored(index: number): void {
    const { core, members } = this.#context;
    if (members.list().length === 0) return;
    core.configure(members.configuration());
    this.#fates.skippedTo(index, members.isJoint);
    this.#isListDue = true;
  }

  /** At the end of a turn: the transport hears of new members once. */
  tellTransport(): void {
    if (!this.#isListDue) return;
    this.#isListDue = false;
    this.#peerList.changed();
  }

  /** Whom to tell once all that the core wants written by now is durable. */
  takeSettling(): ((error: Error | undefined) => void) | undefined {
    return this.#fates.takeSettling();
  }

  /** Returns whether this node was removed, and the others had time to go on without it. */
  tick(isLeading: boolean): boolean {
    this.#fates.expire(this.#context.clock.now());
    for (const resume of this.#pausing.splice(0)) resume();
    return this.#peerList.tick(isLeading);
  }

  /** The replica stops. */
  end(): void {
    this.#fates.end();
    for (const resume of this.#pausing.splice(0)) resume();
  }
}

function stepsOf(changes: readonly MemberChange[], wallNow: number): MemberStep[] {
  if (!Array.isArray(changes) || changes.length === 0 || changes.length > MAX_STEPS) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', `changes: 1 to ${MAX_STEPS} are needed`);
  }
  const steps = changes.map((change) => stepOf(change, wallNow));
  const ids = steps.map((step) => (step.kind === 'add' ? step.member.id : step.id));
  if (new Set(ids).size < ids.length) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', 'changes: each member at most once');
  }
  return steps;
}

const KINDS: readonly string[] = ['add', 'promote', 'demote', 'remove', 'update'];

function stepOf(change: MemberChange, wallNow: number): MemberStep {
  if (!KINDS.includes(change?.kind)) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', `changes: kind must be one of ${KINDS.join()}`);
  }
  if (change.kind !== 'add') {
    requireId(change.id);
    return change.kind === 'update' ? { ...change, peerUrls: peerUrlsOf(change.peerUrls) } : change;
  }
  const member: Partial<NewMember> = change.member ?? {};
  const peerUrls = peerUrlsOf(member.peerUrls ?? []);
  const id = member.id ?? memberId(peerUrls, '', String(Math.floor(wallNow)));
  requireId(id);
  const name = String(member.name ?? '');
  return { kind: 'add', member: { id, name, peerUrls, learner: member.learner === true } };
}

function requireId(id: NodeId): void {
  if (/^[0-9a-f]{16}$/.test(id) && !/^0+$/.test(id)) return;
  throw new QuorateError('ERR_INVALID_ARGUMENT', `'${id}' is no member id: 16 hex digits`);
}

function peerUrlsOf(urls: readonly string[]): string[] {
  const isList = Array.isArray(urls) && urls.length > 0;
  if (isList && urls.every(isPeerUrl)) return [...new Set(urls)].sort();
  const bad = isList ? urls.find((url) => !isPeerUrl(url)) : '';
  throw new QuorateError(
    'ERR_BAD_PEER_URLS',
    `'${bad}' is no peer URL; use http://HOST:PORT or https://HOST:PORT`,
  );
}

function isPeerUrl(url: unknown): boolean {
  return typeof url === 'string' && /^https?:\/\/[^/?#@\s]+:\d+$/.test(url) && URL.canParse(url);
}

function fixedMembers(): QuorateError {
  return new QuorateError(
    'ERR_UNSUPPORTED',
    "the members of a cluster that runs Paxos cannot be changed; one with consensus 'raft' can",
  );
}
