/** Locks and elections on Consul: `quorate/drivers/consul`. */
import '../../core/runtime.ts';

export { type ConsulLocksOptions, consulElections, consulLocks } from './locks.ts';
export type { ConsulConnection, ConsulTls } from './options.ts';
