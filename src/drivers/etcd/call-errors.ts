/** What the end of a call means: the error to throw, and whether the call may be sent again. */
import { type ErrorCode, type Outcome, QuorateError } from '../../core/errors.ts';
import { meaningOfStatus } from '../../proto/etcd-errors.ts';
import type { CallEnd } from './grpc-call.ts';

/** What a call that brought no reply comes down to. */
export interface Verdict {
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryable: boolean;
  /** Whether it may be sent again without being done twice, and there is hope. */
  readonly again: boolean;
  /** Whether only this member cannot: another may do it at once. */
  readonly onlyHere: boolean;
  /** Whether the server did not accept the token: a new one may help. */
  readonly staleToken: boolean;
  /** What happened. */
  readonly what: string;
}

/** Answers of a member that cannot serve the call while others can. */
const LEARNER = 'etcdserver: rpc not supported for learner';
const ONLY_HERE = new Set([LEARNER, 'etcdserver: no leader']);
/** Tokens expire, and die when the user is changed (etcd api: Auth). */
const STALE_TOKEN = new Set([
  'etcdserver: invalid auth token',
  'etcdserver: revision of auth store is old',
]);

/** Whether a learner answered: it will not do for others what it does not do now. */
export function isLearner(end: CallEnd): boolean {
  return end.status?.text === LEARNER;
}

/** Whether `text`, a status or a cancel reason, says that the token is no longer good. */
export function saysStaleToken(text: string): boolean {
  for (const one of STALE_TOKEN) if (text.endsWith(one)) return true;
  return false;
}

/**
 * Judges the end of a call. A write is sent again only where no server can have acted on it: it
 * never left, its stream was refused, or the server's own answer says that it was refused.
 */
export function judge(end: CallEnd, writes: boolean): Verdict {
  const where = end.endpoint === undefined ? '' : ` (${end.endpoint.target.name})`;
  const unclear: Outcome = writes && end.delivered ? 'unknown' : 'not-applied';
  switch (end.kind) {
    case 'status':
      return judgeStatus(end, writes, where);
    case 'lost':
      return {
        ...verdict('ERR_UNAVAILABLE', unclear, true, `connection lost${where}: ${end.why}`),
        again: unclear === 'not-applied',
      };
    case 'expired':
      if (end.endpoint === undefined) return verdict('ERR_UNAVAILABLE', unclear, true, end.why);
      return verdict('ERR_TIMEOUT', unclear, true, `${end.why} in time`);
    case 'garbage':
      return verdict('ERR_PROTOCOL', unclear, false, `${end.why}${where}`);
    case 'closed':
      return verdict('ERR_CLOSED', unclear, false, end.why);
    case 'busy':
      return verdict('ERR_BUSY', unclear, true, end.why);
    default:
      return verdict('ERR_UNAVAILABLE', unclear, true, end.why);
  }
}

function judgeStatus(end: CallEnd, writes: boolean, where: string): Verdict {
  const { code, text } = end.status ?? { code: 2, text: '' };
  const meaning = meaningOfStatus(code, text);
  const outcome: Outcome = writes ? meaning.outcome : 'not-applied';
  const staleToken = STALE_TOKEN.has(text);
  return {
    code: meaning.code,
    outcome,
    retryable: meaning.retryable,
    again: outcome === 'not-applied' && (meaning.retryable || text === LEARNER) && !staleToken,
    onlyHere: ONLY_HERE.has(text),
    staleToken,
    what: `${text === '' ? `gRPC status ${code}` : text}${where}`,
  };
}

function verdict(code: ErrorCode, outcome: Outcome, retryable: boolean, what: string): Verdict {
  return { code, outcome, retryable, again: false, onlyHere: false, staleToken: false, what };
}

/** The error to throw for `call`, such as `put of key "a"`. */
export function callError(call: string, verdict: Verdict, tries: number): QuorateError {
  const { code, outcome, retryable, what } = verdict;
  const tried = tries > 1 ? `, tried ${tries} times` : '';
  return new QuorateError(code, `${call}: ${what}${tried}${advice(verdict)}`, {
    outcome,
    retryable,
  });
}

function advice({ code, outcome, retryable }: Verdict): string {
  if (outcome === 'unknown') return '; it may have been done: read it back before trying again';
  switch (code) {
    case 'ERR_UNAVAILABLE':
      return '; nothing was done: check the endpoints and that the cluster runs, then try again';
    case 'ERR_UNAUTHENTICATED':
      return '; nothing was done: check username and password';
    case 'ERR_PROTOCOL':
      return '; check that the endpoint is a client address of an etcd-compatible server';
    case 'ERR_COMPACTED':
      return '; read without a revision, and go on from there';
    case 'ERR_CLOSED':
      return '; nothing was done';
    default:
      return retryable ? '; nothing was done: try again' : '';
  }
}
