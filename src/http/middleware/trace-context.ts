/**
 * Trace context, by which the spans of one request find each other across services (W3C Trace Context, Recommendation of
 * 23 November 2021): read strictly, passed on with an id of our own.
 */
import type { Random } from '../../core/random.ts';

/** A `traceparent`, taken apart. */
export interface TraceParent {
  /** 32 hexadecimal digits, the same in all services that the request goes through. */
  readonly traceId: string;
  /** 16 hexadecimal digits: who sent it. */
  readonly parentId: string;
  /** Whoever sent it may have recorded it, and asks others to. */
  readonly isSampled: boolean;
}

/** Version, trace, parent, flags; versions to come may have more, after another dash (section 3.2.2). */
const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_PARENT = '0'.repeat(16);
const SAMPLED = 1;

/** What a `traceparent` header says; `undefined` for one that is wrong in any way, or was sent twice. */
export function parseTraceParent(header: unknown): TraceParent | undefined {
  if (typeof header !== 'string') return undefined;
  const [, version, traceId, parentId, flags, rest] = TRACEPARENT.exec(header) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  if (version === '00' && rest !== undefined) return undefined;
  if (traceId === NO_TRACE || parentId === NO_PARENT) return undefined;
  const isSampled = (Number.parseInt(flags!, 16) & SAMPLED) === SAMPLED;
  return { traceId: traceId!, parentId: parentId!, isSampled };
}

/** The header of it, of version 00. */
export function formatTraceParent({ traceId, parentId, isSampled }: TraceParent): string {
  return `00-${traceId}-${parentId}-${isSampled ? '01' : '00'}`;
}

/** A key, of one vendor or of a tenant of one; then up to 256 printable characters but comma and equals sign (section 3.3.1.3). */
const MEMBER =
  /^([a-z][a-z\d_\-*/]{0,255}|[a-z\d][a-z\d_\-*/]{0,240}@[a-z][a-z\d_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_MEMBERS = 32;
/** Space and tab are the only blanks among these. */
const PRINTABLE = /^[\t\x20-\x7e]*$/;

/** A `tracestate` header as it is to be passed on; `undefined` where there is none, or one that is wrong. */
export function parseTraceState(header: unknown): string | undefined {
  if (typeof header !== 'string' || !PRINTABLE.test(header)) return undefined;
  const members = header
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
  if (members.length === 0 || members.length > MAX_MEMBERS) return undefined;
  return members.every((member) => MEMBER.test(member)) ? members.join(',') : undefined;
}

/** An id that is not all zeros. */
export function newTraceId(random: Random): string {
  return hex(random) + hex(random);
}

/** An id that is not all zeros. */
export function newParentId(random: Random): string {
  return hex(random);
}

function hex(random: Random): string {
  return random.id63().toString(16).padStart(16, '0');
}
