/**
 * One logical watch stream over any number of connections. When one breaks, every watch is made
 * again on another from where it was; the user sees one `created` reply, each event once and in
 * order, and a compaction that overtook a watch as the cancellation that the store sends.
 *
 * Source: etcd api: Watch. npm's `etcd3` loses the history not yet sent when a connection breaks
 * after the created reply; here only a watch that began "now" continues from that reply's revision.
 */
import { QuorateError } from '../../core/errors.ts';
import type { WatchSink, WatchStream } from '../../kv/service.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { callError, judge, saysStaleToken, type Verdict } from './call-errors.ts';
import type { EtcdCalls } from './calls.ts';
import type { CallEnd, GrpcStream } from './grpc-call.ts';
import type { Check, GrpcChannel } from './grpc-channel.ts';
import type { GrpcEndpoint } from './grpc-endpoint.ts';
import { frameMessage } from './grpc-message.ts';
import { HeldResponses } from './held-responses.ts';
import { WATCH_PATH } from './methods.ts';
import { Watched } from './watched.ts';

/** Watches on one stream; one more is refused as the store would refuse it. */
const MOST_WATCHES = 65_536;
/** A created reply that takes longer may come sooner from another member. */
const CREATE_STALL_MS = 3_000;

export class EtcdWatchStream implements WatchStream, Check {
  readonly #calls: EtcdCalls;
  readonly #channel: GrpcChannel;
  readonly #sink: WatchSink;
  readonly #forget: (stream: EtcdWatchStream) => void;
  readonly #held: HeldResponses;
  readonly #watches: Set<Watched>;
  readonly #byServerId: Map<number, Watched>;
  /** Asked to be made on this connection, not answered: replies come in this order. */
  #creating: Watched[];
  #createdAt: number;
  #stream: GrpcStream | undefined;
  /** The token that the stream was opened with. */
  #token: string;
  #open: boolean;
  /** Whether the store has ever answered on this logical stream. */
  #answered: boolean;
  #giveUpAt: number;
  #retryAt: number;
  #tries: number;
  #loggedInAnew: boolean;
  #avoid: GrpcEndpoint | undefined;
  #progressWanted: boolean;
  #header: pb.ResponseHeader;
  #over: boolean;

  constructor(calls: EtcdCalls, sink: WatchSink, forget: (stream: EtcdWatchStream) => void) {
    this.#calls = calls;
    this.#channel = calls.channel;
    this.#sink = sink;
    this.#forget = forget;
    this.#held = new HeldResponses(sink, (reading) => this.#read(reading));
    this.#watches = new Set();
    this.#byServerId = new Map();
    this.#creating = [];
    this.#createdAt = 0;
    this.#stream = undefined;
    this.#token = '';
    this.#open = false;
    this.#answered = false;
    this.#giveUpAt = 0;
    this.#retryAt = 0;
    this.#tries = 0;
    this.#loggedInAnew = false;
    this.#avoid = undefined;
    this.#progressWanted = false;
    this.#header = { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 };
    this.#over = false;
  }

  request(request: pb.WatchRequest): void {
    if (this.#over) return;
    if (request.createRequest !== undefined) this.#create(request.createRequest);
    else if (request.cancelRequest !== undefined) this.#cancel(request.cancelRequest.watchId);
    else if (request.progressRequest !== undefined) this.#progress();
  }

  resume(): void {
    this.#held.resume();
  }

  close(): void {
    this.#finish(undefined);
  }

  /** Ends it because the client is closed. */
  shutDown(): void {
    this.#finish(new QuorateError('ERR_CLOSED', 'watch: the client was closed'));
  }

  // What the user asks for.

  #create(request: pb.WatchCreateRequest): void {
    if (this.#watches.size >= MOST_WATCHES) {
      const cancelReason = `more than ${MOST_WATCHES} watches on one stream`;
      this.#surface({ ...this.#reply(-1), created: true, canceled: true, cancelReason });
      return;
    }
    const watch = new Watched(request);
    if (this.#watches.size === 0) {
      this.#channel.hold();
      this.#giveUpAt = this.#channel.clock.now() + this.#calls.options.timeoutMs;
    }
    this.#watches.add(watch);
    this.#channel.addCheck(this);
    if (this.#open) this.#sendCreate(watch);
    else this.#connect();
  }

  #cancel(id: number): void {
    for (const watch of this.#watches) {
      const known = watch.accepted ? watch.id : watch.wireId || -1;
      if (known !== id || watch.canceling) continue;
      watch.canceling = true;
      if (!this.#open) this.#canceled(watch);
      else if (watch.serverId >= 0) this.#sendCancel(watch.serverId);
      else if (watch.wireId > 0) this.#sendCancel(watch.wireId);
      return;
    }
  }

  #progress(): void {
    // A store says nothing where a watch is not there yet; so ask when all are.
    this.#progressWanted = true;
    this.#sendProgress();
  }

