/** The checks of one life of one node: what its core takes in and puts out, in order. */
import type { Core, CoreStatus, Effects } from '../../../consensus/core.ts';
import { decodeChange } from '../../../consensus/replica/member-change.ts';
import {
  type Configuration,
  type Entry,
  EntryType,
  type HardState,
  type NodeId,
  type Persist,
  type SnapshotMetadata,
} from '../../../consensus/types.ts';
import type { World } from '../types.ts';
import type { Chosen } from './chosen.ts';
import type { EntryNames } from './entry-names.ts';
import type { CoreObserver } from './observed-core.ts';
import { follows, isQuorum, text, whyNotNext, without } from './quorum-rules.ts';
import type { RarePaths } from './rare-paths.ts';
import type { SeatLog } from './seat-log.ts';

/** What lives share: all of the run that outlasts them. */
export interface SharedChecks {
  readonly world: World;
  readonly consensus: 'raft' | 'paxos';
  readonly chosen: Chosen;
  readonly names: EntryNames;
  readonly paths: RarePaths;
  seat(id: NodeId): SeatLog;
  /** A node has become leader of `term`. */
  leads(id: NodeId, term: number): void;
  /** The leader of `term`, whose log is `log`, counts the entries from `first` to `last` as committed. */
  counted(log: readonly number[], first: number, last: number, term: number): void;
  /** A node hands out an entry. */
  handedOut(id: NodeId, entry: Entry): void;
  /** A node has applied exactly `index`; `hash` is called where its state is to be compared. */
  applied(id: NodeId, index: number, hash: () => Promise<number>): void;
  violate(property: string, message: string): void;
}

export class LifeCheck implements CoreObserver {
  readonly seat: SeatLog;
  readonly #checks: SharedChecks;
  readonly #core: Core;
  /** For each read asked: the newest entry that anyone had handed out by then, and which take it was before. */
  readonly #reads: Map<number, { readonly least: number; readonly take: number }>;
  #takes: number;
  /** The process is gone. */
  isOver: boolean;
  /** The term in which it leads now; 0 while it does not. */
  leaderTerm: number;
  /** Hashes the state as it is now, once the node is open. */
  hash: (() => Promise<number>) | undefined;
  #term: number;
  #commit: number;
  #handedOut: number;
  #installing: boolean;
  #configuration: Configuration | undefined;
  /** The next configuration need not follow from the last one: a start, or a snapshot. */
  #isFirstConfiguration: boolean;
  /** Changes of the members that were handed out and are not in force yet. */
  #changes: Entry[];
  /** Before the last of them that is in force: by whom entries up to here may have been counted. */
  #earlier: { readonly configuration: Configuration; readonly upTo: number } | undefined;
  /** Where the log ended when the node that leads this term was no voter any more. */
  #left: { readonly term: number; readonly lastIndex: number };

  constructor(checks: SharedChecks, seat: SeatLog, core: Core, handedOut: number) {
    const { term, commit } = core.status();
    this.seat = seat;
    this.#checks = checks;
    this.#core = core;
    this.#reads = new Map();
    this.#takes = 0;
    this.isOver = false;
    this.leaderTerm = 0;
    this.hash = undefined;
    this.#term = term;
    this.#commit = commit;
    this.#handedOut = handedOut;
    this.#installing = false;
    this.#configuration = undefined;
    this.#isFirstConfiguration = true;
    this.#changes = [];
    this.#earlier = undefined;
    this.#left = { term: 0, lastIndex: 0 };
  }

  /** A change of the members is in its log and not in force, or is half done. */
  get hasOpenChange(): boolean {
    const { changes = [] } = this.#core.status();
    return changes.length > 0 || this.#configuration?.joint !== undefined;
  }

  took(effects: Effects): void {
    if (this.isOver) return;
    this.#takes += 1;
    const { persist, committed, reads, droppedReads, stateChanged, install } = effects;
    if (install !== undefined) this.#installing = true;
    if (persist !== undefined) this.#checkWrite(persist);
    if (stateChanged || persist !== undefined || committed.length > 0) {
      this.#checkStatus(this.#core.status(), committed);
    }
    for (const entry of committed) this.#checkHandedOut(entry);
    for (const { context, index } of reads) this.#checkRead(context, index);
    for (const context of droppedReads) this.#reads.delete(context);
    this.#checks.paths.took(this.seat, effects);
  }

