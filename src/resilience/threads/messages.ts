/**
 * What a pool and its threads say to each other. One task is with a thread at a time, so that it is known which one
 * a thread had when it ended.
 */
import { isQuorateError, QuorateError } from '../../core/errors.ts';

/** Marks in shared memory. Requests sent so far: where the pool wakes a thread that waits for the next one. */
export const SENT = 0;
/** The request that was begun last. */
export const BEGUN = 1;

/** The module is there, with these functions. */
export interface ThreadReady {
  readonly exports: readonly string[];
}

/** The module could not be loaded. */
export interface ThreadUnable {
  readonly unable: Thrown;
}

export interface ThreadRequest {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

export interface ThreadReply {
  readonly id: number;
  readonly value: unknown;
  /** Instead of the value. */
  readonly thrown: Thrown | undefined;
  /** The heap has grown too large. */
  readonly isFull: boolean;
}

export type ThreadMessage = ThreadReady | ThreadUnable | ThreadReply;

/** What was thrown: the copy of an error has only its name, message, stack and cause, so the rest goes beside it. */
export interface Thrown {
  readonly error: unknown;
  readonly fields: Readonly<Record<string, unknown>> | undefined;
  readonly isOurs: boolean;
}

/** For what cannot be copied either. */
export function plainlyThrown(error: unknown): Thrown {
  return { error: plainCopy(error), fields: undefined, isOurs: false };
}

function plainCopy(error: unknown): Error {
  try {
    const isError = error instanceof Error;
    const copy = new Error(isError ? error.message : String(error));
    if (isError && error.stack !== undefined) copy.stack = error.stack;
    return copy;
  } catch {
    return new Error('what was thrown can neither be copied nor be said in words');
  }
}

export function thrownFrom(error: unknown): Thrown {
  if (!(error instanceof Error)) return { error, fields: undefined, isOurs: false };
  // Not enumerable, and lost by a copy.
  const errors = error instanceof AggregateError ? { errors: error.errors } : undefined;
  return { error, fields: { ...error, ...errors }, isOurs: isQuorateError(error) };
}

export function errorFrom({ error, fields, isOurs }: Thrown): unknown {
  if (fields === undefined || !(error instanceof Error)) return error;
  if (!isOurs) return Object.assign(error, fields);
  const ours = fields as unknown as QuorateError;
  // Fields that it has not are `undefined`, and stay so.
  const copy = new QuorateError(ours.code, error.message, {
    ...ours,
    cause: error.cause,
  } as object);
  if (error.stack !== undefined) copy.stack = error.stack;
  return copy;
}
