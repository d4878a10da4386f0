/** Locks, elections and limits on Redis: `quorate/drivers/redis`. */
import '../../core/runtime.ts';

export type { IoRedisClient, NodeRedisClient, RedisClient } from './clients.ts';
export { type RedisFence, type RedisFenceOptions, redisFence } from './fence.ts';
export { type RedisLimiterOptions, redisLimiter } from './limiter.ts';
export { type RedisLocksOptions, redisElections, redisLocks } from './locks.ts';
export { type RedlockOptions, redlock } from './redlock.ts';
