/** `quorate/server`: a node served to etcd clients. */
import '../core/runtime.ts';

export type { Metric } from '../core/metric.ts';
export type { NodeBackend } from './backend.ts';
export type { Http2Limits } from './http2/limits.ts';
export type { TlsFiles } from './listener.ts';
export { type EtcdServer, type ServeOptions, serveEtcd } from './serve.ts';
