/** What comes back from Redis: errors as ours, with an honest outcome, and replies checked before use. */
import { type ErrorCode, isQuorateError, QuorateError } from '../../core/errors.ts';

/** Words that begin an error reply of Redis. The command was not carried out. */
const REFUSALS: Readonly<Record<string, readonly [ErrorCode, retryable: boolean, what: string]>> = {
  NOAUTH: ['ERR_UNAUTHENTICATED', false, 'wants a password'],
  WRONGPASS: ['ERR_UNAUTHENTICATED', false, 'does not take the password'],
  NOPERM: ['ERR_PERMISSION_DENIED', false, 'does not allow the user this command, key or channel'],
  OOM: ['ERR_NO_SPACE', true, 'has no memory left'],
  READONLY: ['ERR_UNAVAILABLE', true, 'is a replica'],
  LOADING: ['ERR_UNAVAILABLE', true, 'is loading its data'],
  MASTERDOWN: ['ERR_UNAVAILABLE', true, 'is a replica without its master'],
  NOREPLICAS: ['ERR_UNAVAILABLE', true, 'has too few replicas'],
  BUSY: ['ERR_UNAVAILABLE', true, 'is busy with a script'],
  MISCONF: ['ERR_UNAVAILABLE', true, 'cannot save to its disk'],
  CLUSTERDOWN: ['ERR_UNAVAILABLE', true, 'is in a cluster that is down'],
  MOVED: ['ERR_UNSUPPORTED', false, 'is one of a cluster'],
  WRONGTYPE: ['ERR_PROTOCOL', false, 'has something else under the key'],
  QUORATE: ['ERR_PROTOCOL', false, 'has something else under the key'],
};

/** Errors of the clients that say that nothing was sent. */
const NOT_SENT = new Set(['ClientClosedError', 'ClientOfflineError']);

/** Whether Redis does not know the script of an EVALSHA. */
export function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

/** Whether it is an answer of the server, and not a failure to get one. */
function isReply(error: Error): boolean {
  return /Reply|^SimpleError$|^BlobError$/.test(`${error.name} ${error.constructor.name}`);
}

/** The error of a command that was given to a client. */
export function fromClient(error: unknown): QuorateError {
  if (isQuorateError(error)) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  const [word = ''] = cause.message.split(' ', 1);
  const refusal = Object.hasOwn(REFUSALS, word) ? REFUSALS[word] : undefined;
  if (refusal !== undefined) {
    const [code, retryable, what] = refusal;
    return new QuorateError(code, `Redis ${what}: ${cause.message}`, { retryable, cause });
  }
  if (isReply(cause) || /^ERR /.test(cause.message)) {
    // Of a script that failed half way its first writes stay.
    const outcome = 'unknown';
    return new QuorateError('ERR_PROTOCOL', `Redis refused: ${cause.message}`, { outcome, cause });
  }
  const outcome = NOT_SENT.has(cause.constructor.name) ? 'not-applied' : 'unknown';
  const message = `the connection to Redis failed: ${cause.message}`;
  return new QuorateError('ERR_UNAVAILABLE', message, { outcome, retryable: true, cause });
}

/** The reply is none that the script gives. */
export function nonsense(reply: unknown): QuorateError {
  return new QuorateError(
    'ERR_PROTOCOL',
    `Redis answered ${JSON.stringify(reply)?.slice(0, 100)} to a script: is it Redis 6 or later?`,
    { outcome: 'unknown' },
  );
}

/** What a script replies. */
export type Values = readonly (string | number)[];

/** @throws `ERR_PROTOCOL` unless it is a list of texts and whole numbers */
export function listOf(reply: unknown): Values {
  if (Array.isArray(reply) && reply.every(isValue)) return reply as Values;
  throw nonsense(reply);
}

function isValue(value: unknown): boolean {
  return typeof value === 'string' || Number.isSafeInteger(value);
}

/** @throws `ERR_PROTOCOL` unless it is a whole number in digits */
export function tokenOf(value: string | number | undefined): bigint {
  if (Number.isSafeInteger(value) && Number(value) >= 0) return BigInt(value!);
  if (value === undefined || !/^\d{1,20}$/.test(String(value))) throw nonsense(value);
  return BigInt(value);
}
