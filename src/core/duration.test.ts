import assert from 'node:assert/strict';
import { test } from 'node:test';
import { durationMs } from './duration.ts';

test('durations are milliseconds, or text with units', () => {
  assert.equal(durationMs(1.5, 'ttl'), 1.5);
  assert.equal(durationMs('1m30s', 'ttl'), 90_000);
  assert.equal(durationMs('0.5s', 'ttl'), 500);
});

test('text without a unit is refused, and told to have one', () => {
  for (const text of ['10', '', 'soon', '-1s', '1 s', '1m30']) {
    const message = new RegExp(
      `^ttl: "${text}" is no duration; use text with a unit, such as '500ms'`,
    );
    assert.throws(() => durationMs(text, 'ttl'), { code: 'ERR_INVALID_ARGUMENT', message });
  }
});

test('numbers that are no duration are named as they are', () => {
  for (const number of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    const message = new RegExp(`^ttl: ${number} is no duration; use milliseconds, or text`);
    assert.throws(() => durationMs(number, 'ttl'), { code: 'ERR_INVALID_ARGUMENT', message });
  }
});
