/**
 * The operator who changes who belongs to the cluster, while everything else goes wrong: adds nodes
 * that join, promotes them, removes members (the leader too), swaps two at once by joint consensus.
 * Requests go to any node; two may conflict. A request without an answer may have been carried out.
 */

import type { MemberChange } from '../../consensus/replica/member-change.ts';
import type { MemberInfo } from '../../consensus/replica/members.ts';
import type { NodeId } from '../../consensus/types.ts';
import { isQuorateError } from '../../core/errors.ts';
import type { Atlas } from './atlas.ts';
import type { Seat } from './cluster.ts';
import { pick } from './draw.ts';
import type { SimulationContext } from './parts.ts';
import { weatherValue } from './weather.ts';

/** Seats that a run may have, those that were removed included. */
const MAX_SEATS = 12;
/** A removed node stays for a while: it must not disturb the others. */
const LINGER_MS = 2000;
/** The members are asked for again. */
const RETRY_MS = 100;

/** What the operator is told of the nodes. */
export interface MembershipView {
  readonly atlas: Atlas;
  /** Of the node that runs on this seat, or ran last. */
  idOf(seat: number): NodeId | undefined;
  /** The disk of this seat was emptied, so that its node is another one. */
  forget(seat: number): void;
  /** The newest leader's log has no change of the members that may still come into force. */
  readonly properties: { readonly areMembersDecided: boolean };
}

export class Membership {
  readonly #context: SimulationContext;
  readonly #view: MembershipView;
  /** The seat that leads. */
  readonly #leader: () => Seat | undefined;
  /** Seats that were asked to be members and have not been started. */
  readonly #waiting: Set<number>;
  /** Seats whose node was a member, was removed, and is another member now. */
  readonly #again: Set<number>;
  /** Seats that are members no more, and never will be again. */
  readonly gone: Set<number>;
  /** Requests that wait for their answers. */
  pending: number;
  /** Until when a leader may get a request for whose answer nobody waits any more. */
  #inDoubtUntilMs: number;
  /** As `settled` found them last. */
  #members: readonly MemberInfo[];

  constructor(context: SimulationContext, view: MembershipView, leader: () => Seat | undefined) {
    this.#context = context;
    this.#view = view;
    this.#leader = leader;
    this.#waiting = new Set();
    this.#again = new Set();
    this.gone = new Set();
    this.pending = 0;
    this.#inDoubtUntilMs = 0;
    this.#members = [];
  }

