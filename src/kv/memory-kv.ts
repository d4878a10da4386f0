/** The in-memory store as a public `Kv`: for tests and small tools that need no durability. */
import type { Kv } from './kv.ts';
import { kvOver } from './kv-over.ts';
import { type MemoryOptions, memoryService } from './memory.ts';

/**
 * Opens an empty store that lives in this process and is gone with it. It behaves as a cluster
 * does, watches and leases included.
 *
 * @example
 * ```ts
 * await using kv = memoryKv();
 * await kv.put('greeting', 'hello');
 * ```
 */
export function memoryKv(options?: MemoryOptions): Kv {
  return kvOver(memoryService(options));
}
