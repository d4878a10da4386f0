/**
 * The store as the etcd v3 API sees it: requests in, responses out, in the API's own messages.
 *
 * The in-memory store, the embedded replica and the wire client implement it; the gRPC server hands
 * requests to it unchanged, and `kvOver` makes the public `Kv` of it. Errors are `QuorateError`s.
 */
import type { WaitOptions } from '../core/abort.ts';
import type * as pb from '../proto/messages.ts';

/** Where a watch stream's responses go. */
export interface WatchSink {
  /**
   * Takes a response. `false`: the receiver is slow, send nothing more until `WatchStream.resume`
   * (replies to create and cancel still come; events wait in history and are refilled from there).
   */
  response(response: pb.WatchResponse): boolean;
  /** The stream is over; without `error` because `close` was called. */
  end(error: Error | undefined): void;
}

/** One watch stream with any number of watches on it, as the API's `Watch` call. */
export interface WatchStream {
  /** Creates or cancels a watch, or asks for progress; the answer comes to the sink. */
  request(request: pb.WatchRequest): void;
  /** The receiver can take more, after `response` had returned `false`. */
  resume(): void;
  /** Ends all its watches; `sink.end` follows at once. Idempotent. */
  close(): void;
}

/**
 * A store, call by call as in etcd's v3 API: see there what each does, and `Kv` for its guarantees.
 * To implement it is to make a store usable by `kvOver`, `serveEtcd` and the conformance suite.
 */
export interface KvService {
  range(request: pb.RangeRequest, options?: WaitOptions): Promise<pb.RangeResponse>;
  put(request: pb.PutRequest, options?: WaitOptions): Promise<pb.PutResponse>;
  deleteRange(
    request: pb.DeleteRangeRequest,
    options?: WaitOptions,
  ): Promise<pb.DeleteRangeResponse>;
  txn(request: pb.TxnRequest, options?: WaitOptions): Promise<pb.TxnResponse>;
  compact(request: pb.CompactionRequest, options?: WaitOptions): Promise<pb.CompactionResponse>;
  /** Opens a stream; what its watches see goes to `sink`. */
  watch(sink: WatchSink): WatchStream;
  leaseGrant(request: pb.LeaseGrantRequest, options?: WaitOptions): Promise<pb.LeaseGrantResponse>;
  leaseRevoke(
    request: pb.LeaseRevokeRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseRevokeResponse>;
  leaseKeepAlive(
    request: pb.LeaseKeepAliveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseKeepAliveResponse>;
  leaseTimeToLive(
    request: pb.LeaseTimeToLiveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseTimeToLiveResponse>;
  leaseLeases(
    request: pb.LeaseLeasesRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseLeasesResponse>;
  /** Ends every watch stream, and lets go of what the service holds. Idempotent. */
  close(): Promise<void>;
}
