/** The key-value suite on the in-memory store. */
import { after, before, describe, test } from 'node:test';
import { kvCases, runCases } from '../../src/conformance/index.ts';
import { kvOver } from '../../src/kv/index.ts';
import { memoryService } from '../../src/kv/memory.ts';

describe('the in-memory store', () => {
  const service = memoryService();
  const kv = kvOver(service);
  // The store's timers do not keep a process alive; a case that waits for one needs it alive.
  let alive: NodeJS.Timeout;
  before(() => {
    alive = setInterval(() => undefined, 60_000);
  });
  after(async () => {
    clearInterval(alive);
    await kv.close();
  });
  runCases(
    kvCases,
    () => ({ kv, service }),
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
  );
});
