/**
 * The JSON gateway: every call of the API as a POST with a JSON body, streams as one JSON object a
 * line (etcd api: grpc-gateway). The calls are the gRPC methods themselves.
 */
import { GrpcCode, type GrpcStatus } from '../../proto/etcd-errors.ts';
import { fromJson, toJson } from '../../proto/json.ts';
import {
  type BoundMethod,
  type BoundStream,
  type BoundUnary,
  isUnary,
  type StreamCall,
  type StreamHandler,
} from '../grpc/method.ts';
import { OK, statusOf } from '../grpc/status.ts';
import { type HttpBody, type HttpReply, type HttpRequest, JSON_TYPE } from './exchange.ts';

/** Paths of etcd's gateway and the methods behind them. */
const PATHS: Readonly<Record<string, string>> = {
  '/v3/kv/range': '/etcdserverpb.KV/Range',
  '/v3/kv/put': '/etcdserverpb.KV/Put',
  '/v3/kv/deleterange': '/etcdserverpb.KV/DeleteRange',
  '/v3/kv/txn': '/etcdserverpb.KV/Txn',
  '/v3/kv/compaction': '/etcdserverpb.KV/Compact',
  '/v3/watch': '/etcdserverpb.Watch/Watch',
  '/v3/lease/grant': '/etcdserverpb.Lease/LeaseGrant',
  '/v3/lease/revoke': '/etcdserverpb.Lease/LeaseRevoke',
  '/v3/lease/keepalive': '/etcdserverpb.Lease/LeaseKeepAlive',
  '/v3/lease/timetolive': '/etcdserverpb.Lease/LeaseTimeToLive',
  '/v3/lease/leases': '/etcdserverpb.Lease/LeaseLeases',
  '/v3/kv/lease/revoke': '/etcdserverpb.Lease/LeaseRevoke',
  '/v3/kv/lease/timetolive': '/etcdserverpb.Lease/LeaseTimeToLive',
  '/v3/kv/lease/leases': '/etcdserverpb.Lease/LeaseLeases',
  '/v3/cluster/member/add': '/etcdserverpb.Cluster/MemberAdd',
  '/v3/cluster/member/remove': '/etcdserverpb.Cluster/MemberRemove',
  '/v3/cluster/member/update': '/etcdserverpb.Cluster/MemberUpdate',
  '/v3/cluster/member/promote': '/etcdserverpb.Cluster/MemberPromote',
  '/v3/cluster/member/list': '/etcdserverpb.Cluster/MemberList',
  '/v3/maintenance/alarm': '/etcdserverpb.Maintenance/Alarm',
  '/v3/maintenance/status': '/etcdserverpb.Maintenance/Status',
  '/v3/maintenance/defragment': '/etcdserverpb.Maintenance/Defragment',
  '/v3/maintenance/hashkv': '/etcdserverpb.Maintenance/HashKV',
  '/v3/maintenance/transfer-leadership': '/etcdserverpb.Maintenance/MoveLeader',
};

const HTTP_STATUS: readonly number[] = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

const HEADERS = { ...JSON_TYPE, 'grpc-metadata-content-type': 'application/grpc' };

export class Gateway {
  readonly #methods: ReadonlyMap<string, BoundMethod>;
  readonly #streams: Set<GatewayStream>;

  constructor(methods: readonly BoundMethod[]) {
    this.#streams = new Set();
    this.#methods = new Map(methods.map((bound) => [bound.path, bound]));
  }

  /** Answers what lies under `/v3/` (or, as before its time, `/v3beta/`). */
  handle(request: HttpRequest, reply: HttpReply): void {
    const path = PATHS[request.path.replace(/^\/v3beta\//, '/v3/')];
    const bound = path === undefined ? undefined : this.#methods.get(path);
    if (bound === undefined) {
      sendError(reply, { code: GrpcCode.notFound, message: 'Not Found' });
      return;
    }
    if (request.method !== 'POST') {
      sendError(reply, { code: GrpcCode.unimplemented, message: 'Method Not Allowed' });
      return;
    }
    bound.counts.started++;
    if (isUnary(bound)) void callUnary(bound, request, reply);
    else callStream(bound, request, reply, this.#streams);
  }

  /** Ends all streams: the server stops. */
  endStreams(status: GrpcStatus): void {
    for (const stream of [...this.#streams]) stream.finish(status);
  }
}

function sendError(reply: HttpReply, status: GrpcStatus): void {
  reply.send(HTTP_STATUS[status.code] ?? 500, JSON_TYPE, errorJson(status));
}

function errorJson(status: GrpcStatus): string {
  return JSON.stringify({ code: status.code, message: status.message });
}

async function callUnary(bound: BoundUnary, request: HttpRequest, reply: HttpReply): Promise<void> {
  const { method } = bound;
  try {
    const message = fromJson(method.request, request.body.toString('utf8'));
    bound.counts.received++;
    const response = await method.handle(message);
    bound.counts.sent++;
    bound.counts.handled[GrpcCode.ok]!++;
    reply.send(200, HEADERS, toJson(method.response, response));
  } catch (error) {
    const status = statusOf(error);
    bound.counts.handled[status.code]!++;
    sendError(reply, status);
  }
}

function callStream(
  bound: BoundStream,
  request: HttpRequest,
  reply: HttpReply,
  streams: Set<GatewayStream>,
): void {
  const { method } = bound;
  let messages: object[];
  try {
    messages = splitValues(request.body.toString('utf8')).map((text) =>
      fromJson(method.request, text),
    );
  } catch (error) {
    const status = statusOf(error);
    bound.counts.handled[status.code]!++;
    sendError(reply, status);
    return;
  }
  const call = new GatewayStream(bound, reply, () => streams.delete(call));
  streams.add(call);
  call.run(messages);
}

/** A body may hold several messages: one behind the other, or one a line. */
function splitValues(text: string): string[] {
  try {
    JSON.parse(text);
    return [text];
  } catch {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    return lines.length > 1 ? lines : [text];
  }
}

class GatewayStream implements StreamCall<object> {
  readonly #bound: BoundStream;
  readonly #body: HttpBody;
  readonly #handler: StreamHandler<object>;
  readonly #onOver: () => void;
  #over: boolean;

  constructor(bound: BoundStream, reply: HttpReply, onOver: () => void) {
    this.#bound = bound;
    this.#onOver = onOver;
    this.#over = false;
    this.#body = reply.stream(200, HEADERS);
    this.#handler = bound.method.open(this);
    this.#body.onWritable(() => {
      if (!this.#over) this.#handler.writable();
    });
    reply.onClosed(() => this.#close(GrpcCode.canceled));
  }

  run(messages: readonly object[]): void {
    for (const message of messages) {
      if (this.#over) return;
      this.#bound.counts.received++;
      try {
        this.#handler.message(message);
      } catch (error) {
        this.finish(statusOf(error));
      }
    }
    if (!this.#over) this.#handler.halfClosed();
  }

  send(message: object): boolean {
    if (this.#over) return true;
    this.#bound.counts.sent++;
    return this.#body.write(`{"result":${toJson(this.#bound.method.response, message)}}\n`);
  }

  finish(status: GrpcStatus): void {
    if (this.#over) return;
    if (status.code !== OK.code) this.#body.write(`{"error":${errorJson(status)}}\n`);
    this.#body.end();
    this.#close(status.code);
  }

  /** The whole request has been read already. */
  holdRequests(): void {
    undefined;
    return;
  }

  #close(code: GrpcCode): void {
    if (this.#over) return;
    this.#over = true;
    this.#bound.counts.handled[code]!++;
    this.#onOver();
    this.#handler.closed();
  }
}
