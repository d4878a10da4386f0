/** Health over HTTP: paths, status codes and bodies. The paths are those of Kubernetes' own servers. */
import type { HealthScope } from './check.ts';
import type { HealthChecks, HealthReport, HealthRequest, HealthResponse } from './health-checks.ts';

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
  health: Pick<HealthChecks, 'report'>,
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
  response.writeHead(status, headers);
  if (method === 'HEAD') response.end();
  else response.end(body);
}
