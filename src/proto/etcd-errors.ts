/**
 * Quorate's error codes and etcd's: one table, read forwards by the server and backwards by the
 * client. Clients of etcd recognise an error by its text, so the texts are exact.
 *
 * Source: etcd 3.6 `api/v3rpc/rpctypes/error.go` (names and texts of the API).
 */
import { type ErrorCode, isQuorateError, type Outcome } from '../core/errors.ts';

/** gRPC status codes. */
export const GrpcCode = {
  ok: 0,
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;
export type GrpcCode = (typeof GrpcCode)[keyof typeof GrpcCode];

/** How a call ended, as gRPC says it. */
export interface GrpcStatus {
  readonly code: GrpcCode;
  readonly message: string;
}

/** How one error code travels. `text` absent: etcd has no text for it, the error's own message is sent. */
export interface EtcdError {
  readonly grpc: GrpcCode;
  readonly text?: string;
}

/** What a status that came from a server means. `outcome` is that of a write. */
export interface ErrorMeaning {
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryable: boolean;
}

/** One entry for every error code. */
export const etcdErrors: Readonly<Record<ErrorCode, EtcdError>> = {
  ERR_INVALID_ARGUMENT: { grpc: 3 },
  ERR_EMPTY_KEY: { grpc: 3, text: 'etcdserver: key is not provided' },
  ERR_KEY_NOT_FOUND: { grpc: 3, text: 'etcdserver: key not found' },
  ERR_VALUE_PROVIDED: { grpc: 3, text: 'etcdserver: value is provided' },
  ERR_LEASE_PROVIDED: { grpc: 3, text: 'etcdserver: lease is provided' },
  ERR_INVALID_SORT: { grpc: 3, text: 'etcdserver: invalid sort option' },
  ERR_TOO_MANY_OPERATIONS: { grpc: 3, text: 'etcdserver: too many operations in txn request' },
  ERR_DUPLICATE_KEY: { grpc: 3, text: 'etcdserver: duplicate key given in txn request' },
  ERR_REQUEST_TOO_LARGE: { grpc: 3, text: 'etcdserver: request is too large' },
  ERR_COMPACTED: { grpc: 11, text: 'etcdserver: mvcc: required revision has been compacted' },
  ERR_FUTURE_REVISION: {
    grpc: 11,
    text: 'etcdserver: mvcc: required revision is a future revision',
  },
  ERR_LEASE_NOT_FOUND: { grpc: 5, text: 'etcdserver: requested lease not found' },
  ERR_LEASE_EXISTS: { grpc: 9, text: 'etcdserver: lease already exists' },
  ERR_LEASE_TTL_TOO_LARGE: { grpc: 11, text: 'etcdserver: too large lease TTL' },
  ERR_MEMBER_NOT_FOUND: { grpc: 5, text: 'etcdserver: member not found' },
  ERR_NO_SPACE: { grpc: 8, text: 'etcdserver: mvcc: database space exceeded' },
  ERR_UNSUPPORTED: { grpc: 12 },
  ERR_PERMISSION_DENIED: { grpc: 7, text: 'etcdserver: permission denied' },
  ERR_UNAUTHENTICATED: { grpc: 16, text: 'etcdserver: invalid auth token' },
  ERR_BAD_TRANSFEREE: { grpc: 9, text: 'etcdserver: bad leader transferee' },
  ERR_MEMBER_EXISTS: { grpc: 9, text: 'etcdserver: member ID already exist' },
  ERR_PEER_URL_EXISTS: { grpc: 9, text: 'etcdserver: Peer URLs already exists' },
  ERR_BAD_PEER_URLS: { grpc: 3, text: 'etcdserver: given member URLs are invalid' },
  ERR_NOT_LEARNER: { grpc: 9, text: 'etcdserver: can only promote a learner member' },
  ERR_LEARNER_NOT_READY: {
    grpc: 9,
    text: 'etcdserver: can only promote a learner member which is in sync with leader',
  },
  ERR_TOO_MANY_LEARNERS: { grpc: 9, text: 'etcdserver: too many learner members in cluster' },
  // etcd itself sends this one as UNKNOWN, and clients know it by its text.
  ERR_NOT_ENOUGH_STARTED: {
    grpc: 2,
    text: 'etcdserver: re-configuration failed due to not enough started members',
  },
  ERR_NO_LEADER: { grpc: 14, text: 'etcdserver: no leader' },
  ERR_NOT_LEADER: { grpc: 9, text: 'etcdserver: not leader' },
  ERR_LEADER_CHANGED: { grpc: 14, text: 'etcdserver: leader changed' },
  // etcd itself sends this one as UNKNOWN, and clients know it by its text.
  ERR_BUSY: { grpc: 2, text: 'etcdserver: too many requests' },
  ERR_TIMEOUT: { grpc: 14, text: 'etcdserver: request timed out' },
  ERR_UNAVAILABLE: { grpc: 14, text: 'etcdserver: unhealthy cluster' },
  ERR_CLOSED: { grpc: 14, text: 'etcdserver: server stopped' },
  ERR_WATCH_CANCELED: { grpc: 1, text: 'etcdserver: watch canceled' },
  ERR_LOCK_LOST: { grpc: 10 },
  ERR_LOCK_BUSY: { grpc: 10 },
  ERR_NOT_ELECTED: { grpc: 10 },
  ERR_RATE_LIMITED: { grpc: 8 },
  ERR_CIRCUIT_OPEN: { grpc: 14 },
  ERR_OVERLOADED: { grpc: 8 },
  ERR_CORRUPT: { grpc: 15, text: 'etcdserver: corrupt cluster' },
  ERR_DISK_FAILED: { grpc: 14, text: 'etcdserver: server stopped' },
  ERR_DATA_DIR_LOCKED: { grpc: 13 },
  ERR_DATA_DIR_MISMATCH: { grpc: 13 },
  ERR_ADDRESS_IN_USE: { grpc: 13 },
  ERR_PROTOCOL: { grpc: 13 },
  ERR_INTERNAL: { grpc: 13 },
};

/** Sent for every write that may have happened: the only text from which no client concludes that it did not. */
const UNKNOWN_OUTCOME: GrpcStatus = { code: 14, message: 'etcdserver: request timed out' };

/** Texts after which a write may have happened. */
const UNKNOWN_TEXTS: ReadonlySet<string> = new Set([
  'etcdserver: request timed out',
  'etcdserver: request timed out, possibly due to previous leader failure',
  'etcdserver: request timed out, possibly due to connection lost',
  'etcdserver: request timed out, waiting for the applied index took too long',
  'etcdserver: leader changed',
  'etcdserver: server stopped',
]);

const unknownOutcome = (code: ErrorCode): ErrorMeaning => ({
  code,
  outcome: 'unknown',
  retryable: true,
});
const refused = (code: ErrorCode): ErrorMeaning => ({
  code,
  outcome: 'not-applied',
  retryable: false,
});
const refusedNow = (code: ErrorCode): ErrorMeaning => ({
  code,
  outcome: 'not-applied',
  retryable: true,
});

/** Codes that a server reports under another code's text, and texts that only etcd itself sends. */
const FURTHER_MEANINGS: readonly (readonly [text: string, meaning: ErrorMeaning])[] = [
  // "Closed" is what the caller did to his own client; a stopped server is an unavailable one.
  ['etcdserver: server stopped', unknownOutcome('ERR_UNAVAILABLE')],
  [
    'etcdserver: request timed out, possibly due to previous leader failure',
    unknownOutcome('ERR_TIMEOUT'),
  ],
  ['etcdserver: request timed out, possibly due to connection lost', unknownOutcome('ERR_TIMEOUT')],
  [
    'etcdserver: request timed out, waiting for the applied index took too long',
    unknownOutcome('ERR_TIMEOUT'),
  ],
  ['etcdserver: request timed out, leader transfer took too long', unknownOutcome('ERR_TIMEOUT')],
  ['etcdserver: not capable', refused('ERR_UNSUPPORTED')],
  ['etcdserver: rpc not supported for learner', refused('ERR_UNSUPPORTED')],
  ['etcdserver: authentication is not enabled', refused('ERR_UNSUPPORTED')],
  [
    'etcdserver: authentication failed, invalid user ID or password',
    refused('ERR_UNAUTHENTICATED'),
  ],
  ['etcdserver: user name is empty', refused('ERR_UNAUTHENTICATED')],
  ['etcdserver: revision of auth store is old', refusedNow('ERR_UNAUTHENTICATED')],
];

const NOW_TRANSIENT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_NO_LEADER',
  'ERR_BUSY',
  'ERR_UNAVAILABLE',
  'ERR_NOT_LEADER',
]);

