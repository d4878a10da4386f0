/** Health over HTTP: paths, status codes and bodies. The paths are those of Kubernetes' own servers. */
import type { CheckReport, HealthScope } from './check.ts';

/** The answer to one of the questions. */
export interface HealthReport {
  /** `degraded`: what is not critical is down. `failed`: what is critical is, or the process is shutting down. */
  readonly status: 'ok' | 'degraded' | 'failed';
  /** Whether it is shutting down. */
  readonly draining: boolean;
  /** By name, in the order in which they were given. */
  readonly checks: Readonly<Record<string, CheckReport>>;
}

/** A request as far as health is concerned: those of `node:http` and of Express are such, and so is Fastify's `request.raw`. */
export interface HealthRequest {
  readonly method?: string | undefined;
  /** Path and query. */
  readonly url?: string | undefined;
}

/** The part of `node:http`'s response that is used here. */
export interface HealthResponse {
  readonly headersSent?: boolean | undefined;
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(body?: string): unknown;
}

/** A response, as data. */
export interface HealthAnswer {
  readonly status: 200 | 405 | 503;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. For `HEAD` it is given too; whoever sends it leaves it out. */
  readonly body: string;
}

const SCOPES: Readonly<Record<string, HealthScope>> = {
  '/livez': 'live',
  '/readyz': 'ready',
  '/startupz': 'startup',
};

export function answerHealth(
  health: { report(scope: HealthScope): Promise<HealthReport> },
  { method = 'GET', url = '/' }: HealthRequest,
): Promise<HealthAnswer> | undefined {
  const start = url.indexOf('?');
  const path = start < 0 ? url : url.slice(0, start);
  if (!Object.hasOwn(SCOPES, path)) return undefined;
  if (method !== 'GET' && method !== 'HEAD') return Promise.resolve(NOT_ALLOWED);
  const isVerbose = start >= 0 && new URLSearchParams(url.slice(start)).has('verbose');
  return health.report(SCOPES[path]!).then((report) => answerOf(report, isVerbose));
}

function answerOf(report: HealthReport, isVerbose: boolean): HealthAnswer {
  const { status, draining } = report;
  const brief = draining ? { status, draining } : { status };
  const body = JSON.stringify(isVerbose ? { ...brief, checks: report.checks } : brief);
  return { status: status === 'failed' ? 503 : 200, headers: headersFor(body), body };
}

function headersFor(body: string): Record<string, string> {
  return {
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    // An answer that a cache kept says nothing about now.
    'cache-control': 'no-store',
  };
}

const NOT_ALLOWED_BODY = '{"error":"use GET or HEAD"}';
const NOT_ALLOWED: HealthAnswer = {
  status: 405,
  headers: { ...headersFor(NOT_ALLOWED_BODY), allow: 'GET, HEAD' },
  body: NOT_ALLOWED_BODY,
};

export function sendHealth(
  { status, headers, body }: HealthAnswer,
  { method }: HealthRequest,
  response: HealthResponse,
): void {
  // Somebody else may have answered while the checks ran.
  if (response.headersSent) return;
  response.writeHead(status, headers);
  // Node would drop a body, or throw: see its `rejectNonStandardBodyWrites`.
  if (method === 'HEAD') response.end();
  else response.end(body);
}
