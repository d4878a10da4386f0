/**
 * Puts a node on probation where its folder says so, answers others that are, and ends it: the I/O around
 * `replica/probation.ts`.
 */
import { sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { QuorateError } from '../core/errors.ts';
import type { Core } from './core.ts';
import type { ReplicaEvents } from './replica/options.ts';
import type { PeersOnProbation } from './replica/peers-on-probation.ts';
import {
  type ProbationContext,
  ProbationCore,
  probation,
  type Standing,
} from './replica/probation.ts';
import type { Replica } from './replica/replica.ts';
import type { Storage } from './storage.ts';
import type { Transport } from './transport.ts';
import { type Configuration, type Entry, NO_NODE, type NodeId } from './types.ts';
import { type JoiningMarker, putJoiningMarker, readJoiningMarker } from './wal/joining.ts';

/**
 * The call with which a node on probation asks a peer how it stands: its id, a space, and the term whose
 * leader knows of it already. A leader of another term forgets what it acknowledged. The answer is JSON.
 * `over` in the place of the term: it is on probation no more.
 */
const STANDING = 'standing';

const OVER = 'over';

/** Of the entries that name the first members. Whoever is in a later one knows that somebody was elected. */
const FIRST_TERM = 1;

/** A node is on probation from the first start in its folder, or from damage, until it is told otherwise. */
export async function joiningMarker(
  disk: Disk,
  dataDir: string,
  { recovered }: Storage,
  newLength: number,
): Promise<JoiningMarker | undefined> {
  const found = await readJoiningMarker(disk, dataDir);
  if (found !== undefined) return found;
  // Also where a crash came between the first record of the log and the marker. A node that joins has
  // nothing in its log, and no term. One whose probation ended gave its vote away before the marker went.
  const isNew =
    recovered.snapshot === undefined &&
    recovered.hardState.vote === NO_NODE &&
    recovered.entries.length === newLength &&
    recovered.hardState.term === (newLength === 0 ? 0 : FIRST_TERM);
  return isNew ? putJoiningMarker(disk, dataDir, false) : undefined;
}

/** What a node tells of itself to one on probation. */
export interface StandingSource {
  readonly core: Core;
  readonly configuration: () => Configuration;
  /** Whether a voter was added to this node when it was alone, and nobody came or went since. */
  readonly wasAddedToUs: (id: NodeId, changes: readonly Entry[]) => boolean;
  /** Whether a member has never counted in any majority. Both also after `changes`, if they come into force. */
  readonly neverVoted: (id: NodeId, changes: readonly Entry[]) => boolean;
  /** Who asks is noted here. */
  readonly onProbation: PeersOnProbation;
  /** Entries of a log that holds only the first members. -1: this log is not new, whatever it holds. */
  readonly newLength: number;
}

/** `events` that answer peers on probation before the owner is asked. */
export function answeringStanding(events: ReplicaEvents, source: StandingSource): ReplicaEvents {
  return {
    ...events,
    onCall: (method, payload) => {
      if (method === STANDING) return Promise.resolve(standing(source, payload));
      if (events.onCall !== undefined) return events.onCall(method, payload);
      throw new QuorateError('ERR_UNSUPPORTED', `this node does not answer '${method}'`);
    },
  };
}

function standing(
  { core, configuration, newLength, wasAddedToUs, neverVoted, onProbation }: StandingSource,
  payload: Uint8Array,
): Uint8Array {
  const [id = '', informed = ''] = Buffer.from(payload).toString('latin1').split(' ');
  const { role, term, lastIndex, handedOut, changes = [] } = core.status();
  const leads = role === 'leader';
  if (informed === OVER) onProbation.over(id);
  else {
    onProbation.asked(id);
    if (leads && Number(informed) !== term) core.lost(id);
  }
  // The log of one on probation may end before the change that made it untrue.
  const isWhole = !(core instanceof ProbationCore) || core.isOver;
  const { voters, joint } = configuration();
  const answer: Standing = {
    isNew: lastIndex === newLength && term <= FIRST_TERM,
    term,
    leads,
    holdsAll: isWhole && wasAddedToUs(id, changes),
    neverVoted: neverVoted(id, changes),
    voters: [...new Set([...voters, ...(joint?.outgoing ?? [])])],
    applied: handedOut,
  };
  return Buffer.from(JSON.stringify(answer));
}

function decodeStanding(payload: Uint8Array): Standing {
  const parsed: unknown = JSON.parse(Buffer.from(payload).toString());
  const { isNew, term, leads, holdsAll, neverVoted, voters, applied } = (parsed ??
    {}) as Partial<Standing>;
  const isValid =
    Number.isSafeInteger(term) && Number.isSafeInteger(applied) && Array.isArray(voters);
  if (!isValid) throw new QuorateError('ERR_PROTOCOL', 'a peer said in no known way how it stands');
  return {
    isNew: isNew === true,
    term: term!,
    leads: leads === true,
    holdsAll: holdsAll === true,
    neverVoted: neverVoted === true,
    voters: voters!.map(String),
    applied: applied!,
  };
}

/** What a probation works with. */
export interface ProbationParts<Result> {
  readonly core: ProbationCore;
  readonly replica: Replica<Result>;
  readonly storage: Storage;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly marker: JoiningMarker;
  /** Its cluster may be new: it was not added to one that ran, and its log holds nothing but the first members. */
  readonly isFounder: boolean;
  /** The other nodes, until the log says who they are. */
  readonly peers: readonly NodeId[];
  /** Aborted when the node stops. */
  readonly signal: AbortSignal;
  readonly log: ((level: 'info' | 'error', text: string) => void) | undefined;
}

/** Serves the probation in the background. */
export function serveProbation<Result>(parts: ProbationParts<Result>): void {
  endProbation(parts).catch((error) => parts.log?.('error', `still without a vote: ${error}`));
}

async function endProbation<Result>(parts: ProbationParts<Result>): Promise<void> {
  const { core, replica, storage, marker, log } = parts;
  const reason = await probation(contextOf(parts));
  if (reason === 'closed' || parts.signal.aborted) return;
  // In this order: a crash before the marker is gone begins a probation again, one after it leaves a member
  // that gave no vote it does not remember. And nobody is elected by nodes whose probation begins again: were
  // that all of them, none could confirm a leader to any.
  const abstention = core.abstain();
  await new Promise<void>((resolve, reject) => {
    storage.persist({ hardState: abstention, entries: [] }, (error) =>
      error === undefined ? resolve() : reject(error),
    );
  });
  await marker.remove();
  core.end();
  tellOver(parts);
  if (reason === 'new' || reason === 'one-of-two') return;
  const how = marker.isDamaged ? 'lost a part of its log' : 'came with an empty folder';
  const now = replica.members.neverVoted(replica.id) ? '' : ', votes from now on';
  log?.('info', `${replica.id} ${how}; has caught up${now}`);
}

/** Who does not hear it takes this node for one on probation a little longer. */
function tellOver<Result>({ replica, transport, peers }: ProbationParts<Result>): void {
  const notice = Buffer.from(`${replica.id} ${OVER}`, 'latin1');
  const told = new Set([...votersOf(replica, peers), replica.leader]);
  told.delete(replica.id);
  told.delete(NO_NODE);
  for (const peer of told) {
    transport.call(peer, STANDING, notice, replica.settings.electionMs).catch(() => undefined);
  }
}

/** All that vote, as far as this node knows. */
function votersOf<Result>(replica: Replica<Result>, first: readonly NodeId[]): readonly NodeId[] {
  const { voters, joint } = replica.members.configuration();
  return voters.length === 0 ? first : [...voters, ...(joint?.outgoing ?? [])];
}

function contextOf<Result>(parts: ProbationParts<Result>): ProbationContext {
  const { core, replica, transport, clock, marker, isFounder, peers, signal } = parts;
  const { electionMs, heartbeatMs } = replica.settings;
  return {
    id: replica.id,
    peers: () => votersOf(replica, peers),
    applied: () => replica.appliedIndex,
    get mayBeNew() {
      return !marker.isDamaged && isFounder && core.status().term <= FIRST_TERM;
    },
    async ask(peer, informedTerm) {
      const question = Buffer.from(`${replica.id} ${informedTerm}`, 'latin1');
      return decodeStanding(await transport.call(peer, STANDING, question, electionMs));
    },
    leaderKnows: (term) => core.leaderKnows(term),
    caughtUp: () => replica.readBarrier(),
    term: () => core.status().term,
    leader: () => core.status().leader,
    patience: Math.ceil(electionMs / heartbeatMs),
    async pause() {
      await sleep(clock, heartbeatMs, signal).catch(() => undefined);
      return !signal.aborted;
    },
  };
}
