/**
 * Settings are completed and checked together.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { type RaftSettings, validateSettings } from './settings.ts';

describe('settings', () => {
  test('defaults are complete and valid', () => {
    assert.deepEqual(validateSettings({ electionTicks: 20 }).electionTicks, 20);
    assert.equal(validateSettings().preVote, true);
  });

  test('settings that contradict each other are refused by name', () => {
    const cases: [Partial<RaftSettings>, RegExp][] = [
      [{ electionTicks: 1, heartbeatTicks: 1 }, /electionTicks \(1\) must be greater/],
      [{ maxAppendBytes: 0 }, /maxAppendBytes must be a whole number/],
      [{ electionTicks: 2.5 }, /electionTicks must be a whole number/],
      [{ maxAppendBytes: 1 << 30 }, /maxInflightBytes .* must be at least maxAppendBytes/],
      [{ maxInflightMessages: 1e6 }, /maxInflightMessages .* at most 65536/],
    ];
    for (const [settings, text] of cases) {
      assert.throws(
        () => validateSettings(settings),
        (error: Error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && text.test(error.message),
      );
    }
  });
});
