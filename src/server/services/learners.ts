/**
 * A learner answers what concerns itself and reads that may be old, and refuses everything else, so that
 * clients go to a voter (etcd: `isRPCSupportedForLearner`).
 */
import { GrpcCode, type GrpcStatus } from '../../proto/etcd-errors.ts';
import type { RangeRequest } from '../../proto/messages.ts';
import type { GrpcMethod, StreamHandler } from '../grpc/method.ts';
import { GrpcFailure } from '../grpc/status.ts';

/** `methods`, refused while `isLearner` says so, but for those that a learner serves. */
export function exceptOnLearners(
  methods: readonly GrpcMethod[],
  isLearner: () => boolean,
): GrpcMethod[] {
  return methods.map((method) => {
    if (method.kind !== 'unary') {
      const { open } = method;
      return {
        ...method,
        open(call) {
          if (!isLearner()) return open(call);
          // The call is not ready to end before this has returned.
          queueMicrotask(() => call.finish(NOT_ON_LEARNERS));
          return DEAF;
        },
      };
    }
    const { handle } = method;
    const serves = servedBy(method.name);
    return {
      ...method,
      handle: (request) => {
        if (isLearner() && !serves(request)) {
          throw new GrpcFailure(NOT_ON_LEARNERS.code, NOT_ON_LEARNERS.message);
        }
        return handle(request);
      },
    };
  });
}

function servedBy(name: string): (request: object) => boolean {
  if (name === 'Status') return () => true;
  if (name === 'Range') return (request) => (request as RangeRequest).serializable;
  return () => false;
}

const NOT_ON_LEARNERS: GrpcStatus = {
  code: GrpcCode.failedPrecondition,
  message: 'etcdserver: rpc not supported for learner',
};

const DEAF: StreamHandler<object> = {
  message: () => undefined,
  halfClosed: () => undefined,
  closed: () => undefined,
  writable: () => undefined,
};
