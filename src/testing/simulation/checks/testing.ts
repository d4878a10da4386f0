/** For the tests of checks: a world that only takes notes, and a core that does what it is told. */
import type { Core, CoreStatus, Effects } from '../../../consensus/core.ts';
import { MessageType, type PeerMessage } from '../../../consensus/messages.ts';
import type { RecoveredState } from '../../../consensus/storage.ts';
import { type Entry, EntryType, type HardState } from '../../../consensus/types.ts';
import { seededRandom } from '../../../core/random.ts';
import type { World } from '../types.ts';

/** A world in which nothing happens by itself. */
export class NotedWorld implements World {
  nowMs = 0;
  events = 0;
  /** Properties that were violated, in order. */
  readonly violated: string[] = [];
  readonly messages: string[] = [];
  readonly reached = new Set<string>();

  after(): () => void {
    return () => undefined;
  }
  random(): ReturnType<typeof seededRandom> {
    return seededRandom(1);
  }
  trace(): void {
    // Nobody reads it.
  }
  note(): void {
    // Nor this.
  }
  fault(): void {
    // None are counted.
  }
  reach(path: string): void {
    this.reached.add(path);
  }
  violate(property: string, message: string): void {
    this.violated.push(property);
    this.messages.push(message);
  }
}

/** What a start finds. */
export function found(hardState: Partial<HardState>, entries: readonly Entry[]): RecoveredState {
  return {
    hardState: { term: 1, vote: '', commit: 0, ...hardState },
    snapshot: undefined,
    entries,
    fresh: entries.length === 0,
  };
}

export function entry(index: number, term: number, data = ''): Entry {
  return { type: EntryType.normal, index, term, data: Buffer.from(data) };
}

export function message(type: keyof typeof MessageType, fields: Partial<PeerMessage>): PeerMessage {
  return {
    type: MessageType[type],
    from: 'a',
    to: 'b',
    term: 1,
    index: 0,
    logTerm: 0,
    entries: [],
    commit: 0,
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context: 0,
    force: false,
    ...fields,
  };
}

const NO_EFFECTS: Effects = {
  persist: undefined,
  messages: [],
  messagesAfterPersist: [],
  committed: [],
  reads: [],
  droppedReads: [],
  install: undefined,
  snapshotsWanted: [],
  stateChanged: true,
};

/** A core whose status and effects are set by hand. */
export function scriptedCore(id: string): {
  readonly core: Core;
  readonly set: (status: Partial<CoreStatus>, effects?: Partial<Effects>) => void;
} {
  let status: CoreStatus = {
    id,
    role: 'follower',
    term: 1,
    leader: '',
    commit: 0,
    handedOut: 0,
    lastIndex: 0,
    firstIndex: 1,
    peers: [],
  };
  let effects = NO_EFFECTS;
  const nothing = (): void => undefined;
  const core: Core = {
    tick: nothing,
    step: nothing,
    propose: () => 'not-leader',
    proposeChange: () => 'not-leader',
    readIndex: nothing,
    persisted: nothing,
    applied: nothing,
    configure: nothing,
    transferLeadership: () => false,
    campaign: nothing,
    unreachable: nothing,
    lost: nothing,
    snapshotSent: nothing,
    snapshotInstalled: nothing,
    compact: nothing,
    termAt: () => 0,
    hasEffects: () => true,
    take: () => effects,
    status: () => status,
  };
  return {
    core,
    set(nextStatus, nextEffects = {}) {
      status = { ...status, ...nextStatus };
      effects = { ...NO_EFFECTS, ...nextEffects };
    },
  };
}
