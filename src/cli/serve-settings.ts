/** From etcd's flags to the options of a node and its server, with etcd's defaults. */
import { replicaSettings } from '../consensus/replica/settings.ts';
import type { NodeOptions } from '../node.ts';
import type { TlsFiles } from '../server/index.ts';
import { durationOf } from './args.ts';
import type { EtcdFlags, KnownFlag } from './etcd-flags.ts';
import { UsageError } from './io.ts';

export interface ServeSettings {
  readonly node: NodeOptions;
  readonly listenClientUrls: readonly string[];
  readonly tls: TlsFiles | undefined;
  readonly maxRequestBytes: number;
  readonly logLevel: LogLevel;
  readonly logFormat: 'json' | 'console';
  readonly logOutput: 'stdout' | 'stderr';
  readonly warnings: readonly string[];
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const DEFAULT_CLIENT_URL = 'http://localhost:2379';
const DEFAULT_PEER_URL = 'http://localhost:2380';
const DEFAULT_MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;

/** @throws UsageError that names the flag */
export function serveSettings({ values, warnings }: EtcdFlags): ServeSettings {
  const text = (flag: KnownFlag, fallback: string): string => values.get(flag) || fallback;
  const name = text('name', 'default');
  const listenPeerUrls = urls('listen-peer-urls', text('listen-peer-urls', DEFAULT_PEER_URL));
  const advertised = text('initial-advertise-peer-urls', DEFAULT_PEER_URL);
  const advertisedPeerUrls = urls('initial-advertise-peer-urls', advertised);
  const listenClientUrls = urls(
    'listen-client-urls',
    text('listen-client-urls', DEFAULT_CLIENT_URL),
  );
  const advertisedClientUrls = clientUrls(values.get('advertise-client-urls'), listenClientUrls);
  const tls = tlsFiles(values, '');
  const peerTls = tlsFiles(values, 'peer-');
  const maxRequestBytes = count(values, 'max-request-bytes') ?? DEFAULT_MAX_REQUEST_BYTES;
  const state = values.get('initial-cluster-state') || 'new';
  const join = oneOf('initial-cluster-state', state, ['new', 'existing']) === 'existing';
  const peers = cluster(values.get('initial-cluster'), name, advertisedPeerUrls, join);
  return {
    node: {
      name,
      dataDir: text('data-dir', `${name}.etcd`),
      peers,
      join,
      consensus: oneOf('consensus', text('consensus', 'raft'), ['raft', 'paxos']),
      leaseReads: leaseReads(values),
      clusterToken: values.get('initial-cluster-token'),
      listenPeerUrls,
      clientUrls: advertisedClientUrls,
      maxRequestBytes,
      maxTxnOperations: count(values, 'max-txn-ops'),
      quotaBytes: quota(values),
      watchProgressIntervalMs: duration(values, 'watch-progress-notify-interval'),
      autoCompaction: autoCompaction(values),
      peerTls,
      fsync: values.get('unsafe-no-fsync') !== 'true',
      ...timing(values),
    },
    listenClientUrls,
    tls,
    maxRequestBytes,
    logLevel: logLevel(text('log-level', 'info')),
    logFormat: oneOf('log-format', text('log-format', 'json'), ['json', 'console']),
    logOutput: text('log-outputs', 'default') === 'stdout' ? 'stdout' : 'stderr',
    warnings,
  };
}

type FlagValues = EtcdFlags['values'];

function timing(values: FlagValues): Partial<NodeOptions> {
  const given = {
    heartbeatMs: count(values, 'heartbeat-interval', 1),
    electionMs: count(values, 'election-timeout', 1),
    snapshotEntries: count(values, 'snapshot-count', 1),
    keepEntries: count(values, 'snapshot-catchup-entries'),
  };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  try {
    replicaSettings(Object.fromEntries(known));
  } catch (error) {
    throw usage(inFlags((error as Error).message));
  }
  return Object.fromEntries(known);
}

function leaseReads(values: FlagValues): NodeOptions['leaseReads'] {
  const text = values.get('lease-reads-drift');
  if (text === undefined || text === '') return undefined;
  const maxClockDrift = Number(text);
  // Whoever writes 0 means "off", and would have promised that no clock ever drifts.
  if (maxClockDrift > 0 && maxClockDrift <= 0.5) return { maxClockDrift };
  throw usage(
    `--lease-reads-drift: '${text}' is no fraction above 0, up to 0.5, such as 0.01; without the flag lease reads are off`,
  );
}

/** The rules for times are the replica's; who runs `serve` knows them by their flags. */
function inFlags(message: string): string {
  return message
    .replaceAll('electionMs', '--election-timeout')
    .replaceAll('heartbeatMs', '--heartbeat-interval')
    .replaceAll('snapshotEntries', '--snapshot-count')
    .replaceAll('keepEntries', '--snapshot-catchup-entries');
}

function urls(flag: string, text: string): string[] {
  const list = text
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');
  for (const url of list) {
    const parsed = URL.parse(url);
    const plain = parsed !== null && ['', '/'].includes(parsed.pathname);
    if (plain && /^https?:$/.test(parsed.protocol) && hasPort(url)) continue;
    throw usage(`--${flag}: '${url}' is no URL such as http://127.0.0.1:2379`);
  }
  if (list.length === 0) throw usage(`--${flag} needs at least one URL`);
  return list;
}

/** What is listened on is advertised too, unless the system chooses the port: nobody would find it. */
function clientUrls(given: string | undefined, listen: readonly string[]): readonly string[] {
  if (given) return urls('advertise-client-urls', given);
  return listen.some((url) => /:0\/?$/.test(url)) ? [] : listen;
}

/** The URL parser drops a port that is its scheme's default; etcd wants it written out. */
const hasPort = (url: string): boolean => /:\d+\/?$/.test(url);

/** `n1=http://a:2380,n2=http://b:2380`; a name with several URLs is given several times. */
function cluster(
  text: string | undefined,
  name: string,
  advertised: readonly string[],
  join: boolean,
): Record<string, readonly string[]> {
  if (text === undefined || text === '') return { [name]: advertised };
  const peers: Record<string, string[]> = {};
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    // In a cluster that runs, a member that has not started yet has no name.
    if (at < (join ? 0 : 1))
      throw usage(`--initial-cluster: '${part}' is not of the form name=URL`);
    const member = part.slice(0, at).trim();
    peers[member] = [
      ...(Object.hasOwn(peers, member) ? peers[member]! : []),
      ...urls('initial-cluster', part.slice(at + 1)),
    ];
  }
  if (Object.hasOwn(peers, name)) return peers;
  throw usage(
    `--initial-cluster has no member '${name}' (--name); it names ${Object.keys(peers).join(', ')}`,
  );
}

