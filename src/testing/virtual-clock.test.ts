import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from './virtual-clock.ts';

test('time is moved by milliseconds or by text; what is no time is refused and moves nothing', async () => {
  const clock = new VirtualClock();
  await clock.advance('1m30s');
  await clock.advance(0.5);
  clock.stall('1s');
  await assert.rejects(clock.advance(-1), { code: 'ERR_INVALID_ARGUMENT' });
  for (const wrong of ['5', Number.NaN, undefined] as never[]) {
    await assert.rejects(clock.advance(wrong), { code: 'ERR_INVALID_ARGUMENT' });
    assert.throws(() => clock.stall(wrong), { code: 'ERR_INVALID_ARGUMENT' });
  }
  assert.equal(clock.now(), 91_000.5);
  clock.stall(-1_000);
  assert.equal(clock.now(), 90_000.5, 'it jumped back');
});

test('however short a delay is, time has passed when it is over', async () => {
  const clock = new VirtualClock();
  await clock.advance(5311.000019073487);
  const beganMs = clock.now();
  let overMs = beganMs;
  clock.after(2.3e-13, () => {
    overMs = clock.now();
  });
  await clock.advance(1);
  assert.ok(overMs > beganMs);
});
