/**
 * etcd's server flags, so that `quorate serve` can stand in for the `etcd` executable: one or two
 * dashes, `--name value` or `--name=value`, the last of several counts, and `ETCD_NAME` in the
 * environment below the command line.
 *
 * A flag that has no meaning here is accepted with a warning; one that promises something that would
 * not be kept (a cipher list, a revocation list, a config file) is refused instead.
 */
import { closest } from './args.ts';
import { type Environment, UsageError } from './io.ts';

const text = { kind: 'text' } as const;
const flag = { kind: 'boolean' } as const;

/** Flags with an effect, without their dashes. */
const KNOWN = {
  name: text,
  'data-dir': text,
  'initial-cluster': text,
  'initial-cluster-token': text,
  'initial-cluster-state': text,
  'listen-client-urls': text,
  'advertise-client-urls': text,
  'listen-peer-urls': text,
  'initial-advertise-peer-urls': text,
  'heartbeat-interval': text,
  'election-timeout': text,
  'snapshot-count': text,
  'snapshot-catchup-entries': text,
  'max-request-bytes': text,
  'max-txn-ops': text,
  'quota-backend-bytes': text,
  'watch-progress-notify-interval': text,
  'auto-compaction-mode': text,
  'auto-compaction-retention': text,
  'cert-file': text,
  'key-file': text,
  'trusted-ca-file': text,
  'client-cert-auth': flag,
  'peer-cert-file': text,
  'peer-key-file': text,
  'peer-trusted-ca-file': text,
  'peer-client-cert-auth': flag,
  consensus: text,
  'lease-reads-drift': text,
  'unsafe-no-fsync': flag,
  'log-level': text,
  'log-format': text,
  'log-outputs': text,
  version: flag,
  help: flag,
  debug: flag,
} as const;
export type KnownFlag = keyof typeof KNOWN;

/** What each promises, and what to do instead. Their default values are accepted. */
const REFUSED: Readonly<Record<string, string>> = {
  'config-file': 'configuration files are not read; give flags or ETCD_… variables',
  'auto-tls': 'give --cert-file and --key-file',
  'peer-auto-tls': 'give --peer-cert-file and --peer-key-file',
  'client-crl-file': 'revocation lists are not checked',
  'peer-crl-file': 'revocation lists are not checked',
  'client-cert-allowed-hostname': 'names in client certificates are not checked',
  'peer-cert-allowed-cn': 'names in peer certificates are not checked',
  'peer-cert-allowed-hostname': 'names in peer certificates are not checked',
  'cipher-suites':
    'the cipher suites of Node are used; set them with NODE_OPTIONS=--tls-cipher-list=…',
  discovery: 'name the members with --initial-cluster',
  'discovery-srv': 'name the members with --initial-cluster',
  'discovery-endpoints': 'name the members with --initial-cluster',
  'force-new-cluster': 'restore the data from the other members instead',
  'wal-dir': 'the log is kept in --data-dir',
};

/** Go's boolean flags without effect here: they take no separate value. */
const BOOLEAN_WITHOUT_EFFECT = new Set([
  'strict-reconfig-check',
  'pre-vote',
  'initial-election-tick-advance',
  'enable-pprof',
  'enable-v2',
  'enable-grpc-gateway',
  'enable-log-rotation',
  'enable-distributed-tracing',
  'memory-mlock',
  'socket-reuse-port',
  'socket-reuse-address',
  'peer-skip-client-san-verification',
  'discovery-insecure-transport',
  'discovery-insecure-skip-tls-verify',
  'initial-corrupt-check',
  'compact-hash-check-enabled',
  'enable-lease-checkpoint',
  'enable-lease-checkpoint-persist',
  'stop-grpc-service-on-defrag',
  'txn-mode-write-with-shared-buffer',
]);
/** Flags whose only value here is the one given: nothing to warn of. */
const ALREADY_SO: Readonly<Record<string, string>> = {
  'pre-vote': 'true',
  'strict-reconfig-check': 'true',
  'enable-grpc-gateway': 'true',
  logger: 'zap',
  'auth-token': 'simple',
};
/** Variables of etcd's tools and tests that are no flags. */
const OTHER_VARIABLES = new Set(['ETCD_VERIFY', 'ETCD_UNSUPPORTED_ARCH', 'ETCD_VERSION']);
const UNLESS_EMPTY = new Set(['', 'false']);

