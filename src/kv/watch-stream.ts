/**
 * One watch stream: takes requests, numbers the watches, and writes responses to its sink in the
 * order that etcd promises (etcd api: Watch). What is delivered, and when, the hub decides.
 */
import type { Bytes } from '../core/bytes.ts';
import { Event } from '../proto/etcd.ts';
import type {
  EventMessage,
  ResponseHeader,
  WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from '../proto/messages.ts';
import { WatchFilter } from '../proto/messages.ts';
import type { WatchSink, WatchStream } from './service.ts';
import type { Interest } from './watch-index.ts';

/** The id in replies that concern no watch. */
const NO_WATCH = -1;

/**
 * `synced`: has been given every event so far, and gets the next ones live. `behind`: is refilled
 * from history. `canceled`: compacted away; the id stays taken until the client cancels it too.
 */
type WatcherState = 'synced' | 'behind' | 'canceled';

/** One watch. */
export interface Watcher extends Interest {
  readonly id: number;
  readonly stream: HubStream;
  readonly key: Bytes;
  readonly rangeEnd: Bytes;
  readonly startRevision: number;
  readonly prevKv: boolean;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly progressNotify: boolean;
  readonly fragment: boolean;
  state: WatcherState;
  /** The first revision that it has not been given yet. */
  nextRevision: number;
  /** Events of the revision that is being delivered. */
  batch: EventMessage[] | undefined;
  /** Whether events were sent since the last progress notice was due. */
  active: boolean;
}

/** What a stream needs of the hub. */
export interface StreamHost {
  readonly revision: number;
  readonly maxMessageBytes: number;
  /** Delivers everything that is applied; returns false while that is under way already. */
  flush(): boolean;
  add(watcher: Watcher): void;
  remove(watcher: Watcher): void;
  /** Has the stream's progress answered once everything is delivered. */
  deferProgress(stream: HubStream): void;
  resume(): void;
  forget(stream: HubStream): void;
}

export class HubStream implements WatchStream {
  readonly watchers = new Map<number, Watcher>();
  readonly #host: StreamHost;
  readonly #sink: WatchSink;
  readonly #header: () => ResponseHeader;
  #nextId = 0;
  #paused = false;
  #closed = false;

  constructor(host: StreamHost, sink: WatchSink, header: () => ResponseHeader) {
    this.#host = host;
    this.#sink = sink;
    this.#header = header;
  }

  /** The receiver is slow: no events until it says `resume`. */
  get paused(): boolean {
    return this.#paused;
  }

  request(request: WatchRequest): void {
    if (this.#closed) return;
    // What follows must come behind the events of everything that is applied.
    const flushed = this.#host.flush();
    if (request.createRequest !== undefined) this.#create(request.createRequest);
    else if (request.cancelRequest !== undefined) this.#cancel(request.cancelRequest.watchId);
    else if (request.progressRequest !== undefined) {
      if (flushed) this.answerProgress();
      else this.#host.deferProgress(this);
    }
  }

  resume(): void {
    if (this.#closed || !this.#paused) return;
    this.#paused = false;
    this.#host.resume();
  }

  close(): void {
    this.#end(undefined);
  }

  /** Tells how far the stream is, if all its watches are there and have begun. */
  answerProgress(): void {
    const { revision } = this.#host;
    let watching = false;
    for (const { state, startRevision } of this.watchers.values()) {
      if (state === 'canceled') continue;
      if (state === 'behind' || startRevision > revision) return;
      watching = true;
    }
    if (watching && !this.#paused) this.#send(this.#response(NO_WATCH, revision));
  }

  /** A notice without events for one watch that asked for them. */
  sendProgress(watcher: Watcher): void {
    this.#send(this.#response(watcher.id, this.#host.revision));
  }

  /** Sends events of one watch; `revision` is what the header says. */
  sendEvents(watcher: Watcher, revision: number, events: EventMessage[]): void {
    watcher.active = true;
    const response = this.#response(watcher.id, revision);
    if (watcher.fragment && events.length > 1) this.#sendFragments(response, events);
    else {
      response.events = events;
      this.#send(response);
    }
  }

  /** Ends a watch whose next revision is compacted away. */
  sendCompacted(watcher: Watcher, compactRevision: number): void {
    const response = this.#response(watcher.id, 0);
    response.canceled = true;
    response.compactRevision = compactRevision;
    this.#send(response);
  }

  #create(request: WatchCreateRequest): void {
    const key = request.key === '' ? '\0' : request.key;
    const { rangeEnd, startRevision, filters } = request;
    const { revision } = this.#host;
    const refusal = this.#refusal(key, request);
    const id = refusal === undefined ? this.#takeId(request.watchId) : NO_WATCH;
    const response = this.#response(id, revision);
    response.created = true;
    if (refusal !== undefined) {
      response.canceled = true;
      response.cancelReason = refusal;
      this.#send(response);
      return;
    }
    const live = startRevision === 0 || startRevision > revision;
    const watcher: Watcher = {
      id,
      stream: this,
      key,
      rangeEnd,
      startRevision,
      prevKv: request.prevKv,
      noPut: filters.includes(WatchFilter.noPut),
      noDelete: filters.includes(WatchFilter.noDelete),
      progressNotify: request.progressNotify,
      fragment: request.fragment,
      state: live ? 'synced' : 'behind',
      nextRevision: startRevision === 0 ? revision + 1 : startRevision,
      batch: undefined,
      active: false,
    };
    this.watchers.set(id, watcher);
    this.#send(response);
    // The sink may have closed the stream.
    if (!this.#closed) this.#host.add(watcher);
  }

  /** Why a watch cannot be, in etcd's words. */
  #refusal(key: Bytes, request: WatchCreateRequest): string | undefined {
    const { rangeEnd, startRevision, watchId } = request;
    if (startRevision < 0) return 'etcdserver: mvcc: required revision has been compacted';
    if (rangeEnd !== '' && rangeEnd !== '\0' && key >= rangeEnd) {
      return 'mvcc: watcher range is empty';
    }
    if (watchId !== 0 && this.watchers.has(watchId)) {
      return 'mvcc: duplicate watch ID provided on the WatchStream';
    }
    return undefined;
  }

  /** 0 asks for any id: the next one that is free. */
  #takeId(wanted: number): number {
    if (wanted !== 0) return wanted;
    while (this.watchers.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #cancel(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    this.watchers.delete(id);
    this.#host.remove(watcher);
    const response = this.#response(id, this.#host.revision);
    response.canceled = true;
    this.#send(response);
  }

  #response(watchId: number, revision: number): WatchResponse {
    const { clusterId, memberId, raftTerm } = this.#header();
    return {
      header: { clusterId, memberId, revision, raftTerm },
      watchId,
      created: false,
      canceled: false,
      compactRevision: 0,
      cancelReason: '',
      fragment: false,
      events: [],
    };
  }

  #sendFragments(response: WatchResponse, events: EventMessage[]): void {
    const limit = this.#host.maxMessageBytes;
    let from = 0;
    let bytes = 0;
    for (const [at, event] of events.entries()) {
      const size = eventBytes(event);
      if (at > from && bytes + size >= limit) {
        this.#send({ ...response, fragment: true, events: events.slice(from, at) });
        from = at;
        bytes = 0;
      }
      bytes += size;
    }
    response.events = from === 0 ? events : events.slice(from);
    this.#send(response);
  }

  #send(response: WatchResponse): void {
    if (this.#closed) return;
    try {
      if (!this.#sink.response(response)) this.#paused = true;
    } catch (error) {
      // A receiver that fails must not fail the others.
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #end(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const watcher of this.watchers.values()) this.#host.remove(watcher);
    this.watchers.clear();
    this.#host.forget(this);
    this.#sink.end(error);
  }
}

/** Bytes of an event in a response, its tag and length included. */
export function eventBytes(event: EventMessage): number {
  return Event.size(event) + 6;
}