function tlsFiles(values: FlagValues, prefix: '' | 'peer-'): TlsFiles | undefined {
  const certFile = values.get(`${prefix}cert-file`);
  const keyFile = values.get(`${prefix}key-file`);
  const trustedCaFile = values.get(`${prefix}trusted-ca-file`);
  const clientCertAuth = values.get(`${prefix}client-cert-auth`) === 'true';
  if (!certFile && !keyFile) {
    if (!trustedCaFile && !clientCertAuth) return undefined;
    throw usage(`--${prefix}trusted-ca-file needs --${prefix}cert-file and --${prefix}key-file`);
  }
  if (!certFile || !keyFile) {
    throw usage(`--${prefix}cert-file and --${prefix}key-file must be given together`);
  }
  return {
    certFile,
    keyFile,
    ...(trustedCaFile ? { trustedCaFile } : {}),
    ...(clientCertAuth ? { clientCertAuth } : {}),
  };
}

function autoCompaction(values: FlagValues): NodeOptions['autoCompaction'] {
  const retention = values.get('auto-compaction-retention') ?? '0';
  const mode = oneOf('auto-compaction-mode', values.get('auto-compaction-mode') || 'periodic', [
    'periodic',
    'revision',
  ]);
  return /^0[a-z]*$/.test(retention) || retention === '' ? undefined : { mode, retention };
}

function quota(values: FlagValues): number | undefined {
  const given = values.get('quota-backend-bytes');
  if (given === undefined || given === '' || given === '0') return undefined;
  if (/^-\d+$/.test(given)) return 0;
  return count(values, 'quota-backend-bytes');
}

function count(values: FlagValues, flag: KnownFlag, least = 0): number | undefined {
  const given = values.get(flag);
  if (given === undefined || given === '') return undefined;
  const value = Number(given);
  if (/^\d+$/.test(given) && Number.isSafeInteger(value) && value >= least) return value;
  throw usage(`--${flag} takes a whole number of at least ${least}, not '${given}'`);
}

function duration(values: FlagValues, flag: KnownFlag): number | undefined {
  const given = values.get(flag);
  if (given === undefined || given === '') return undefined;
  return durationOf('serve', `--${flag}`, given);
}

/** zap's levels above error make no difference here. */
function logLevel(given: string): LogLevel {
  const level = given === 'panic' || given === 'fatal' || given === 'dpanic' ? 'error' : given;
  return oneOf('log-level', level, LOG_LEVELS);
}

function oneOf<const Choice extends string>(
  flag: string,
  given: string,
  choices: readonly Choice[],
): Choice {
  const found = choices.find((choice) => choice === given);
  if (found !== undefined) return found;
  throw usage(`--${flag} is one of ${choices.join(', ')}, not '${given}'`);
}

function usage(message: string): UsageError {
  return new UsageError(message, 'serve');
}
