/**
 * Keep-alives of all leases on one shared stream. Replies carry the lease's id and come in order,
 * so each answers the oldest request for that id. A stream that breaks or stays silent is opened
 * anew on another endpoint and what waits is sent again: renewing twice does no harm.
 *
 * The reply's TTL counts from when the caller asked, the earliest time it can count from: holders
 * of a lease must never believe in it for longer than the server does.
 */
import type { WaitOptions } from '../../core/abort.ts';
import { QuorateError } from '../../core/errors.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { callError, judge, type Verdict } from './call-errors.ts';
import type { EtcdCalls } from './calls.ts';
import type { CallEnd, GrpcStream } from './grpc-call.ts';
import { type Check, closedError, type GrpcChannel } from './grpc-channel.ts';
import type { GrpcEndpoint } from './grpc-endpoint.ts';
import { frameMessage } from './grpc-message.ts';
import { LEASE_KEEP_ALIVE_PATH, shownLease } from './methods.ts';

interface Pending {
  readonly id: bigint;
  readonly deadline: number;
  settled: boolean;
  readonly resolve: (response: pb.LeaseKeepAliveResponse) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
}

/**
 * A reply that takes longer may come sooner from another member; bounds in ms. The shortest lease of
 * etcd is 2 s and is renewed after a third of that: a second of waiting leaves time for another try.
 */
const SHORTEST_STALL_MS = 250;
const LONGEST_STALL_MS = 1_000;
/** Renewals waiting at once; beyond it `ERR_BUSY`. */
const MOST_PENDING = 65_536;

export class LeaseKeepAlives implements Check {
  readonly #calls: EtcdCalls;
  readonly #channel: GrpcChannel;
  readonly #stallMs: number;
  /** Not answered, in the order they were asked. */
  readonly #pending: Set<Pending>;
  /** Sent on the stream there is now, by lease, oldest first; also those given up since. */
  readonly #sent: Map<bigint, Pending[]>;
  /** Since when the stream there is now owes an answer, be the one who asked gone by now or not. */
  #owingSince: number | undefined;
  #stream: GrpcStream | undefined;
  /** The token that the stream was opened with. */
  #token: string;
  #open: boolean;
  #retryAt: number;
  #tries: number;
  #loggedInAnew: boolean;
  #last: Verdict | undefined;
  #avoid: GrpcEndpoint | undefined;

  constructor(calls: EtcdCalls) {
    this.#calls = calls;
    this.#channel = calls.channel;
    const third = calls.options.timeoutMs / 3;
    this.#stallMs = Math.min(LONGEST_STALL_MS, Math.max(SHORTEST_STALL_MS, third));
    this.#pending = new Set();
    this.#sent = new Map();
    this.#owingSince = undefined;
    this.#stream = undefined;
    this.#token = '';
    this.#open = false;
    this.#retryAt = 0;
    this.#tries = 0;
    this.#loggedInAnew = false;
    this.#last = undefined;
    this.#avoid = undefined;
  }

  /** Renews a lease; a reply with a TTL of zero or less says that it is gone. */
  renew(
    request: pb.LeaseKeepAliveRequest,
    { signal }: WaitOptions = {},
  ): Promise<pb.LeaseKeepAliveResponse> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.#channel.closed) return reject(closedError(renewal(request.id)));
      if (this.#pending.size >= MOST_PENDING) return reject(busyError(request.id));
      const deadline = this.#channel.clock.now() + this.#calls.options.timeoutMs;
      const pending: Pending = {
        id: request.id,
        deadline,
        settled: false,
        resolve,
        reject,
        signal,
        onAbort: () => this.#settle(pending, () => reject(signal?.reason)),
      };
      signal?.addEventListener('abort', pending.onAbort, { once: true });
      if (this.#pending.size === 0) this.#channel.addCheck(this);
      this.#channel.hold();
      this.#pending.add(pending);
      if (this.#open) this.#send(pending);
      else this.#connect();
    });
  }

  #settle(pending: Pending, tell: () => void): void {
    if (pending.settled) return;
    pending.settled = true;
    pending.signal?.removeEventListener('abort', pending.onAbort);
    this.#pending.delete(pending);
    this.#channel.release();
    if (this.#pending.size === 0) this.#channel.removeCheck(this);
    tell();
  }

