/** A guard in front of the routes of a service, and its adapters. */
export type { RequestHeaders } from '../../core/headers.ts';
export { type ExpressRequest, guardExpress } from './express.ts';
export {
  type FastifyLike,
  type FastifyReplyLike,
  type FastifyRequestLike,
  guardFastify,
} from './fastify.ts';
export {
  type BeginOptions,
  currentRequest,
  type GuardedRequest,
  type RequestContext,
  traceHeaders,
} from './guarded-request.ts';
export { guardHono, type HonoContextLike } from './hono.ts';
export { guardNode, type NodeHandler } from './node.ts';
export type { GuardDeadline, GuardLimit, RequestGuardOptions } from './options.ts';
export type { Refusal, RefusalReason } from './refusal.ts';
export { type RequestGuard, requestGuard } from './request-guard.ts';
export type { RequestGuardStats, RequestSeries } from './stats.ts';
