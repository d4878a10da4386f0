/** The suites of locks and elections inside one process. */
import { describe } from 'node:test';
import { lacksOf } from '../../src/conformance/index.ts';
import { localElections, localLocks, localSpace } from '../../src/locks/index.ts';
import { lockSuites } from './locks-over-kv.ts';

describe('locks inside one process', () => {
  const space = localSpace();
  lockSuites(
    () => ({
      ttlMs: 1000,
      open: ({ owner }) => ({
        locks: localLocks({ space, owner }),
        elections: localElections({ space, owner }),
      }),
      leftovers: async () => (space.size === 0 ? [] : [`${space.size} names`]),
    }),
    {
      ...lacksOf(localLocks().guarantees),
      stall: 'there is no time to live that could pass',
      abandon: 'who is gone with the process is gone with its locks',
      depose: 'only forceRelease of the same space takes a leadership away',
    },
  );
});
