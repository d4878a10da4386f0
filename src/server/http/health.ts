/** What load balancers and orchestrators ask: `/health`, `/livez`, `/readyz`, `/version` (etcd api). */
import { AlarmType } from '../../proto/messages.ts';
import type { NodeBackend } from '../backend.ts';
import { type HttpReply, type HttpRequest, JSON_TYPE, sendText } from './exchange.ts';

/** Longer, a health check is a failed one. */
const HEALTH_TIMEOUT_MS = 5000;

type Check = (backend: NodeBackend, signal: AbortSignal) => Promise<void>;

const serializableRead: Check = (backend, signal) => backend.health({ serializable: true, signal });
const linearizableRead: Check = (backend, signal) =>
  backend.health({ serializable: false, signal });

const nonLearner: Check = async (backend) => {
  if (backend.status().isLearner) throw new Error('not ready: the member is a learner');
};

const dataCorruption: Check = async (backend, signal) => {
  const { alarms } = await backend.alarm({ action: 0, memberId: 0n, alarm: 0 }, { signal });
  if (alarms.some(({ alarm }) => alarm === AlarmType.corrupt))
    throw new Error('alarm activated: CORRUPT');
};

const PROBES: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  '/livez': { serializable_read: serializableRead },
  '/readyz': {
    linearizable_read: linearizableRead,
    non_learner: nonLearner,
    data_corruption: dataCorruption,
    serializable_read: serializableRead,
  },
};

/** `withTimeout(ms, run)` runs with a signal that is aborted after `ms`. */
export type WithTimeout = <T>(
  timeoutMs: number,
  run: (signal: AbortSignal) => Promise<T>,
) => Promise<T>;

/** Answers a path of health; `false` where it is none. */
export function handleHealth(
  backend: NodeBackend,
  withTimeout: WithTimeout,
  request: HttpRequest,
  reply: HttpReply,
): boolean {
  const { path } = request;
  if (path === '/health') {
    if (isGet(request, reply)) void sendHealth(backend, withTimeout, request, reply);
    return true;
  }
  if (path === '/version') {
    if (isGet(request, reply)) sendVersion(backend, reply);
    return true;
  }
  const probe = path.startsWith('/livez') ? '/livez' : '/readyz';
  const all = PROBES[probe]!;
  const name = path.slice(probe.length + 1);
  const wanted = path === probe ? Object.keys(all) : Object.hasOwn(all, name) ? [name] : [];
  if (!path.startsWith(probe) || wanted.length === 0) return false;
  if (isGet(request, reply)) void sendProbe(backend, withTimeout, all, wanted, request, reply);
  return true;
}

function isGet(request: HttpRequest, reply: HttpReply): boolean {
  if (request.method === 'GET') return true;
  sendText(reply, 405, 'Method Not Allowed\n', { allow: 'GET' });
  return false;
}

async function sendHealth(
  backend: NodeBackend,
  withTimeout: WithTimeout,
  request: HttpRequest,
  reply: HttpReply,
): Promise<void> {
  const serializable = request.query.get('serializable') === 'true';
  const excluded = request.query.getAll('exclude');
  let reason = '';
  try {
    reason = await withTimeout(HEALTH_TIMEOUT_MS, async (signal) => {
      const { alarms } = await backend.alarm({ action: 0, memberId: 0n, alarm: 0 }, { signal });
      for (const { alarm } of alarms) {
        const name = alarm === AlarmType.noSpace ? 'NOSPACE' : 'CORRUPT';
        if (!excluded.includes(name)) return `ALARM ${name}`;
      }
      if (!serializable && !backend.hasLeader()) return 'RAFT NO LEADER';
      await backend.health({ serializable, signal });
      return '';
    });
  } catch (error) {
    reason = `RANGE ERROR:${error instanceof Error ? error.message : String(error)}`;
  }
  const body = JSON.stringify({ health: String(reason === ''), reason });
  reply.send(reason === '' ? 200 : 503, { 'content-type': 'text/plain; charset=utf-8' }, body);
}

async function sendProbe(
  backend: NodeBackend,
  withTimeout: WithTimeout,
  checks: Readonly<Record<string, Check>>,
  wanted: readonly string[],
  request: HttpRequest,
  reply: HttpReply,
): Promise<void> {
  const excluded = request.query.getAll('exclude');
  let lines = '';
  let healthy = true;
  for (const name of wanted) {
    if (excluded.includes(name)) continue;
    try {
      await withTimeout(HEALTH_TIMEOUT_MS, (signal) => checks[name]!(backend, signal));
      lines += `[+]${name} ok\n`;
    } catch (error) {
      healthy = false;
      lines += `[-]${name} failed: ${error instanceof Error ? error.message : String(error)}\n`;
    }
  }
  if (!healthy) return sendText(reply, 503, lines);
  sendText(reply, 200, request.query.has('verbose') ? `${lines}ok\n` : 'ok\n');
}

function sendVersion(backend: NodeBackend, reply: HttpReply): void {
  const version = backend.etcdVersion;
  const cluster = version.replace(/\.\d+$/, '.0');
  const body = JSON.stringify({ etcdserver: version, etcdcluster: cluster, storage: cluster });
  reply.send(200, JSON_TYPE, body);
}