  // What goes to the server.

  #send(request: Partial<pb.WatchRequest>): void {
    const message = codec.WatchRequest.create(request);
    this.#stream?.send(frameMessage(codec.WatchRequest, message));
  }

  #sendCreate(watch: Watched): void {
    if (this.#creating.length === 0) this.#createdAt = this.#channel.clock.now();
    this.#creating.push(watch);
    this.#send({ createRequest: watch.createRequest() });
  }

  #sendCancel(watchId: number): void {
    this.#send({ cancelRequest: { watchId } });
  }

  #sendProgress(): void {
    if (!this.#progressWanted || !this.#open || this.#creating.length > 0) return;
    this.#progressWanted = false;
    this.#send({ progressRequest: {} });
  }

  // The connection.

  #connect(): void {
    if (this.#stream !== undefined || this.#channel.clock.now() < this.#retryAt) return;
    if (this.#calls.mustLogIn) {
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#calls.token().then(
        () => this.#connectNow(),
        (error) => this.#loginFailed(error),
      );
      return;
    }
    this.#token = this.#calls.tokenInUse;
    const stream = this.#channel.stream(
      WATCH_PATH,
      this.#calls.streamMetadata(),
      {
        opened: (stream) => this.#opened(stream),
        message: (buffer, start, end) => this.#message(buffer, start, end),
        ended: (end) => this.#ended(end),
      },
      Number.POSITIVE_INFINITY,
      this.#avoid,
    );
    // It may have ended before this call returned.
    this.#stream = stream.over ? undefined : stream;
  }

  #connectNow(): void {
    this.#retryAt = 0;
    if (!this.#over && this.#watches.size > 0) this.#connect();
  }

  /** A cluster that cannot log anybody in just now is a cluster that is away. */
  #loginFailed(error: unknown): void {
    if (error instanceof QuorateError && error.retryable && this.#answered) this.#retryLater();
    else this.#finish(error as Error);
  }

  #opened(stream: GrpcStream): void {
    this.#stream = stream;
    this.#open = true;
    if (this.#held.full) stream.pause();
    for (const watch of this.#watches) this.#sendCreate(watch);
  }

  #read(reading: boolean): void {
    if (reading) this.#stream?.resume();
    else this.#stream?.pause();
  }

  #dropStream(): void {
    this.#stream = undefined;
    this.#open = false;
    this.#byServerId.clear();
    this.#creating = [];
    for (const watch of this.#watches) {
      watch.serverId = -1;
      if (watch.canceling) this.#canceled(watch);
    }
  }

  #ended(end: CallEnd): void {
    if (this.#over) return;
    this.#dropStream();
    const verdict = judge(end, false);
    this.#avoid = end.endpoint;
    if (verdict.staleToken) this.#renewToken(verdict);
    else if (verdict.again) this.#retryLater();
    else this.#finish(watchError(verdict));
  }

  /** A token that is refused right after a login is not the reason. */
  #renewToken(verdict: Verdict): void {
    if (this.#loggedInAnew) {
      this.#finish(watchError(verdict));
      return;
    }
    this.#loggedInAnew = true;
    this.#calls.forgetToken(this.#token);
    this.#retryAt = 0;
    this.#channel.addCheck(this);
  }

  #retryLater(): void {
    this.#retryAt = this.#channel.clock.now() + this.#calls.pauseMs(++this.#tries);
    if (this.#watches.size > 0) this.#channel.addCheck(this);
  }

  check(now: number): void {
    if (this.#watches.size > 0 && !this.#answered && now >= this.#giveUpAt) {
      this.#finish(watchError(unansweredVerdict(this.#channel.unreachable())));
      return;
    }
    if (this.#open && this.#creating.length > 0 && now - this.#createdAt >= CREATE_STALL_MS) {
      this.#elsewhere();
    }
    if (this.#stream === undefined && this.#watches.size > 0) this.#connect();
    const quiet = this.#answered && this.#open && this.#creating.length === 0;
    if (quiet || this.#watches.size === 0) this.#channel.removeCheck(this);
  }

  /** The member does not answer: go to another where there is one. */
  #elsewhere(): void {
    const endpoint = this.#stream?.endpoint;
    this.#createdAt = this.#channel.clock.now();
    this.#stream?.probe(this.#createdAt);
    if (endpoint === undefined || !this.#channel.hasOther(endpoint)) return;
    this.#avoid = endpoint;
    this.#stream?.cancel();
    this.#dropStream();
  }

  // What the server says.

  #message(buffer: Buffer, start: number, end: number): void {
    const response = codec.WatchResponse.decode(buffer, start, end);
    if (response.header.revision > 0) this.#header = response.header;
    if (response.created) this.#onCreated(response);
    else if (response.canceled) this.#onCanceled(response);
    else if (response.events.length === 0) this.#onProgress(response);
    else this.#onEvents(response, end - start);
  }

  #onCreated(response: pb.WatchResponse): void {
    const watch = this.#creating.shift();
    if (watch === undefined) return;
    this.#createdAt = this.#channel.clock.now();
    if (response.canceled) {
      this.#onRefused(watch, response);
      return;
    }
    this.#answered = true;
    this.#tries = 0;
    this.#loggedInAnew = false;
    const asked = watch.wireId;
    watch.created(response.watchId, response.header.revision);
    this.#byServerId.set(response.watchId, watch);
    if (!watch.accepted) {
      watch.id = this.#freeId(response.watchId);
      watch.accepted = true;
      this.#surface({ ...response, watchId: watch.id });
    }
    // Where its number was not known yet, it could not be cancelled until now.
    if (watch.canceling && (asked === 0 || asked !== watch.serverId)) {
      this.#sendCancel(watch.serverId);
    }
    if (this.#creating.length === 0) this.#avoid = undefined;
    this.#sendProgress();
  }

  #onRefused(watch: Watched, response: pb.WatchResponse): void {
    if (saysStaleToken(response.cancelReason) && this.#calls.options.auth && !this.#loggedInAnew) {
      this.#loggedInAnew = true;
      this.#calls.forgetToken(this.#token);
      this.#stream?.cancel();
      this.#dropStream();
      this.#connect();
      return;
    }
    this.#answered = true;
    this.#remove(watch);
    const watchId = watch.accepted ? watch.id : -1;
    this.#surface({ ...response, watchId, created: !watch.accepted });
    this.#sendProgress();
  }

  #onCanceled(response: pb.WatchResponse): void {
    const watch = this.#byServerId.get(response.watchId);
    if (watch === undefined) return;
    // The store keeps the id of a watch that compaction ended until the client cancels it.
    if (!watch.canceling) this.#sendCancel(response.watchId);
    else this.#held.drop(watch.id);
    this.#remove(watch);
    this.#surface({ ...response, watchId: watch.id });
  }

  #onProgress(response: pb.WatchResponse): void {
    const { revision } = response.header;
    if (response.watchId === -1) {
      for (const watch of this.#byServerId.values()) watch.progressed(revision);
      this.#surface(response);
      return;
    }
    const watch = this.#byServerId.get(response.watchId);
    // A member that lags behind the one before has nothing to say that is not known better.
    if (watch === undefined || !watch.progressed(revision)) return;
    this.#surface({ ...response, watchId: watch.id });
  }

  #onEvents(response: pb.WatchResponse, bytes: number): void {
    const watch = this.#byServerId.get(response.watchId);
    const news = watch?.advance(response);
    if (watch === undefined || news === undefined) return;
    news.watchId = watch.id;
    this.#surface(news, bytes);
  }

  // What the user is told.

  #surface(response: pb.WatchResponse, bytes = 0): void {
    if (this.#over) return;
    if (this.#watches.size === 0) this.#channel.removeCheck(this);
    this.#held.surface(response, bytes);
  }

  /** The user wanted it to end, and there is no server that could say so. */
  #canceled(watch: Watched): void {
    this.#remove(watch);
    this.#held.drop(watch.id);
    const { accepted } = watch;
    this.#surface({ ...this.#reply(accepted ? watch.id : -1), created: !accepted, canceled: true });
  }

  #remove(watch: Watched): void {
    if (!this.#watches.delete(watch)) return;
    if (watch.serverId >= 0) this.#byServerId.delete(watch.serverId);
    if (this.#watches.size === 0) this.#channel.release();
  }

  #reply(watchId: number): pb.WatchResponse {
    return codec.WatchResponse.create({ header: this.#header, watchId });
  }

  /** `id` where no watch of the user has it: after a reconnect a server may give it again. */
  #freeId(id: number): number {
    const taken = new Set<number>();
    for (const watch of this.#watches) if (watch.accepted) taken.add(watch.id);
    let free = id;
    while (taken.has(free)) free++;
    return free;
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#channel.removeCheck(this);
    if (this.#watches.size > 0) this.#channel.release();
    this.#watches.clear();
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#held.clear();
    this.#forget(this);
    this.#sink.end(error);
  }
}

function watchError(verdict: Verdict): QuorateError {
  return callError('watch', verdict, 1);
}

function unansweredVerdict(what: string): Verdict {
  return {
    code: 'ERR_UNAVAILABLE',
    outcome: 'not-applied',
    retryable: true,
    again: false,
    onlyHere: false,
    staleToken: false,
    what: `the watch was not accepted in time; ${what}`,
  };
}
