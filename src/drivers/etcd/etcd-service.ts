/**
 * The etcd v3 API over the wire as a `KvService`: our own client for etcd, for Quorate's nodes and
 * for whatever else speaks it, with what the command line needs besides the store.
 */
import type { WaitOptions } from '../../core/abort.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Kv } from '../../kv/kv.ts';
import { kvOver } from '../../kv/kv-over.ts';
import type { KvService, WatchSink, WatchStream } from '../../kv/service.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { type CallSettings, EtcdCalls } from './calls.ts';
import { GrpcChannel } from './grpc-channel.ts';
import { LeaseKeepAlives } from './lease-keep-alives.ts';
import * as methods from './methods.ts';
import { type EtcdOptions, parseEndpoint, resolveOptions } from './options.ts';
import { EtcdWatchStream } from './watch-stream.ts';

/** Whether one endpoint can serve. */
export interface EndpointHealth {
  readonly endpoint: string;
  readonly healthy: boolean;
  readonly tookMs: number;
  /** Why it is not healthy. */
  readonly error: Error | undefined;
}

/**
 * What concerns the cluster rather than the store. Calls that name an endpoint (`host:port`, of the
 * client's list or not) go to it alone and fail at once where it cannot be reached.
 */
export interface EtcdExtras {
  /** The endpoints given, as `host:port`. */
  readonly endpoints: readonly string[];
  memberList(options?: WaitOptions): Promise<pb.MemberListResponse>;
  /** Adds a member that is to be reached at `peerUrls` once it is started. */
  memberAdd(request: pb.MemberAddRequest, options?: WaitOptions): Promise<pb.MemberAddResponse>;
  memberRemove(id: bigint, options?: WaitOptions): Promise<pb.MemberRemoveResponse>;
  /** Replaces the peer URLs of a member. */
  memberUpdate(
    request: pb.MemberUpdateRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberUpdateResponse>;
  /** Makes a voter of a learner that has caught up. */
  memberPromote(id: bigint, options?: WaitOptions): Promise<pb.MemberPromoteResponse>;
  status(endpoint: string, options?: WaitOptions): Promise<pb.StatusResponse>;
  hashKv(
    endpoint: string,
    request?: Partial<pb.HashKvRequest>,
    options?: WaitOptions,
  ): Promise<pb.HashKvResponse>;
  defragment(endpoint: string, options?: WaitOptions): Promise<pb.DefragmentResponse>;
  /** Makes a linearizable read on the endpoint and asks for alarms, as `etcdctl endpoint health`. */
  health(endpoint: string, options?: WaitOptions): Promise<EndpointHealth>;
  /** Alarms that are on. */
  alarms(options?: WaitOptions): Promise<readonly pb.AlarmMember[]>;
  alarm(request: pb.AlarmRequest, options?: WaitOptions): Promise<pb.AlarmResponse>;
  /** Finds the leader and asks it to hand over to the member `targetId`. */
  moveLeader(targetId: bigint, options?: WaitOptions): Promise<pb.MoveLeaderResponse>;
}

/**
 * The public `Kv` on an etcd-compatible cluster. Connects at the first call.
 *
 * Reads are repeated on another endpoint within `timeoutMs`; writes only where it is certain that
 * they were not done, otherwise they reject with `outcome: 'unknown'`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for options that cannot be.
 *
 * @example
 * ```ts
 * await using kv = etcdKv({ endpoints: '127.0.0.1:2379' });
 * await kv.put('greeting', 'hello');
 * ```
 */
export function etcdKv(options: EtcdOptions): Kv {
  return kvOver(etcdService(options));
}

/** The same on the level of the API's own messages. See `etcdKv`. */
export function etcdService(options: EtcdOptions): KvService & EtcdExtras {
  return new EtcdService(options);
}

class EtcdService implements KvService, EtcdExtras {
  readonly endpoints: readonly string[];
  readonly #channel: GrpcChannel;
  readonly #calls: EtcdCalls;
  readonly #keepAlives: LeaseKeepAlives;
  readonly #watchStreams: Set<EtcdWatchStream>;
  readonly #tls: EtcdOptions['tls'];

