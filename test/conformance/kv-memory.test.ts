/** The key-value suite on the in-memory store. */

import { after, describe, test } from 'node:test';
import { kvCases, runCases } from '../../src/conformance/index.ts';
import { clockInFastTime } from '../../src/conformance/test-time.ts';
import { kvOver } from '../../src/kv/index.ts';
import { memoryService } from '../../src/kv/memory.ts';

describe('the in-memory store', () => {
  const clock = clockInFastTime();
  const service = memoryService({ clock });
  const kv = kvOver(service);
  after(() => kv.close());
  runCases(
    kvCases,
    () => ({ kv, service, clock }),
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
  );
});
