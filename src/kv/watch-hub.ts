/**
 * Delivers changes to watchers: live, one response a revision, right after they are applied; or from
 * history to those that start in the past or were slow.
 *
 * Nothing is queued for a slow receiver: its watches are put `behind` at the first revision they
 * miss and refilled from the revision log when it resumes. So memory does not grow with slow
 * streams, no event is skipped or doubled, and nobody waits for anybody.
 */
import type { Cancel, Clock } from '../core/clock.ts';
import type { EventMessage, ResponseHeader } from '../proto/messages.ts';
import { EventType } from '../proto/messages.ts';
import type { Mvcc } from './mvcc.ts';
import { isTombstone, type VersionRecord } from './record.ts';
import type { WatchSink, WatchStream } from './service.ts';
import { covers, WatchIndex } from './watch-index.ts';
import { eventBytes, HubStream, type StreamHost, type Watcher } from './watch-stream.ts';

/** Revisions in one response from history at most, as in etcd. */
const MAX_REPLAY_REVISIONS = 1000;
/** Versions that one turn of refilling looks at, a few milliseconds' work. */
const REPLAY_SLICE_VERSIONS = 10_000;
/** What etcd allows a message beyond the largest request. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;

/** How far a refill has come. */
interface Replay {
  readonly events: EventMessage[];
  bytes: number;
  revisions: number;
  lastRevision: number;
  scanned: number;
}

export class WatchHub implements StreamHost {
  readonly maxMessageBytes: number;
  readonly #clock: Clock;
  readonly #index = new WatchIndex<Watcher>();
  readonly #streams = new Set<HubStream>();
  readonly #behind = new Set<Watcher>();
  #mvcc: Mvcc;
  /** Live watchers have been given everything up to this revision. */
  #flushed: number;
  #flushing = false;
  #refilling = false;
  #cancelRefill: Cancel | undefined = undefined;
  #watcherCount = 0;
  #eventCount = 0;
  /** Watchers with events of the revision that is being delivered. */
  readonly #touched: Watcher[] = [];
  /** Streams that asked for progress while events were being delivered. */
  readonly #progressWanted: HubStream[] = [];

  constructor(mvcc: Mvcc, clock: Clock, maxRequestBytes: number) {
    this.#mvcc = mvcc;
    this.#clock = clock;
    this.#flushed = mvcc.revision;
    this.maxMessageBytes = maxRequestBytes + MESSAGE_OVERHEAD_BYTES;
  }

  get revision(): number {
    return this.#mvcc.revision;
  }
  get streamCount(): number {
    return this.#streams.size;
  }
  get watcherCount(): number {
    return this.#watcherCount;
  }
  /** Watchers that are being refilled, or wait for a slow receiver. */
  get behindCount(): number {
    return this.#behind.size;
  }
  /** Events sent so far, counted for each watcher. */
  get eventCount(): number {
    return this.#eventCount;
  }

  open(sink: WatchSink, header: () => ResponseHeader): WatchStream {
    const stream = new HubStream(this, sink, header);
    this.#streams.add(stream);
    return stream;
  }

  /** Delivers what was applied since the last time. False: it is being done further up the stack. */
  flush(): boolean {
    if (this.#flushing) return false;
    if (this.#watcherCount === 0) {
      this.#flushed = this.#mvcc.revision;
      return true;
    }
    this.#flushing = true;
    try {
      // A sink may write to the store: go on until all is delivered.
      while (this.#flushed < this.#mvcc.revision) this.#deliverLive(this.#mvcc.revision);
    } finally {
      this.#flushing = false;
    }
    for (const stream of this.#progressWanted.splice(0)) stream.answerProgress();
    return true;
  }

  /** Sends a notice to each watch that asked for them and has had no events since the last call. */
  notifyProgress(): void {
    this.flush();
    const { revision } = this.#mvcc;
    for (const stream of this.#streams) {
      for (const watcher of stream.watchers.values()) {
        if (!watcher.progressNotify) continue;
        const due = !watcher.active && watcher.state === 'synced' && !stream.paused;
        if (due && watcher.startRevision <= revision) stream.sendProgress(watcher);
        watcher.active = false;
      }
    }
  }

  /** The store was replaced by a snapshot: every watch goes on from where it was. */
  replaceStore(mvcc: Mvcc): void {
    for (const stream of this.#streams) {
      for (const watcher of stream.watchers.values()) {
        if (watcher.state !== 'synced') continue;
        watcher.nextRevision = Math.max(watcher.nextRevision, this.#flushed + 1);
        this.#fallBehind(watcher, watcher.nextRevision);
      }
    }
    this.#mvcc = mvcc;
    this.#flushed = mvcc.revision;
    this.#refill();
  }

  add(watcher: Watcher): void {
    this.#watcherCount++;
    this.#index.add(watcher);
    if (watcher.state !== 'behind') return;
    this.#behind.add(watcher);
    this.#refill();
  }

  remove(watcher: Watcher): void {
    this.#behind.delete(watcher);
    if (watcher.state === 'canceled') return;
    watcher.state = 'canceled';
    this.#watcherCount--;
    this.#index.delete(watcher);
  }

  deferProgress(stream: HubStream): void {
    if (!this.#progressWanted.includes(stream)) this.#progressWanted.push(stream);
  }

  resume(): void {
    this.#refill();
  }

  forget(stream: HubStream): void {
    this.#streams.delete(stream);
  }

  // ---- live ------------------------------------------------------------------------------------

  #deliverLive(upTo: number): void {
    let revision = 0;
    let plain: EventMessage | undefined;
    let withPrevious: EventMessage | undefined;
    let current: VersionRecord | undefined;
    const collect = (watcher: Watcher): void => {
      const record = current!;
      if (!this.#wantsLive(watcher, record)) return;
      // All watchers share one event object, so that it is encoded once.
      let event: EventMessage;
      if (watcher.prevKv) event = withPrevious ??= this.#event(record, true);
      else event = plain ??= this.#event(record, false);
      if (watcher.batch === undefined) {
        watcher.batch = [event];
        this.#touched.push(watcher);
      } else watcher.batch.push(event);
    };
    this.#mvcc.scanLog(this.#flushed + 1, (record) => {
      if (record.modRevision > upTo) return false;
      if (record.modRevision !== revision) {
        this.#sendTouched(revision);
        revision = record.modRevision;
      }
      current = record;
      plain = undefined;
      withPrevious = undefined;
      this.#index.match(record.key, collect);
      return true;
    });
    this.#sendTouched(revision);
    this.#flushed = upTo;
  }

  #wantsLive(watcher: Watcher, record: VersionRecord): boolean {
    if (watcher.state !== 'synced' || record.modRevision < watcher.nextRevision) return false;
    if (isTombstone(record) ? watcher.noDelete : watcher.noPut) return false;
    if (!watcher.stream.paused) return true;
    this.#fallBehind(watcher, record.modRevision);
    return false;
  }

  #sendTouched(revision: number): void {
    if (this.#touched.length === 0) return;
    const touched = this.#touched.splice(0);
    for (const watcher of touched) {
      const events = watcher.batch!;
      watcher.batch = undefined;
      if (watcher.state !== 'synced') continue;
      // Another watch of the same stream may have filled its receiver.
      if (watcher.stream.paused) {
        this.#fallBehind(watcher, revision);
        continue;
      }
      watcher.nextRevision = revision + 1;
      this.#eventCount += events.length;
      watcher.stream.sendEvents(watcher, revision, events);
    }
  }

  #fallBehind(watcher: Watcher, revision: number): void {
    watcher.state = 'behind';
    watcher.nextRevision = revision;
    this.#behind.add(watcher);
  }

  #event(record: VersionRecord, withPrevious: boolean): EventMessage {
    return {
      type: isTombstone(record) ? EventType.delete : EventType.put,
      kv: record,
      prevKv: withPrevious ? this.#mvcc.previous(record) : undefined,
      encoded: undefined,
    };
  }