  constructor(options: EtcdOptions) {
    const resolved = resolveOptions(options);
    this.endpoints = resolved.targets.map(({ name }) => name);
    this.#channel = new GrpcChannel(resolved);
    this.#calls = new EtcdCalls(this.#channel, resolved);
    this.#keepAlives = new LeaseKeepAlives(this.#calls);
    this.#watchStreams = new Set();
    this.#tls = resolved.tls;
  }

  range(request: pb.RangeRequest, options?: WaitOptions): Promise<pb.RangeResponse> {
    return this.#calls.run(methods.RANGE, request, options);
  }
  put(request: pb.PutRequest, options?: WaitOptions): Promise<pb.PutResponse> {
    return this.#calls.run(methods.PUT, request, options);
  }
  deleteRange(
    request: pb.DeleteRangeRequest,
    options?: WaitOptions,
  ): Promise<pb.DeleteRangeResponse> {
    return this.#calls.run(methods.DELETE_RANGE, request, options);
  }
  txn(request: pb.TxnRequest, options?: WaitOptions): Promise<pb.TxnResponse> {
    return this.#calls.run(methods.TXN, request, options);
  }
  compact(request: pb.CompactionRequest, options?: WaitOptions): Promise<pb.CompactionResponse> {
    return this.#calls.run(methods.COMPACT, request, options);
  }

