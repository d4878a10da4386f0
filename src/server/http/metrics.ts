/** `/metrics` in Prometheus' text format, under the names that etcd's tools and dashboards read. */
import { counter, gauge, type Metric } from '../../core/metric.ts';
import { familiesOf, metricText } from '../../core/metric-text.ts';
import type { NodeBackend } from '../backend.ts';
import type { BoundMethod } from '../grpc/method.ts';

/** gRPC status codes as the Go middleware spells them. */
const CODE_NAMES: readonly string[] = [
  ...['OK', 'Canceled', 'Unknown', 'InvalidArgument', 'DeadlineExceeded', 'NotFound'],
  ...['AlreadyExists', 'PermissionDenied', 'ResourceExhausted', 'FailedPrecondition', 'Aborted'],
  ...['OutOfRange', 'Unimplemented', 'Internal', 'Unavailable', 'DataLoss', 'Unauthenticated'],
];

/** What the server itself has counted. */
export interface ServerCounts {
  readonly methods: readonly BoundMethod[];
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly connections: number;
}

/** The page. */
export function metricsText(backend: NodeBackend, counts: ServerCounts): string {
  return metricText(familiesOf([...backend.metrics(), ...serverMetrics(backend, counts)]));
}

function serverMetrics(backend: NodeBackend, counts: ServerCounts): Metric[] {
  const cpu = process.cpuUsage();
  const cluster = backend.etcdVersion.replace(/\.\d+$/, '');
  return [
    gauge('etcd_server_version', 'Which version is running.', 1, {
      server_version: backend.etcdVersion,
    }),
    gauge('etcd_cluster_version', 'Which version the cluster speaks.', 1, {
      cluster_version: cluster,
    }),
    gauge('etcd_server_id', 'Server or member ID in hexadecimal format.', 1, {
      server_id: backend.header().memberId.toString(16),
    }),
    counter(
      'etcd_network_client_grpc_received_bytes_total',
      'Bytes received from gRPC clients.',
      counts.bytesReceived,
    ),
    counter(
      'etcd_network_client_grpc_sent_bytes_total',
      'Bytes sent to gRPC clients.',
      counts.bytesSent,
    ),
    gauge('quorate_server_connections', 'Open client connections.', counts.connections),
    gauge(
      'process_resident_memory_bytes',
      'Resident memory size in bytes.',
      process.memoryUsage.rss(),
    ),
    counter(
      'process_cpu_seconds_total',
      'Total user and system CPU time spent in seconds.',
      (cpu.user + cpu.system) / 1e6,
    ),
    ...counts.methods.flatMap(methodMetrics),
  ];
}

function methodMetrics({ method, counts }: BoundMethod): Metric[] {
  const labels = {
    grpc_method: method.name,
    grpc_service: method.service,
    grpc_type: method.kind,
  };
  const handled = counts.handled.flatMap((value, code) =>
    value === 0 && code !== 0
      ? []
      : [
          counter('grpc_server_handled_total', 'RPCs completed, regardless of success.', value, {
            grpc_code: CODE_NAMES[code]!,
            ...labels,
          }),
        ],
  );
  return [
    counter('grpc_server_started_total', 'RPCs started.', counts.started, labels),
    counter('grpc_server_msg_received_total', 'Messages received.', counts.received, labels),
    counter('grpc_server_msg_sent_total', 'Messages sent.', counts.sent, labels),
    ...handled,
  ];
}