  // ---- from history ----------------------------------------------------------------------------

  /** Refills watchers for a bounded time, and goes on in a later turn if there is more to do. */
  #refill(): void {
    if (this.#refilling || this.#behind.size === 0) return;
    this.#refilling = true;
    let budget = REPLAY_SLICE_VERSIONS;
    try {
      for (const watcher of this.#behind) {
        if (watcher.stream.paused) continue;
        if (budget <= 0) break;
        budget -= this.#refillOne(watcher, budget);
        if (this.#behind.delete(watcher) && watcher.state === 'behind') this.#behind.add(watcher);
      }
    } finally {
      this.#refilling = false;
    }
    if (this.#cancelRefill !== undefined || !this.#canRefill()) return;
    this.#cancelRefill = this.#clock.after(0, () => {
      this.#cancelRefill = undefined;
      this.#refill();
    });
  }

  #canRefill(): boolean {
    for (const { stream } of this.#behind) if (!stream.paused) return true;
    return false;
  }

  /** Sends a watcher up to `budget` versions' worth of history; returns how many it looked at. */
  #refillOne(watcher: Watcher, budget: number): number {
    let used = 0;
    while (used < budget && watcher.state === 'behind' && !watcher.stream.paused) {
      const { compactRevision, revision } = this.#mvcc;
      if (watcher.nextRevision < compactRevision) {
        this.remove(watcher);
        watcher.stream.sendCompacted(watcher, compactRevision);
        return used + 1;
      }
      const replay = this.#collectHistory(watcher, budget - used);
      used += replay.scanned + 1;
      watcher.nextRevision = replay.lastRevision + 1;
      // Before it is sent: the sink may ask for progress.
      if (replay.lastRevision >= revision) {
        watcher.state = 'synced';
        watcher.nextRevision = Math.max(watcher.nextRevision, watcher.startRevision);
        this.#behind.delete(watcher);
      }
      if (replay.events.length > 0) {
        this.#eventCount += replay.events.length;
        watcher.stream.sendEvents(watcher, revision, replay.events);
      }
    }
    return used;
  }

  /** The next events of a watcher: whole revisions, as many as one response may carry. */
  #collectHistory(watcher: Watcher, budget: number): Replay {
    const from = watcher.nextRevision;
    const replay: Replay = {
      events: [],
      bytes: 0,
      revisions: 0,
      lastRevision: this.#mvcc.revision,
      scanned: 0,
    };
    let seen = from - 1;
    let matched = 0;
    const visit = (record: VersionRecord): boolean => {
      if (record.modRevision !== seen) {
        const full =
          replay.scanned >= budget ||
          replay.revisions >= MAX_REPLAY_REVISIONS ||
          replay.bytes >= this.maxMessageBytes;
        // At least one revision a call, so that it gets on.
        if (full && seen >= from) {
          replay.lastRevision = seen;
          return false;
        }
        seen = record.modRevision;
      }
      replay.scanned++;
      if (isTombstone(record) ? watcher.noDelete : watcher.noPut) return true;
      if (!covers(watcher, record.key)) return true;
      const event = this.#event(record, watcher.prevKv);
      replay.events.push(event);
      replay.bytes += eventBytes(event);
      if (matched !== record.modRevision) {
        matched = record.modRevision;
        replay.revisions++;
      }
      return true;
    };
    // One key's history is at hand; a range is picked out of the whole log.
    if (watcher.rangeEnd === '') this.#mvcc.changesOf(watcher.key, from).every(visit);
    else this.#mvcc.scanLog(from, visit);
    return replay;
  }
}
