/** The services Maintenance and Cluster of the etcd v3 API, and gRPC's health service, on a node. */

import * as codec from '../../proto/etcd.ts';
import { GrpcCode } from '../../proto/etcd-errors.ts';
import type * as pb from '../../proto/messages.ts';
import { ServingStatus } from '../../proto/messages.ts';
import type { NodeBackend } from '../backend.ts';
import { type GrpcMethod, streaming, unary } from '../grpc/method.ts';
import { GrpcFailure } from '../grpc/status.ts';

const MAINTENANCE = 'etcdserverpb.Maintenance';
const CLUSTER = 'etcdserverpb.Cluster';
const HEALTH = 'grpc.health.v1.Health';

export function nodeMethods(backend: NodeBackend): GrpcMethod[] {
  return [...maintenanceMethods(backend), ...clusterMethods(backend), ...healthMethods()];
}

function maintenanceMethods(backend: NodeBackend): GrpcMethod[] {
  return [
    unary(MAINTENANCE, 'Status', codec.StatusRequest, codec.StatusResponse, () => backend.status()),
    unary(MAINTENANCE, 'Alarm', codec.AlarmRequest, codec.AlarmResponse, (q) => backend.alarm(q)),
    unary(MAINTENANCE, 'HashKV', codec.HashKvRequest, codec.HashKvResponse, (q) =>
      backend.hashKv(q),
    ),
    unary(MAINTENANCE, 'MoveLeader', codec.MoveLeaderRequest, codec.MoveLeaderResponse, (q) =>
      backend.moveLeader(q),
    ),
    unary(
      MAINTENANCE,
      'Defragment',
      codec.DefragmentRequest,
      codec.DefragmentResponse,
      async (): Promise<pb.DefragmentResponse> => {
        await backend.defragment();
        return { header: undefined };
      },
    ),
  ];
}

function clusterMethods(backend: NodeBackend): GrpcMethod[] {
  return [
    unary(CLUSTER, 'MemberList', codec.MemberListRequest, codec.MemberListResponse, (q) =>
      backend.memberList(q),
    ),
    unary(CLUSTER, 'MemberAdd', codec.MemberAddRequest, codec.MemberAddResponse, (q) =>
      backend.memberAdd(q),
    ),
    unary(CLUSTER, 'MemberRemove', codec.MemberRemoveRequest, codec.MemberRemoveResponse, (q) =>
      backend.memberRemove(q),
    ),
    unary(CLUSTER, 'MemberUpdate', codec.MemberUpdateRequest, codec.MemberUpdateResponse, (q) =>
      backend.memberUpdate(q),
    ),
    unary(CLUSTER, 'MemberPromote', codec.MemberPromoteRequest, codec.MemberPromoteResponse, (q) =>
      backend.memberPromote(q),
    ),
  ];
}

/** As in etcd: a server that answers is serving; the only service known is the whole (`""`). */
function healthMethods(): GrpcMethod[] {
  const { HealthCheckRequest: request, HealthCheckResponse: response } = codec;
  return [
    unary(HEALTH, 'Check', request, response, (q) => servingStatus(q.service)),
    streaming('server_stream', HEALTH, 'Watch', request, response, (call) => ({
      message: (q) => void call.send(watchedStatus(q.service)),
      halfClosed: () => undefined,
      closed: () => undefined,
      writable: () => undefined,
    })),
  ];
}

function servingStatus(service: string): pb.HealthCheckResponse {
  if (service === '') return { status: ServingStatus.serving };
  throw new GrpcFailure(GrpcCode.notFound, 'unknown service');
}

function watchedStatus(service: string): pb.HealthCheckResponse {
  return { status: service === '' ? ServingStatus.serving : ServingStatus.serviceUnknown };
}