  /** Adds a node on a new seat, and starts it unless that was surely refused. */
  add(learner: boolean): void {
    const seat = this.#newSeat();
    if (seat === undefined) return;
    const change: MemberChange = { kind: 'add', member: { peerUrls: [seat.peerUrl], learner } };
    this.#change(
      'member-add',
      () => [change],
      (isDone) => {
        if (isDone) this.#join(seat);
      },
    );
  }

  /** A seat whose node is to join; `undefined` where there are too many. */
  #newSeat(): Seat | undefined {
    const { cluster } = this.#context;
    const waiting = [...this.#waiting][0];
    if (waiting === undefined && cluster.seats.length >= MAX_SEATS) return undefined;
    const seat = waiting === undefined ? cluster.join() : cluster.seats[waiting]!;
    this.#waiting.add(seat.number);
    this.#view.atlas.mayStop.add(seat.number);
    return seat;
  }

  /** In one step, by joint consensus: the member on this seat goes, and a new one that still has to join votes. */
  replace(seat: Seat): void {
    const added = this.#newSeat();
    if (added === undefined) return;
    this.#change(
      'member-replace',
      (members) => {
        const member = members.find(({ peerUrls }) => peerUrls[0] === seat.peerUrl);
        if (member === undefined) return undefined;
        return [
          { kind: 'add', member: { peerUrls: [added.peerUrl] } },
          { kind: 'remove', id: member.id },
        ];
      },
      (isDone) => {
        if (isDone) this.#join(added);
        this.#removed(seat, isDone);
      },
    );
  }

  promote(): void {
    this.#change('member-promote', (members) => {
      const learner = members.find((member) => member.learner);
      return learner === undefined ? undefined : [{ kind: 'promote', id: learner.id }];
    });
  }

  /** Says again where the member on this seat is, a learner if there is one: nothing else may change. */
  update(seat: Seat): void {
    this.#change('member-update', (members) => {
      const isThere = ({ peerUrls }: MemberInfo): boolean => peerUrls[0] === seat.peerUrl;
      const member = members.find(({ learner }) => learner) ?? members.find(isThere);
      if (member === undefined) return undefined;
      return [{ kind: 'update', id: member.id, peerUrls: member.peerUrls }];
    });
  }

  /** Removes the member on this seat. */
  remove(seat: Seat): void {
    this.#change(
      'member-remove',
      (members) => {
        const member = members.find(({ peerUrls }) => peerUrls[0] === seat.peerUrl);
        return member === undefined ? undefined : [{ kind: 'remove', id: member.id }];
      },
      (isDone) => this.#removed(seat, isDone),
    );
  }

  /** The voter on this seat goes and a learner takes its place, or it becomes a learner. */
  swap(seat: Seat): void {
    this.#change(
      'member-swap',
      (members) => {
        const voter = members.find(({ peerUrls }) => peerUrls[0] === seat.peerUrl);
        if (voter === undefined || voter.learner) return undefined;
        const learner = members.find((member) => member.learner);
        if (learner === undefined) return [{ kind: 'demote', id: voter.id }];
        return [
          { kind: 'promote', id: learner.id },
          { kind: 'remove', id: voter.id },
        ];
      },
      (isDone) => this.#removed(seat, isDone),
    );
  }

  /**
   * The seats of the members, when no change of them is under way any more: one that was answered with
   * 'unknown' may be in a log still, and those whom a joint configuration is about to leave are members until
   * it ends. Starts who is missing, meanwhile too, since a change may wait for it; ends who was removed.
   * Rejects where that takes too long.
   */
  async settled(withinMs = Number.POSITIVE_INFINITY): Promise<readonly Seat[]> {
    const { cluster, world } = this.#context;
    const untilMs = world.nowMs + withinMs;
    for (;;) {
      const members = await this.#list();
      if (members !== undefined && this.#startMissing(members) && this.#isCurrent(members)) {
        this.#members = members;
        const urls = new Set(members.map(({ peerUrls }) => peerUrls[0]));
        for (const seat of cluster.seats) if (!urls.has(seat.peerUrl)) this.#retire(seat);
        return cluster.seats.filter((seat) => urls.has(seat.peerUrl));
      }
      if (world.nowMs > untilMs) {
        throw new Error(`not within ${withinMs} ms: every change of members is in force or lost`);
      }
      await new Promise<void>((resolve) => void world.after(RETRY_MS, resolve));
    }
  }

  /** What `settled` found holds still; for all that is known while nobody leads. */
  get isSettled(): boolean {
    return this.#leader() === undefined || this.#isCurrent(this.#members);
  }

  /** Whether a leader has these members, and no change of them is to come. */
  #isCurrent(members: readonly MemberInfo[]): boolean {
    const known = this.#leader()?.life?.node?.members();
    if (known === undefined || this.#context.world.nowMs < this.#inDoubtUntilMs) return false;
    return this.#view.properties.areMembersDecided && idsOf(known) === idsOf(members);
  }

  /** Starts the members that do not run yet. Returns whether nobody has to be waited for. */
  #startMissing(members: readonly MemberInfo[]): boolean {
    let isDone = true;
    for (const { id, peerUrls } of members) {
      const seat = this.#context.cluster.seats.find(({ peerUrl }) => peerUrl === peerUrls[0])!;
      const own = this.#view.idOf(seat.number);
      if (seat.lives === 0) this.#join(seat);
      else if (own !== undefined && own !== id) this.#joinAgain(seat);
      // A member that lags behind may have told it the id of the one before.
      if (this.#again.has(seat.number) && own !== id) isDone = false;
    }
    return isDone;
  }

  /** Removed, and added once more at the same place: the new member must find nothing of the one before it. */
  #joinAgain(seat: Seat): void {
    const { cluster, world } = this.#context;
    this.#again.add(seat.number);
    if (seat.life?.state === 'stopping') return;
    world.reach('member-came-again');
    cluster.kill(seat);
    cluster.wipe(seat);
    this.#view.forget(seat.number);
    this.gone.delete(seat.number);
    cluster.start(seat);
  }

  #join(seat: Seat): void {
    this.#waiting.delete(seat.number);
    if (seat.lives === 0) this.#context.cluster.start(seat);
  }

  /** A member that is gone is switched off after a while: until then it must not disturb the others. */
  #removed(seat: Seat, isDone: boolean): void {
    const { world } = this.#context;
    if (!isDone) return;
    world.after(LINGER_MS, () => void this.#endIfRemoved(seat));
  }

  async #endIfRemoved(seat: Seat): Promise<void> {
    const members = await this.#list();
    if (members === undefined) {
      // Whoever was asked was removed itself, or has no leader now.
      this.#context.world.after(LINGER_MS, () => void this.#endIfRemoved(seat));
      return;
    }
    if (!members.some(({ peerUrls }) => peerUrls[0] === seat.peerUrl)) this.#retire(seat);
  }

  #retire(seat: Seat): void {
    if (seat.lives === 0) return;
    this.gone.add(seat.number);
    this.#context.cluster.kill(seat);
  }

  #anyone(): Seat | undefined {
    const { cluster, world } = this.#context;
    const { running } = cluster;
    if (running.length === 0) return undefined;
    const random = world.random(`operator/${world.events}`);
    return cluster.seats[pick(random, running).seat];
  }

  /** Sends what `choose` makes of the members through any node; `done`: it was, or may have been, carried out. */
  #change(
    kind: string,
    choose: (members: readonly MemberInfo[]) => readonly MemberChange[] | undefined,
    done: (isDone: boolean) => void = () => undefined,
  ): void {
    const { world } = this.#context;
    const life = this.#anyone()?.life;
    const changes = choose(life?.node?.members() ?? []);
    if (life === undefined || changes === undefined) return;
    for (const change of changes) this.#expectEnd(life.node!.members(), change);
    world.fault(kind);
    this.pending += 1;
    life
      .call((node) => node.changeMembers(changes))
      .then(
        () => {
          this.pending -= 1;
          world.reach(`${kind}-done`);
          done(true);
        },
        (error) => {
          this.pending -= 1;
          const isOrderly = isQuorateError(error) && error.code !== 'ERR_INTERNAL';
          if (isQuorateError(error, 'ERR_LEARNER_NOT_READY')) world.reach('learner-refused');
          const isInDoubt = !isOrderly || error.outcome === 'unknown';
          if (isInDoubt) this.#inDoubtUntilMs = world.nowMs + this.#requestMs;
          if (!isOrderly) world.violate('unexpected-error', `${kind}: ${String(error)}`);
          done(isInDoubt);
        },
      );
  }

  get #requestMs(): number {
    return weatherValue(this.#context.story.weather, 'requestTimeoutMs');
  }

  /** A node that is removed stops as soon as it hears of it. */
  #expectEnd(members: readonly MemberInfo[], change: MemberChange): void {
    if (change.kind !== 'remove') return;
    const url = members.find(({ id }) => id === change.id)?.peerUrls[0];
    const seat = this.#context.cluster.seats.find(({ peerUrl }) => peerUrl === url);
    if (seat !== undefined) this.#view.atlas.mayStop.add(seat.number);
  }

  /** The members as a majority knows them. */
  async #list(): Promise<readonly MemberInfo[] | undefined> {
    try {
      return await this.#anyone()?.life?.call(async (node) => {
        await node.backend.memberList({ linearizable: true });
        return node.members();
      });
    } catch {
      return undefined;
    }
  }
}

function idsOf(members: readonly MemberInfo[]): string {
  return members.map(({ id }) => id).join();
}