export interface EtcdFlags {
  readonly values: ReadonlyMap<KnownFlag, string>;
  /** One line each, for the log. */
  readonly warnings: readonly string[];
}

const isKnown = (name: string): name is KnownFlag => Object.hasOwn(KNOWN, name);

/** @throws UsageError for a flag without its value, a wrong boolean, or a promise that cannot be kept */
export function parseEtcdFlags(argv: readonly string[], env: Environment): EtcdFlags {
  const values = new Map<KnownFlag, string>();
  const warnings: string[] = [];
  const take = (given: string, value: string, source: string): void => {
    const name = given.replace(/^experimental-/, '');
    if (isKnown(name)) {
      values.set(name, KNOWN[name].kind === 'boolean' ? booleanText(source, value) : value);
    } else if (Object.hasOwn(REFUSED, name)) {
      if (!UNLESS_EMPTY.has(value)) throw usage(`${source} is not supported: ${REFUSED[name]}`);
    } else if (ALREADY_SO[name] !== value) {
      warnings.push(`${source}=${value} has no effect in Quorate`);
    }
  };
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('ETCD_') || OTHER_VARIABLES.has(variable) || !value) continue;
    take(variable.slice(5).toLowerCase().replaceAll('_', '-'), value, variable);
  }
  for (let i = 0; i < argv.length; i++) {
    const match = /^--?([A-Za-z][\w-]*)(?:=([\s\S]*))?$/.exec(argv[i]!);
    if (match === null) {
      throw usage(`'${argv[i]}' is no flag; serve takes only flags`);
    }
    const name = match[1] === 'h' ? 'help' : match[1]!;
    let value = match[2];
    if (value === undefined) {
      if (isBoolean(name)) value = 'true';
      else if (takesNext(name, argv[i + 1])) value = argv[++i]!;
      else if (isKnown(name)) throw usage(`--${name} needs a value`);
    }
    refuseMisspelt(name);
    take(name, value ?? 'true', `--${name}`);
  }
  return { values, warnings };
}

/** `--dat-dir` with a warning in the log would be a node on a folder that nobody asked for. */
function refuseMisspelt(given: string): void {
  const name = given.replace(/^experimental-/, '');
  const meant = [REFUSED, ALREADY_SO].some((flags) => Object.hasOwn(flags, name));
  if (meant || isKnown(name) || BOOLEAN_WITHOUT_EFFECT.has(name)) return;
  const near = closest(name, Object.keys(KNOWN));
  if (near !== undefined) throw usage(`there is no flag --${given}; did you mean --${near}?`);
}

function isBoolean(given: string): boolean {
  const name = given.replace(/^experimental-/, '');
  if (isKnown(name)) return KNOWN[name].kind === 'boolean';
  return BOOLEAN_WITHOUT_EFFECT.has(name) || /^(auto|peer-auto)-tls$|^force-new-/.test(name);
}

/** A known flag takes whatever follows; an unknown one only what is surely no flag. */
function takesNext(name: string, next: string | undefined): boolean {
  if (next === undefined) return false;
  return isKnown(name) || !next.startsWith('-');
}

/** As Go's `strconv.ParseBool`. */
function booleanText(source: string, value: string): string {
  if (/^(1|t|true)$/i.test(value)) return 'true';
  if (/^(0|f|false)$/i.test(value)) return 'false';
  throw usage(`${source} takes true or false, not '${value}'`);
}

function usage(message: string): UsageError {
  return new UsageError(message, 'serve');
}