  watch(sink: WatchSink): WatchStream {
    const stream = new EtcdWatchStream(this.#calls, sink, (one) => this.#watchStreams.delete(one));
    this.#watchStreams.add(stream);
    if (this.#channel.closed) queueMicrotask(() => stream.shutDown());
    return stream;
  }

  leaseGrant(request: pb.LeaseGrantRequest, options?: WaitOptions): Promise<pb.LeaseGrantResponse> {
    return this.#calls.run(methods.LEASE_GRANT, request, options);
  }
  leaseRevoke(
    request: pb.LeaseRevokeRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseRevokeResponse> {
    return this.#calls.run(methods.LEASE_REVOKE, request, options);
  }
  leaseKeepAlive(
    request: pb.LeaseKeepAliveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseKeepAliveResponse> {
    return this.#keepAlives.renew(request, options);
  }
  leaseTimeToLive(
    request: pb.LeaseTimeToLiveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseTimeToLiveResponse> {
    return this.#calls.run(methods.LEASE_TIME_TO_LIVE, request, options);
  }
  leaseLeases(
    request: pb.LeaseLeasesRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseLeasesResponse> {
    return this.#calls.run(methods.LEASE_LEASES, request, options);
  }

  memberList(options?: WaitOptions): Promise<pb.MemberListResponse> {
    return this.#calls.run(methods.MEMBER_LIST, { linearizable: true }, options);
  }
  memberAdd(request: pb.MemberAddRequest, options?: WaitOptions): Promise<pb.MemberAddResponse> {
    return this.#calls.run(methods.MEMBER_ADD, request, options);
  }
  memberRemove(id: bigint, options?: WaitOptions): Promise<pb.MemberRemoveResponse> {
    return this.#calls.run(methods.MEMBER_REMOVE, { id }, options);
  }
  memberUpdate(
    request: pb.MemberUpdateRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberUpdateResponse> {
    return this.#calls.run(methods.MEMBER_UPDATE, request, options);
  }
  memberPromote(id: bigint, options?: WaitOptions): Promise<pb.MemberPromoteResponse> {
    return this.#calls.run(methods.MEMBER_PROMOTE, { id }, options);
  }
  alarm(request: pb.AlarmRequest, options?: WaitOptions): Promise<pb.AlarmResponse> {
    return this.#calls.run(methods.ALARM, request, options);
  }
  async alarms(options?: WaitOptions): Promise<readonly pb.AlarmMember[]> {
    return (await this.alarm(codec.AlarmRequest.create(), options)).alarms;
  }

  status(endpoint: string, options?: WaitOptions): Promise<pb.StatusResponse> {
    return this.#at(endpoint, methods.STATUS, {}, options);
  }
  hashKv(
    endpoint: string,
    request?: Partial<pb.HashKvRequest>,
    options?: WaitOptions,
  ): Promise<pb.HashKvResponse> {
    return this.#at(endpoint, methods.HASH_KV, codec.HashKvRequest.create(request), options);
  }
  defragment(endpoint: string, options?: WaitOptions): Promise<pb.DefragmentResponse> {
    return this.#at(endpoint, methods.DEFRAGMENT, {}, options);
  }

  async health(endpoint: string, options?: WaitOptions): Promise<EndpointHealth> {
    const { clock } = this.#channel;
    const startedAt = clock.now();
    let error: Error | undefined;
    try {
      await this.#healthRead(endpoint, options);
      const request = codec.AlarmRequest.create();
      const { alarms } = await this.#at(endpoint, methods.ALARM, request, options);
      if (alarms.length > 0) error = alarmError(endpoint, alarms);
    } catch (cause) {
      if (options?.signal?.aborted) throw cause;
      error = cause as Error;
    }
    const tookMs = clock.now() - startedAt;
    return { endpoint, healthy: error === undefined, tookMs, error };
  }

  /** The key that etcdctl reads too; not to be allowed to read it is a healthy answer. */
  async #healthRead(endpoint: string, options?: WaitOptions): Promise<void> {
    try {
      const request = codec.RangeRequest.create({ key: 'health' });
      await this.#at(endpoint, methods.RANGE, request, options);
    } catch (error) {
      if (!isQuorateError(error, 'ERR_PERMISSION_DENIED')) throw error;
    }
  }

  async moveLeader(targetId: bigint, options?: WaitOptions): Promise<pb.MoveLeaderResponse> {
    const request: pb.MoveLeaderRequest = { targetId };
    return this.#at(await this.#leader(options), methods.MOVE_LEADER, request, options);
  }

  /** An address of the leader: any member knows who it is, the list of members knows where. */
  async #leader(options?: WaitOptions): Promise<string> {
    const [{ members }, { leader }] = await Promise.all([
      this.memberList(options),
      this.#calls.run(methods.STATUS, {}, options),
    ]);
    const url = members.find(({ id }) => id === leader)?.clientUrls[0];
    if (url !== undefined) return url;
    throw new QuorateError(
      'ERR_NO_LEADER',
      'the cluster has no leader now whose address is known; nothing was done: try again',
      { retryable: true },
    );
  }

  /** Calls one endpoint. */
  async #at<Q extends object, A extends object>(
    endpoint: string,
    method: methods.Method<Q, A>,
    request: Q,
    options: CallSettings = {},
  ): Promise<A> {
    const only = this.#channel.endpointOf(parseEndpoint(endpoint, this.#tls));
    return this.#calls.run(method, request, { ...options, only });
  }

  /** Ends every call with `ERR_CLOSED`, every watch, and all connections. Idempotent. */
  async close(): Promise<void> {
    for (const stream of this.#watchStreams) stream.shutDown();
    this.#keepAlives.close();
    this.#channel.close();
  }
}

function alarmError(endpoint: string, alarms: readonly pb.AlarmMember[]): QuorateError {
  const names = ['NONE', 'NOSPACE', 'CORRUPT'];
  const list = alarms.map(({ memberId, alarm }) => `${names[alarm]} on ${memberId.toString(16)}`);
  return new QuorateError('ERR_UNAVAILABLE', `${endpoint}: alarms are on: ${list.join(', ')}`);
}
