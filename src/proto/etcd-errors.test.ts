import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, QuorateError } from '../core/errors.ts';
import { etcdErrors, meaningOfStatus, statusOfError } from './etcd-errors.ts';

/** Codes that deliberately come back as another one. */
const LOSSY = new Set<ErrorCode>(['ERR_CLOSED', 'ERR_DISK_FAILED']);

test('every code with a text comes back from its own status', () => {
  for (const [code, entry] of Object.entries(etcdErrors)) {
    if (entry.text === undefined || LOSSY.has(code as ErrorCode)) continue;
    const status = statusOfError(new QuorateError(code as ErrorCode, 'detail'));
    assert.deepEqual(status, { code: entry.grpc, message: entry.text });
    assert.equal(meaningOfStatus(status.code, status.message).code, code);
  }
});

test('a write that may have happened is never reported with a text that denies it', () => {
  for (const code of Object.keys(etcdErrors) as ErrorCode[]) {
    const status = statusOfError(new QuorateError(code, 'detail', { outcome: 'unknown' }));
    assert.equal(meaningOfStatus(status.code, status.message).outcome, 'unknown', code);
  }
});

test('a refusal is read as not applied', () => {
  const meaning = meaningOfStatus(3, 'etcdserver: key is not provided');
  assert.deepEqual(meaning, { code: 'ERR_EMPTY_KEY', outcome: 'not-applied', retryable: false });
});

test('an unknown text is judged by its status code, cautiously', () => {
  assert.equal(meaningOfStatus(14, 'connection reset').outcome, 'unknown');
  assert.equal(meaningOfStatus(13, 'boom').outcome, 'unknown');
  assert.equal(meaningOfStatus(12, 'no such method').code, 'ERR_UNSUPPORTED');
});
