/** Makes what the parts of one transport share. */
import { systemClock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { systemRandom } from '../../core/random.ts';
import type { TransportHandlers } from '../transport.ts';
import {
  DEFAULT_TRANSPORT_SETTINGS,
  readTlsFiles,
  type Swept,
  type TcpTransportOptions,
  type TransportContext,
  type TransportLog,
} from './settings.ts';
import { nodeSockets } from './sockets.ts';

/** A kind of warning is repeated only after this long. */
const WARN_AGAIN_MS = 10_000;
/** Kinds of warning remembered; they name addresses, which strangers choose. */
const MAX_WARNING_KINDS = 256;

/** `admission` and `removed` belong to whoever keeps the peers. */
export function createContext(
  options: TcpTransportOptions,
  { admission, removed }: Pick<TransportContext, 'admission' | 'removed'>,
): TransportContext {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const log = options.log ?? (() => undefined);
  const unflushed: Swept[] = [];
  return {
    id: options.id,
    clusterId: options.clusterId,
    consensus: options.consensus ?? 'raft',
    leases: options.leases ?? '',
    incarnation: random.id63().toString(16).padStart(16, '0'),
    advertisedUrls: options.advertisedUrls ?? [],
    describeCluster: options.describeCluster,
    tls: options.tls === undefined ? undefined : readTlsFiles(options.tls),
    clock,
    random,
    settings: { ...DEFAULT_TRANSPORT_SETTINGS, ...options.settings },
    sockets: options.sockets ?? nodeSockets,
    defer: options.defer ?? ((run) => void setImmediate(run)),
    connections: new Set(),
    unflushed,
    flushAll: () => {
      for (let at = 0; at < unflushed.length; at++) unflushed[at]!.flush();
      unflushed.length = 0;
    },
    handlers: NO_HANDLERS,
    warn: limitedWarnings(log, () => clock.now()),
    info: (text) => log('info', text),
    admission,
    removed,
  };
}

/** Logs a kind of warning at most once in ten seconds, and says how often it was held back. */
function limitedWarnings(log: TransportLog, now: () => number): TransportContext['warn'] {
  const seen = new Map<string, { lastMs: number; heldBack: number }>();
  return (kind, text) => {
    const known = seen.get(kind);
    if (known !== undefined && now() - known.lastMs < WARN_AGAIN_MS) {
      known.heldBack += 1;
      return;
    }
    if (seen.size >= MAX_WARNING_KINDS) seen.clear();
    seen.set(kind, { lastMs: now(), heldBack: 0 });
    const held = known?.heldBack ?? 0;
    log('warn', held === 0 ? text : `${text} (and ${held} times before)`);
  };
}

/** Before `start`: nobody is listened to, so none of these is reached. */
const NO_HANDLERS: TransportHandlers = {
  onMessage: () => undefined,
  onCall: () => Promise.reject(closedError()),
  onSnapshot: () => Promise.reject(closedError()),
  onUnreachable: () => undefined,
};

export function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'the transport is closed');
}
