/** Locks under chaos on quorums: see `chaos-locks.test.ts`. */
import { lockChaos } from '../support/lock-chaos/suite.ts';

lockChaos({
  'quorum, embedded': 'all',
  quorum: 'all',
  etcd: 'all',
  // The rest is the session's, which is the same as that of the line above.
  'etcd, transaction lock': ['holder stopped', 'holder killed', 'replies lost', 'lock stolen'],
});
