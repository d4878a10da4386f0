/** The key-value suite on the in-memory store. */

import { after, before, describe, test } from 'node:test';
import { kvCases, runCases } from '../../src/conformance/index.ts';
import { kvOver } from '../../src/kv/index.ts';
import { memoryService } from '../../src/kv/memory.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { passTime } from './support.ts';

describe('the in-memory store', () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock });
  const kv = kvOver(service);
  const stop = new AbortController();
  let time: Promise<void>;
  before(() => {
    time = passTime(clock, stop.signal);
  });
  after(async () => {
    stop.abort();
    await time;
    await kv.close();
  });
  runCases(
    kvCases,
    () => ({ kv, service, clock }),
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
  );
});
