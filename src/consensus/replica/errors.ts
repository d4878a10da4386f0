/** What a replica that cannot do its part says. */
import { QuorateError } from '../../core/errors.ts';

export function notLeading(): QuorateError {
  return new QuorateError('ERR_NOT_LEADER', 'this node does not lead, or no longer', {
    retryable: true,
  });
}

/** The answer to all that was open, and all that comes later, once `why` has ended the replica. */
export function stopped(why: Error, outcome: 'unknown' | 'not-applied'): QuorateError {
  return new QuorateError('ERR_CLOSED', `the node stopped: ${why.message}`, {
    outcome,
    retryable: outcome === 'not-applied',
    cause: why,
  });
}
