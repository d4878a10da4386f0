/** What tests ask of the errors that calls reject with. */
import assert from 'node:assert/strict';
import { type ErrorCode, isQuorateError, type QuorateError } from '../../src/core/errors.ts';

/** The error that `work` rejects with. */
export async function errorOf(work: Promise<unknown>, code: ErrorCode): Promise<QuorateError> {
  const error = await work.then(
    () => assert.fail(`${code} expected`),
    (reason: unknown) => reason,
  );
  assert.ok(isQuorateError(error), String(error));
  assert.equal(error.code, code, error.message);
  return error;
}
