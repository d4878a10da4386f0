/** The key-value store: contract, conditions, and what makes a `Kv` of a service. */
export type { Bytes, BytesLike } from '../core/bytes.ts';
export { exists, missing, unchanged } from './build.ts';
export type * from './kv.ts';
export { type KvOverOptions, kvOver } from './kv-over.ts';
export type { KvService, WatchSink, WatchStream } from './service.ts';