const meaningByText: ReadonlyMap<string, ErrorMeaning> = tableByText();

function tableByText(): Map<string, ErrorMeaning> {
  const table = new Map<string, ErrorMeaning>();
  for (const [code, { text }] of Object.entries(etcdErrors) as [ErrorCode, EtcdError][]) {
    if (text === undefined || table.has(text)) continue;
    if (UNKNOWN_TEXTS.has(text)) table.set(text, unknownOutcome(code));
    else table.set(text, NOW_TRANSIENT.has(code) ? refusedNow(code) : refused(code));
  }
  for (const [text, meaning] of FURTHER_MEANINGS) table.set(text, meaning);
  return table;
}

/** By status code alone, where the text says nothing that is known. */
function meaningByCode(code: number): ErrorMeaning {
  switch (code) {
    case GrpcCode.invalidArgument:
    case GrpcCode.outOfRange:
    case GrpcCode.failedPrecondition:
    case GrpcCode.notFound:
    case GrpcCode.alreadyExists:
      return refused('ERR_INVALID_ARGUMENT');
    case GrpcCode.deadlineExceeded:
      return unknownOutcome('ERR_TIMEOUT');
    case GrpcCode.permissionDenied:
      return refused('ERR_PERMISSION_DENIED');
    case GrpcCode.unauthenticated:
      return refused('ERR_UNAUTHENTICATED');
    case GrpcCode.resourceExhausted:
      return refused('ERR_REQUEST_TOO_LARGE');
    case GrpcCode.unimplemented:
      return refused('ERR_UNSUPPORTED');
    case GrpcCode.dataLoss:
      return { code: 'ERR_CORRUPT', outcome: 'unknown', retryable: false };
    case GrpcCode.canceled:
    case GrpcCode.unavailable:
      return unknownOutcome('ERR_UNAVAILABLE');
    default:
      return { code: 'ERR_INTERNAL', outcome: 'unknown', retryable: false };
  }
}

/** What a status other than OK that a server sent means. */
export function meaningOfStatus(code: number, text: string): ErrorMeaning {
  return meaningByText.get(text) ?? meaningByCode(code);
}

/** The status to send for `error`, whatever it is. */
export function statusOfError(error: unknown): GrpcStatus {
  if (!isQuorateError(error)) {
    return { code: GrpcCode.unknown, message: error instanceof Error ? error.message : 'error' };
  }
  const { grpc, text } = etcdErrors[error.code];
  // A text that promises "not done" would lie here; clients would retry and write twice.
  if (error.outcome === 'unknown' && !(text !== undefined && UNKNOWN_TEXTS.has(text))) {
    return UNKNOWN_OUTCOME;
  }
  return { code: grpc, message: text ?? error.message };
}
