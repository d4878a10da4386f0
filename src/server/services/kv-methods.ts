/** The services KV, Watch and Lease of the etcd v3 API, on a `KvService`. */

import type { KvService, WatchSink } from '../../kv/service.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import {
  type GrpcMethod,
  type StreamCall,
  type StreamHandler,
  streaming,
  unary,
} from '../grpc/method.ts';
import { OK, statusOf } from '../grpc/status.ts';

const KV = 'etcdserverpb.KV';
const LEASE = 'etcdserverpb.Lease';

/** Keep-alives of one stream that may be in progress; further ones are not read until some end. */
const MAX_PENDING_KEEP_ALIVES = 1024;

export function kvMethods(kv: KvService): GrpcMethod[] {
  return [
    unary(KV, 'Range', codec.RangeRequest, codec.RangeResponse, (q) => kv.range(q)),
    unary(KV, 'Put', codec.PutRequest, codec.PutResponse, (q) => kv.put(q)),
    unary(KV, 'DeleteRange', codec.DeleteRangeRequest, codec.DeleteRangeResponse, (q) =>
      kv.deleteRange(q),
    ),
    unary(KV, 'Txn', codec.TxnRequest, codec.TxnResponse, (q) => kv.txn(q)),
    unary(KV, 'Compact', codec.CompactionRequest, codec.CompactionResponse, (q) => kv.compact(q)),
    watchMethod(kv),
    ...leaseMethods(kv),
  ];
}

function leaseMethods(kv: KvService): GrpcMethod[] {
  return [
    unary(LEASE, 'LeaseGrant', codec.LeaseGrantRequest, codec.LeaseGrantResponse, (q) =>
      kv.leaseGrant(q),
    ),
    unary(LEASE, 'LeaseRevoke', codec.LeaseRevokeRequest, codec.LeaseRevokeResponse, (q) =>
      kv.leaseRevoke(q),
    ),
    streaming(
      'bidi_stream',
      LEASE,
      'LeaseKeepAlive',
      codec.LeaseKeepAliveRequest,
      codec.LeaseKeepAliveResponse,
      (call) => new KeepAlives(kv, call),
    ),
    unary(
      LEASE,
      'LeaseTimeToLive',
      codec.LeaseTimeToLiveRequest,
      codec.LeaseTimeToLiveResponse,
      (q) => kv.leaseTimeToLive(q),
    ),
    unary(LEASE, 'LeaseLeases', codec.LeaseLeasesRequest, codec.LeaseLeasesResponse, (q) =>
      kv.leaseLeases(q),
    ),
  ];
}

/** One watch stream of the API is one of the store; the store does all the work. */
function watchMethod(kv: KvService): GrpcMethod {
  let openStreams = 0;
  const open = (call: StreamCall<pb.WatchResponse>): StreamHandler<pb.WatchRequest> => {
    const sink: WatchSink = {
      response(response) {
        // With more than one receiver about, events are likely to be sent more than once.
        if (openStreams > 1) response.events.forEach(codec.encodeEventOnce);
        return call.send(response);
      },
      end(error) {
        call.finish(error === undefined ? OK : statusOf(error));
      },
    };
    const stream = kv.watch(sink);
    openStreams++;
    return {
      message: (request) => stream.request(request),
      // Half-closing does not end a watch, in etcd either.
      halfClosed: () => undefined,
      closed() {
        openStreams--;
        stream.close();
      },
      writable: () => stream.resume(),
    };
  };
  return streaming(
    'bidi_stream',
    'etcdserverpb.Watch',
    'Watch',
    codec.WatchRequest,
    codec.WatchResponse,
    open,
  );
}

/**
 * The keep-alives of one stream: all in progress at once, answered in the order of the requests, so
 * that one slow renewal delays replies of this stream only.
 */
class KeepAlives implements StreamHandler<pb.LeaseKeepAliveRequest> {
  readonly #kv: KvService;
  readonly #call: StreamCall<pb.LeaseKeepAliveResponse>;
  #pending: number;
  #last: Promise<void>;
  #halfClosed: boolean;

  constructor(kv: KvService, call: StreamCall<pb.LeaseKeepAliveResponse>) {
    this.#kv = kv;
    this.#call = call;
    this.#pending = 0;
    this.#last = Promise.resolve();
    this.#halfClosed = false;
  }

  message(request: pb.LeaseKeepAliveRequest): void {
    this.#pending++;
    if (this.#pending >= MAX_PENDING_KEEP_ALIVES) this.#call.holdRequests(true);
    const reply = this.#kv.leaseKeepAlive(request);
    // Before its turn comes, a failure has nobody who listens to it.
    reply.catch(() => undefined);
    const before = this.#last;
    this.#last = this.#answer(before, reply);
  }

  halfClosed(): void {
    this.#halfClosed = true;
    if (this.#pending === 0) this.#call.finish(OK);
  }

  closed(): void {
    // Renewals in progress end by themselves.
  }

  writable(): void {
    // Replies are few: as many as there were requests.
  }

  async #answer(before: Promise<void>, reply: Promise<pb.LeaseKeepAliveResponse>): Promise<void> {
    await before;
    try {
      this.#call.send(await reply);
    } catch (error) {
      this.#call.finish(statusOf(error));
    }
    this.#pending--;
    if (this.#pending === MAX_PENDING_KEEP_ALIVES / 2) this.#call.holdRequests(false);
    if (this.#halfClosed && this.#pending === 0) this.#call.finish(OK);
  }
}
