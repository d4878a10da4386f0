/**
 * Calls with one reply, made safe: repeated on another endpoint within the deadline where that
 * cannot do a thing twice, logged in where the cluster wants it, and ended by an honest error.
 */
import type { OutgoingHttpHeaders } from 'node:http2';
import { orAborted, sleep, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import { QuorateError } from '../../core/errors.ts';
import { callError, isLearner, judge } from './call-errors.ts';
import type { CallEnd } from './grpc-call.ts';
import type { GrpcChannel } from './grpc-channel.ts';
import type { GrpcEndpoint } from './grpc-endpoint.ts';
import { frameMessage } from './grpc-message.ts';
import { AUTHENTICATE, type Method } from './methods.ts';
import type { ResolvedOptions } from './options.ts';

export interface CallSettings extends WaitOptions {
  /** Only this endpoint. */
  readonly only?: GrpcEndpoint;
  /** @defaultValue the client's */
  readonly timeoutMs?: number;
}

/** Between tries: etcd's own client waits 25 ms; an election takes a second or more. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 250;

/** A call logs in anew so often: whoever changes users and roles ends tokens that are just made. */
const MOST_LOGINS = 3;
/** The pause before a try that is hopeless. */
const NEVER: number = Number.POSITIVE_INFINITY;

const NO_METADATA: OutgoingHttpHeaders = {};
const WITH_LEADER: OutgoingHttpHeaders = { hasleader: 'true' };

export class EtcdCalls {
  readonly channel: GrpcChannel;
  readonly options: ResolvedOptions;
  /** The token in use; empty where the cluster wants none; `undefined` before the login. */
  #token: string | undefined;
  #login: Promise<string> | undefined;

  constructor(channel: GrpcChannel, options: ResolvedOptions) {
    this.channel = channel;
    this.options = options;
    this.#token = options.auth === undefined ? '' : undefined;
    this.#login = undefined;
  }

  /** Makes a call. @throws QuorateError, or the signal's reason. */
  async run<Q extends object, A extends object>(
    method: Method<Q, A>,
    request: Q,
    settings: CallSettings = {},
  ): Promise<A> {
    const { signal, only } = settings;
    throwIfAborted(signal);
    const { channel } = this;
    const deadline = channel.clock.now() + (settings.timeoutMs ?? this.options.timeoutMs);
    const frame = frameMessage(method.request, request);
    const needsLeader = method.needsLeader(request);
    const writes = method.writes(request);
    let logins = 0;
    let avoid: GrpcEndpoint | undefined;
    for (let tries = 1; ; tries++) {
      const token = this.#token ?? (await this.token(method === AUTHENTICATE, signal));
      const metadata = metadataOf(needsLeader, token);
      const { path } = method;
      const impatient = !writes;
      const end = await channel.unary({
        path,
        frame,
        metadata,
        deadline,
        signal,
        only,
        avoid,
        impatient,
      });
      if (end.kind === 'reply') return decoded(method, request, end, writes);
      if (end.kind === 'aborted') throw signal?.reason;
      const verdict = judge(end, writes);
      const logsIn = verdict.staleToken && this.options.auth !== undefined && logins < MOST_LOGINS;
      let pauseMs = this.pauseMs(tries);
      if (logsIn) {
        this.forgetToken(token);
        if (logins++ === 0) pauseMs = 0;
      } else if (verdict.onlyHere) {
        pauseMs = this.#passOver(end, tries, only) ?? pauseMs;
      }
      const isFinal = !(logsIn || verdict.again) || pauseMs === NEVER;
      if (isFinal || channel.clock.now() + pauseMs >= deadline) {
        throw callError(method.describe(request), verdict, tries);
      }
      avoid = end.endpoint;
      if (pauseMs > 0) await this.#pause(pauseMs, signal);
    }
  }

  /**
   * The pause after a member said that it cannot do this: none where others were not asked yet;
   * `undefined` leaves it as it is.
   */
  #passOver(end: CallEnd, tries: number, only: GrpcEndpoint | undefined): number | undefined {
    const { channel } = this;
    if (only !== undefined || channel.isAlone) {
      // A learner stays one for a while; a leader may be there any moment.
      return isLearner(end) ? NEVER : undefined;
    }
    end.endpoint?.passOver();
    const isNextReady = end.endpoint !== undefined && channel.hasOther(end.endpoint);
    return isNextReady && tries < channel.endpoints.length ? 0 : undefined;
  }

  /** How long to wait before try number `tries + 1`, part of it at random. */
  pauseMs(tries: number): number {
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(tries - 1, 8));
    return longest / 2 + this.options.random.below(Math.ceil(longest / 2) + 1);
  }

  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    this.channel.hold();
    try {
      await sleep(this.channel.clock, ms, signal);
    } finally {
      this.channel.release();
    }
  }

  /** Whether a login comes before the first call. */
  get mustLogIn(): boolean {
    return this.#token === undefined;
  }

  /** The token that calls carry now; empty where there is none. */
  get tokenInUse(): string {
    return this.#token ?? '';
  }

  /** Metadata of a stream, with the token there is. */
  streamMetadata(): OutgoingHttpHeaders {
    return metadataOf(true, this.#token ?? '');
  }

  /** Forgets `token` where it is still the one in use; the next call logs in. */
  forgetToken(token: string): void {
    if (this.options.auth !== undefined && this.#token === token) this.#token = undefined;
  }

  /** The token, after a login that all callers share. */
  async token(anonymous = false, signal?: AbortSignal): Promise<string> {
    const { auth } = this.options;
    if (auth === undefined || anonymous) return '';
    if (this.#token !== undefined) return this.#token;
    this.#login ??= this.#logIn(auth).finally(() => {
      this.#login = undefined;
    });
    return orAborted(this.#login, signal);
  }

  async #logIn(auth: { readonly username: string; readonly password: string }): Promise<string> {
    try {
      const { token } = await this.run(AUTHENTICATE, { ...auth });
      this.#token = token;
    } catch (error) {
      // Credentials are no reason to fail on a cluster that asks for none.
      if (!isAuthOff(error)) throw error;
      this.#token = '';
    }
    return this.#token;
  }
}

function isAuthOff(error: unknown): boolean {
  return (error as Error).message.includes('etcdserver: authentication is not enabled');
}

function metadataOf(needsLeader: boolean, token: string): OutgoingHttpHeaders {
  if (token === '') return needsLeader ? WITH_LEADER : NO_METADATA;
  return needsLeader ? { hasleader: 'true', token } : { token };
}

function decoded<Q extends object, A extends object>(
  method: Method<Q, A>,
  request: Q,
  end: CallEnd,
  writes: boolean,
): A {
  try {
    return method.response.decode(end.message!);
  } catch (cause) {
    const call = method.describe(request);
    const where = end.endpoint?.target.name;
    throw new QuorateError(
      'ERR_PROTOCOL',
      `${call}: ${where} answered what cannot be read: ${(cause as Error).message}`,
      { outcome: writes ? 'unknown' : 'not-applied', cause },
    );
  }
}
