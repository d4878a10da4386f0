import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import type { Core } from '../core.ts';
import type { Transport } from '../transport.ts';
import { HandOver } from './hand-over.ts';
import { replicaSettings } from './settings.ts';

test('a hand-over that waits ends with its replica and leaves no timer', async () => {
  const clock = new VirtualClock();
  const handOver = new HandOver({
    id: 'a',
    core: { transferLeadership: () => true } as Partial<Core> as Core,
    transport: { peers: () => [{ id: 'b', connected: true }] } as Partial<Transport> as Transport,
    clock,
    settings: replicaSettings(),
    leader: () => 'a',
    wake: () => undefined,
  });
  const moved = handOver.to('b', { signal: new AbortController().signal });
  assert.equal(clock.pending, 1);
  handOver.stop(new Error('closed'));
  await assert.rejects(moved, /closed/);
  assert.equal(clock.pending, 0);
});
