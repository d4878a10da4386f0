/**
 * Assertions that stay on in production: a broken invariant in a consensus system must stop the
 * node before it makes a promise, not be found in a log a day later.
 */
import { QuorateError } from './errors.ts';

/** Throws `ERR_INTERNAL` unless `condition` holds. `message` is a literal: it costs nothing. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new QuorateError('ERR_INTERNAL', `invariant broken: ${message}`);
}

/** Closes a `switch` over a union: adding a member breaks the compilation. */
export function unreachable(value: never): never {
  throw new QuorateError('ERR_INTERNAL', `unexpected value: ${String(value)}`);
}