  persisted(sequence: number): void {
    if (!this.isOver) this.seat.complete(sequence);
  }

  applied(index: number): void {
    if (!this.isOver && this.hash !== undefined) {
      this.#checks.applied(this.seat.id, index, this.hash);
    }
  }

  readAsked(context: number): void {
    if (this.isOver) return;
    this.#reads.set(context, { least: this.#checks.chosen.lastIndex, take: this.#takes });
  }

  installed({ index, term }: SnapshotMetadata): void {
    if (this.isOver) return;
    const { chosen } = this.#checks;
    if (chosen.terms[index] !== term) {
      this.#violate(
        'state-machine-safety',
        `installed a snapshot at ${index} of term ${term}; chosen there is term ${chosen.terms[index]}`,
      );
    }
    if (index < this.#handedOut) {
      this.#violate(
        'commit-regressed',
        `installed a snapshot at ${index} after it had handed out ${this.#handedOut}`,
      );
    }
    this.seat.install(index, term, chosen);
    this.#handedOut = index;
    this.#commit = Math.max(this.#commit, index);
    this.#installing = false;
    this.#isFirstConfiguration = true;
    this.#changes = [];
  }

  snapshotSent(ok: boolean): void {
    if (!ok) this.#checks.paths.snapshotAborted();
  }

  configured(configuration: Configuration): void {
    if (this.isOver) return;
    const before = this.#configuration;
    const change = this.#changes.shift();
    this.#configuration = configuration;
    this.#checks.paths.configured(before, configuration);
    this.#noteLeaving(configuration);
    if (before !== undefined && change !== undefined) this.#noteEarlier(before);
    if (before === undefined || this.#isFirstConfiguration) {
      this.#isFirstConfiguration = false;
      return;
    }
    const why = whyNotNext(before, configuration);
    // A node on probation leaves itself out, and counts itself in at the end of it.
    const { id } = this.seat;
    const isOwn = whyNotNext(without(id, before), without(id, configuration)) === undefined;
    if (why !== undefined && !isOwn) this.#violate('configuration', why);
    else if (change !== undefined) this.#checkOutcome(change, before, configuration);
  }

  /** Members are in force when applied: what a leader had counted by then, the old ones counted (decision 9). */
  #noteEarlier(configuration: Configuration): void {
    const { role, commit } = this.#core.status();
    // How far the leader had counted when the change was in force there, a follower cannot know.
    this.#earlier = { configuration, upTo: role === 'leader' ? commit : Number.POSITIVE_INFINITY };
  }

  /** A change does what it says, or nothing. */
  #checkOutcome(entry: Entry, before: Configuration, next: Configuration): void {
    const { id } = this.seat;
    const change = decodeChange(entry);
    if (follows(change, before, next, id)) return;
    const kinds = change.steps.map(({ kind }) => kind);
    this.#violate(
      'configuration',
      `entry ${entry.index} (${change.transition}: ${kinds}) made ${text(next)} of ${text(before)}`,
    );
  }

  /** A leader that is no voter any more takes nothing new (thesis §4.2.2). */
  #noteLeaving({ voters, joint }: Configuration): void {
    const { id } = this.seat;
    const isVoter = voters.includes(id) || joint?.outgoing.includes(id) === true;
    const { lastIndex } = this.#core.status();
    if (isVoter) this.#left = { term: 0, lastIndex: 0 };
    else if (this.leaderTerm !== this.#left.term) this.#left = { term: this.leaderTerm, lastIndex };
  }

  /**
   * The leader of `term` counts an entry, of `entryTerm`, as committed. A leader of a later term must have it (Raft
   * §5.4.3). One of a term between these two need not: it may have been elected before a majority held the entry.
   */
  newlyCounted(index: number, entryTerm: number | undefined, term: number): void {
    if (this.isOver || this.leaderTerm <= term || this.seat.terms[index] === entryTerm) return;
    this.#violate(
      'leader-completeness',
      `leads in term ${this.leaderTerm} without entry ${index} of term ${entryTerm}, committed in term ${term}`,
    );
  }

  // ---- one take --------------------------------------------------------------------------------

  #checkWrite(write: Persist & { readonly sequence: number }): void {
    const { seat } = this;
    const { hardState, entries } = write;
    if (hardState !== undefined && hardState.term < (seat.hardState?.term ?? 0)) {
      this.#violate(
        'term-regressed',
        `writes term ${hardState.term} after term ${seat.hardState?.term}`,
      );
    }
    const vote = hardState === undefined ? undefined : seat.votes.get(hardState.term);
    // A node that lost its disk may not know of its vote, and then must not give another one; what it
    // found as its own at its last start, it has not given to anybody.
    const isLost =
      seat.hasLostVotes && (hardState?.vote === '' || isSame(hardState, seat.hardState));
    const isKept = hardState?.vote === vote || isLost;
    // A ballot has one owner: who it was promised to says nothing more.
    if (vote !== undefined && !isKept && this.#checks.consensus === 'raft') {
      this.#violate(
        'one-vote',
        `voted for ${vote} in term ${hardState!.term}, now for '${hardState!.vote}'`,
      );
    }
    const first = entries[0]?.index;
    if (first !== undefined) this.#checkCut(first);
    if (this.#checks.consensus === 'raft') this.#checkNames(entries);
    const { term, lastIndex } = this.#left;
    const newest = entries.at(-1);
    // An entry of that term can be of no other leader.
    if (newest !== undefined && newest.term === term && newest.index > lastIndex) {
      this.#violate('removed-leader', `leads in term ${term}, is no voter, and takes new entries`);
    }
    const wrong = seat.ask(write);
    if (wrong !== undefined) this.#violate('log-matching', wrong);
  }

  #checkCut(first: number): void {
    const { terms } = this.seat;
    if (first >= terms.length || this.#checks.consensus !== 'raft') return;
    this.#checks.world.reach('log-truncated');
    if (this.leaderTerm !== 0 && this.leaderTerm === this.#core.status().term) {
      this.#violate(
        'leader-append-only',
        `leads in term ${this.leaderTerm} and overwrites its log from entry ${first} on, of ${terms.length - 1}`,
      );
    }
    if (first <= this.#handedOut) {
      this.#violate(
        'state-machine-safety',
        `cuts its log before entry ${first} after it has handed out ${this.#handedOut}`,
      );
    }
  }

  #checkNames(entries: readonly Entry[]): void {
    const { terms } = this.seat;
    const { names, chosen } = this.#checks;
    const first = entries[0]?.index ?? Number.POSITIVE_INFINITY;
    // What is written takes the place of what was there.
    if (this.seat.openChange >= first) this.seat.openChange = 0;
    let termBefore =
      terms[(entries[0]?.index ?? 0) - 1] ?? chosen.terms[(entries[0]?.index ?? 0) - 1] ?? 0;
    for (const entry of entries) {
      const wrong = names.check(entry, termBefore);
      if (wrong !== undefined) this.#violate('log-matching', wrong);
      if (entry.term < termBefore) {
        this.#violate('log-matching', `entry ${entry.index}: terms fall within the log`);
      }
      termBefore = entry.term;
      if (entry.type !== EntryType.normal) this.#checkChange(entry, first);
    }
  }

  /** At most one change of the configuration is beyond what was chosen (thesis §4.1). */
  #checkChange(entry: Entry, first: number): void {
    const { chosen, paths } = this.#checks;
    paths.changeAppended(entry);
    if (entry.index <= chosen.lastIndex) return;
    const open = this.seat.openChange;
    const isThere = open >= first || this.seat.terms[open] !== undefined;
    if (open > chosen.lastIndex && open < entry.index && isThere) {
      this.#violate(
        'configuration',
        `entry ${entry.index} changes the configuration while the change at ${open} is not committed`,
      );
    }
    this.seat.openChange = entry.index;
  }

  #checkStatus(status: CoreStatus, committed: readonly Entry[]): void {
    const { term, commit, role } = status;
    if (term < this.#term) {
      this.#violate('term-regressed', `its term fell from ${this.#term} to ${term}`);
    }
    if (commit < this.#commit) {
      this.#violate('commit-regressed', `its commit index fell from ${this.#commit} to ${commit}`);
    }
    const { firstIndex, handedOut, lastIndex } = status;
    if (
      !this.#installing &&
      !(firstIndex - 1 <= handedOut && handedOut <= commit && commit <= lastIndex)
    ) {
      this.#violate(
        'log-order',
        `first ${firstIndex}, handed out ${handedOut}, commit ${commit}, last ${lastIndex} are not in order`,
      );
    }
    const wasLeading = this.leaderTerm === term;
    this.leaderTerm = role === 'leader' ? term : 0;
    if (role === 'leader') {
      if (!wasLeading) this.#checkNewLeader(term);
      else if (commit > this.#commit) this.#checkCommit(status, committed);
      if (this.#checks.consensus === 'raft')
        this.#checks.counted(this.seat.terms, this.#commit + 1, commit, term);
    }
    this.#term = term;
    this.#commit = commit;
  }

  #checkNewLeader(term: number): void {
    const { seat } = this;
    const { chosen, consensus, paths } = this.#checks;
    this.#checks.leads(seat.id, term);
    paths.elected();
    if (consensus !== 'raft') return;
    if (seat.votes.get(term) !== seat.id) {
      this.#violate(
        'durable-before-promise',
        `leads in term ${term}, but its own vote is not durable`,
      );
    }
    const configuration = this.#configuration;
    const votedFor = (voter: NodeId): boolean =>
      voter === seat.id || this.#checks.seat(voter).votes.get(term) === seat.id;
    if (configuration !== undefined && !isQuorum(configuration, votedFor)) {
      this.#violate('election-quorum', `leads in term ${term} without the votes of a majority`);
    }
    const last = chosen.lastBefore(term);
    if (seat.terms[last] === chosen.terms[last]) return;
    this.#violate(
      'leader-completeness',
      `leads in term ${term} without entry ${last} of term ${chosen.terms[last]}, committed in an earlier one`,
    );
  }

  /** A leader has moved its commit index: by entries of its own term (§5.4.2), on a durable quorum. */
  #checkCommit(status: CoreStatus, committed: readonly Entry[]): void {
    if (this.#checks.consensus !== 'raft') {
      this.#checkChosen(status, committed);
      return;
    }
    const { seat } = this;
    const { commit, term, peers } = status;
    const commitTerm = seat.terms[commit];
    const isNew = commit > this.#checks.chosen.lastIndex;
    if (committed.length > 0 && committed[0]!.term < term) {
      this.#checks.world.reach('entry-of-old-term-chosen');
    }
    if (commitTerm !== term && isNew) {
      this.#violate(
        'commit-of-old-term',
        `leads in term ${term} and counts entry ${commit} of term ${commitTerm} as committed`,
      );
    }
    for (const { id, match } of peers) {
      if (match === 0 || id === seat.id) continue;
      const peer = this.#checks.seat(id);
      if (match <= peer.snapshotIndex || peer.holds(match, seat.terms[match] ?? -1)) continue;
      // It did hold it, and has followed a newer leader since; this one does not know that it is deposed.
      if ((peer.durable.at(-1) ?? 0) > term) continue;
      this.#violate(
        'match',
        `believes that ${id} holds entry ${match} of term ${seat.terms[match]}, but there it is of term ${peer.durable[match]}`,
      );
    }
    if (committed.length === 0 || this.#configuration === undefined || !isNew) return;
    const isDurable = isQuorum(this.#configuration, (voter) => {
      const peer = this.#checks.seat(voter);
      return commit <= peer.snapshotIndex || peer.holds(commit, commitTerm ?? -1);
    });
    if (isDurable) return;
    this.#violate('durable-quorum', `entry ${commit} counts as committed without a durable quorum`);
  }

  /** Multi-Paxos: what a leader newly counts as chosen, a quorum has durably accepted in its ballot. */
  #checkChosen({ commit, term, peers }: CoreStatus, committed: readonly Entry[]): void {
    for (const { id, match } of peers) {
      // What is chosen counts in whichever ballot it was accepted.
      if (id === this.seat.id || match <= this.#checks.chosen.lastIndex) continue;
      const peer = this.#checks.seat(id);
      if (match <= peer.snapshotIndex || peer.acceptedSince(match, term)) continue;
      this.#violate(
        'match',
        `believes that ${id} accepted slot ${match} in ballot ${term}, but there it is of ballot ${peer.durable[match]}`,
      );
    }
    const isNew = commit > this.#checks.chosen.lastIndex;
    if (!isNew || committed.length === 0 || this.#configuration === undefined) return;
    if (committed[0]!.term < term) this.#checks.world.reach('entry-of-old-term-chosen');
    const isDurable = isQuorum(this.#configuration, (voter) => {
      const peer = this.#checks.seat(voter);
      // A later leader may have had the same value accepted again before this one hears of it.
      return commit <= peer.snapshotIndex || peer.acceptedSince(commit, term);
    });
    if (isDurable) return;
    this.#violate('durable-quorum', `slot ${commit} counts as chosen without a durable quorum`);
  }

  #checkHandedOut(entry: Entry): void {
    const { index, term } = entry;
    if (index !== this.#handedOut + 1) {
      this.#violate(
        'state-machine-safety',
        `hands out entry ${index} after entry ${this.#handedOut}`,
      );
    }
    this.#handedOut = index;
    if (entry.type !== EntryType.normal) this.#changes.push(entry);
    else if (this.#changes.length === 0) this.#checkHeld(entry);
    if (this.#checks.consensus === 'raft' && this.seat.terms[index] !== term) {
      this.#violate(
        'state-machine-safety',
        `hands out entry ${index} of term ${term}, in its log is one of term ${this.seat.terms[index]}`,
      );
    }
    this.#checks.handedOut(this.seat.id, entry);
  }

  /**
   * Whoever hands an entry out first, leader or not: a quorum holds it durably. For voters only, since a node
   * on probation leaves itself out, and where it is known who votes.
   */
  #checkHeld({ index, term }: Entry): void {
    const configuration = this.#configuration;
    if (index <= this.#checks.chosen.lastIndex) return;
    if (configuration?.voters.includes(this.seat.id) !== true) return;
    const isPaxos = this.#checks.consensus === 'paxos';
    const has = (voter: NodeId): boolean => {
      const peer = this.#checks.seat(voter);
      if (index <= peer.snapshotIndex) return true;
      return isPaxos ? peer.acceptedSince(index, Math.max(term, 1)) : peer.holds(index, term);
    };
    if (isQuorum(configuration, has)) return;
    const earlier = this.#earlier;
    if (earlier !== undefined && index <= earlier.upTo && isQuorum(earlier.configuration, has))
      return;
    this.#violate('durable-quorum', `hands out entry ${index} first, without a durable quorum`);
  }

  #checkRead(context: number, index: number): void {
    const asked = this.#reads.get(context);
    this.#reads.delete(context);
    if (asked === undefined) {
      this.#violate('stale-read', `answers a read (${context}) that nobody asked`);
      return;
    }
    const isAlone = this.#configuration === undefined || this.#configuration.voters.length < 2;
    if (asked.take === this.#takes - 1 && !isAlone) this.#checks.world.reach('read-by-lease');
    if (index >= asked.least) return;
    this.#violate(
      'stale-read',
      `a read gets index ${index}, but ${asked.least} was committed before it was asked`,
    );
  }

  #violate(property: string, message: string): void {
    this.#checks.violate(property, `${this.seat.id}: ${message}`);
  }
}

function isSame(one: HardState | undefined, other: HardState | undefined): boolean {
  return one?.term === other?.term && one?.vote === other?.vote;
}
