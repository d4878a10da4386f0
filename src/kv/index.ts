/** The key-value store: contract, conditions, the store in memory, and a `Kv` of any service. */
import '../core/runtime.ts';

export type { WaitOptions } from '../core/abort.ts';
export type { Bytes, BytesLike } from '../core/bytes.ts';
export type { Duration } from '../core/duration.ts';
export { exists, missing, unchanged } from './build.ts';
export type * from './kv.ts';
export { type KvOverOptions, kvOver } from './kv-over.ts';
export { type MemoryOptions, type MemoryService, memoryService } from './memory.ts';
export { memoryKv } from './memory-kv.ts';
export type { KvService, WatchSink, WatchStream } from './service.ts';