  #connect(): void {
    if (this.#stream !== undefined || this.#channel.clock.now() < this.#retryAt) return;
    if (this.#calls.mustLogIn) {
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#calls.token().then(
        () => this.#reconnect(),
        (error) => this.#failAll(error),
      );
      return;
    }
    this.#token = this.#calls.tokenInUse;
    const stream = this.#channel.stream(
      LEASE_KEEP_ALIVE_PATH,
      this.#calls.streamMetadata(),
      {
        opened: (stream) => this.#opened(stream),
        message: (buffer, start, end) => this.#reply(buffer, start, end),
        ended: (end) => this.#ended(end),
      },
      Number.POSITIVE_INFINITY,
      this.#avoid,
    );
    // It may have ended before this call returned.
    this.#stream = stream.over ? undefined : stream;
  }

  #reconnect(): void {
    this.#retryAt = 0;
    if (this.#pending.size > 0) this.#connect();
  }

  #failAll(error: unknown): void {
    this.#retryAt = 0;
    for (const pending of this.#pending) this.#settle(pending, () => pending.reject(error));
  }

  #opened(stream: GrpcStream): void {
    this.#stream = stream;
    this.#open = true;
    for (const pending of this.#pending) this.#send(pending);
  }

  #send(pending: Pending): void {
    this.#owingSince ??= this.#channel.clock.now();
    const queue = this.#sent.get(pending.id);
    if (queue === undefined) this.#sent.set(pending.id, [pending]);
    else queue.push(pending);
    this.#stream?.send(frameMessage(codec.LeaseKeepAliveRequest, { id: pending.id }));
  }

  #reply(buffer: Buffer, start: number, end: number): void {
    const response = codec.LeaseKeepAliveResponse.decode(buffer, start, end);
    const queue = this.#sent.get(response.id);
    const pending = queue?.shift();
    if (queue?.length === 0) this.#sent.delete(response.id);
    this.#owingSince = this.#sent.size === 0 ? undefined : this.#channel.clock.now();
    this.#tries = 0;
    this.#loggedInAnew = false;
    this.#avoid = undefined;
    if (pending !== undefined) this.#settle(pending, () => pending.resolve(response));
  }

  #ended(end: CallEnd): void {
    this.#dropStream();
    const verdict = judge(end, false);
    this.#last = verdict;
    this.#avoid = end.endpoint;
    if (verdict.staleToken && !this.#loggedInAnew) {
      this.#loggedInAnew = true;
      this.#calls.forgetToken(this.#token);
      this.#reconnect();
      return;
    }
    if (!verdict.again) this.#refuse(end, verdict);
    this.#retryAt = this.#channel.clock.now() + this.#calls.pauseMs(++this.#tries);
  }

  /** The server works on requests in order: its refusal is meant for the oldest one it had. */
  #refuse(end: CallEnd, verdict: Verdict): void {
    for (const pending of this.#pending) {
      this.#settle(pending, () => pending.reject(callError(renewal(pending.id), verdict, 1)));
      if (end.kind === 'status') return;
    }
  }

  #dropStream(): void {
    this.#stream = undefined;
    this.#open = false;
    this.#owingSince = undefined;
    this.#sent.clear();
  }

  check(now: number): void {
    for (const pending of this.#pending) {
      if (now >= pending.deadline) this.#expire(pending);
    }
    // A caller may give each of its tries less time than this: the silence counts over all of them.
    if (this.#open && this.#owingSince !== undefined && now - this.#owingSince >= this.#stallMs) {
      this.#avoid = this.#stream?.endpoint;
      this.#stream?.probe(now);
      this.#stream?.cancel();
      this.#dropStream();
    }
    if (this.#pending.size > 0) this.#connect();
  }

  #expire(pending: Pending): void {
    const reached = this.#open || this.#last !== undefined;
    const what = this.#open
      ? `no answer from ${this.#stream?.endpoint?.target.name} in time`
      : (this.#last?.what ?? this.#channel.unreachable());
    const verdict: Verdict = {
      code: reached ? 'ERR_TIMEOUT' : 'ERR_UNAVAILABLE',
      // It may have been renewed: no harm, but not nothing either.
      outcome: reached ? 'unknown' : 'not-applied',
      retryable: true,
      again: false,
      onlyHere: false,
      staleToken: false,
      what,
    };
    this.#settle(pending, () => pending.reject(callError(renewal(pending.id), verdict, 1)));
  }

  close(): void {
    this.#stream?.cancel();
    this.#dropStream();
    for (const pending of this.#pending) {
      this.#settle(pending, () => pending.reject(closedError(renewal(pending.id))));
    }
  }
}

function busyError(id: bigint): QuorateError {
  const what = `${MOST_PENDING} renewals wait already; nothing was sent: try again`;
  return new QuorateError('ERR_BUSY', `${renewal(id)}: ${what}`, { retryable: true });
}

function renewal(id: bigint): string {
  return `renewal of ${shownLease(id)}`;
}
