import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { systemClock } from './clock.ts';

describe('the clock of the process', () => {
  it('does not run at once what is due in months', async () => {
    let runs = 0;
    const cancel = systemClock.after(2 ** 31 + 5, () => {
      runs += 1;
    });
    await wait(20);
    cancel();
    assert.equal(runs, 0);
  });

  it('runs it when its time has come, unless it is cancelled before', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const longest = 2 ** 31 - 1;
      let runs = 0;
      const run = (): void => {
        runs += 1;
      };
      systemClock.after(2 * longest + 5, run);
      const cancel = systemClock.after(longest + 5, run);
      mock.timers.tick(longest);
      cancel();
      mock.timers.tick(longest);
      mock.timers.tick(4);
      assert.equal(runs, 0);
      mock.timers.tick(1);
      assert.equal(runs, 1);
    } finally {
      mock.timers.reset();
    }
  });

  it('keeps the process alive for what says so, and for nothing else', () => {
    const alive = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = alive();
    const cancel = systemClock.after(60_000, () => undefined);
    assert.equal(alive(), before);
    const cancelKept = systemClock.after(60_000, () => undefined, true);
    assert.equal(alive(), before + 1);
    cancel();
    cancelKept();
    assert.equal(alive(), before);
  });
});
