/** `quorate member list|add|promote|update|remove`: who belongs to the cluster, printed as etcdctl prints it. */
import { isQuorateError } from '../../core/errors.ts';
import { type EtcdExtras, etcdService } from '../../drivers/etcd/index.ts';
import type { Member, ResponseHeader } from '../../proto/messages.ts';
import { type Parsed, parse } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import { CommandError, EXIT, type Io, jsonLine, line, paint, table, UsageError } from '../io.ts';
import { hexId, memberIdOf } from '../member-id.ts';

const TOPIC = 'member';

const options = {
  ...clientOptions,
  learner: { type: 'boolean' },
  'peer-urls': { type: 'string', multiple: true },
} as const;

type Given = Parsed<typeof options>;
type Action = (client: EtcdExtras, given: Given, io: Io) => Promise<void>;

const ACTIONS: Readonly<Record<string, Action>> = { list, add, promote, update, remove };

export async function member(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parse(TOPIC, options, argv);
  const [name, ...rest] = positionals;
  const action = name !== undefined && Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    const what = name === undefined ? 'member needs a word' : `member has no '${name}'`;
    throw new UsageError(`${what}: ${Object.keys(ACTIONS).join(', ')}`, TOPIC);
  }
  if (values.learner !== undefined && name !== 'add') throw misplaced('--learner', 'add');
  if (values['peer-urls'] !== undefined && name !== 'add' && name !== 'update') {
    throw misplaced('--peer-urls', 'add and update');
  }
  const client = etcdService(connection(TOPIC, values, io.env));
  try {
    await action(client, { values, positionals: rest }, io);
    return EXIT.ok;
  } catch (error) {
    throw withAdvice(error);
  } finally {
    await client.close();
  }
}

/** etcd's texts say what is refused, not what to do. */
function withAdvice(error: unknown): unknown {
  if (!isQuorateError(error)) return error;
  const advice =
    error.code === 'ERR_MEMBER_NOT_FOUND'
      ? '`quorate member list` shows the IDs'
      : error.message.includes('unhealthy cluster')
        ? 'too few voters would run, a new learner counted as the voter that it is to be: `quorate status` shows who ' +
          'does not; start it, or remove it'
        : undefined;
  if (advice === undefined) return error;
  return new CommandError(`${error.message}; ${advice}`, EXIT.failed, { cause: error });
}

async function list(client: EtcdExtras, given: Given, io: Io): Promise<void> {
  if (given.positionals.length > 0) throw tooMany(given.positionals[0]!);
  const { header, members } = await client.memberList({ signal: io.interrupted });
  if (given.values.json) {
    jsonLine(io, { clusterId: clusterOf(header), members: members.map(shown) });
    return;
  }
  const headings = ['ID', 'STATUS', 'NAME', 'PEER URLS', 'CLIENT URLS', 'LEARNER'];
  const rows = members.map((one) => [
    hexId(one.id),
    isStarted(one) ? 'started' : 'unstarted',
    one.name || '-',
    one.peerUrls.join(','),
    one.clientUrls.join(',') || '-',
    one.isLearner ? 'yes' : 'no',
  ]);
  const [heading, ...lines] = table([headings, ...rows]);
  line(io, paint(io, 'bold', heading!));
  for (const text of lines) line(io, text);
}

async function add(client: EtcdExtras, given: Given, io: Io): Promise<void> {
  const [name, ...extra] = given.positionals;
  if (name === undefined || name === '') throw new UsageError('a NAME is missing', TOPIC);
  if (extra.length > 0) throw tooMany(extra[0]!);
  const peerUrls = peerUrlsOf(given);
  const isLearner = given.values.learner === true;
  const answer = await client.memberAdd({ peerUrls, isLearner }, { signal: io.interrupted });
  const { header, member: added, members } = answer;
  const initialCluster = members
    .flatMap((one) => one.peerUrls.map((url) => `${one.id === added?.id ? name : one.name}=${url}`))
    .join(',');
  const variables = {
    ETCD_NAME: name,
    ETCD_INITIAL_CLUSTER: initialCluster,
    ETCD_INITIAL_ADVERTISE_PEER_URLS: peerUrls.join(','),
    ETCD_INITIAL_CLUSTER_STATE: 'existing',
  };
  if (given.values.json) {
    const clusterId = clusterOf(header);
    const own = added === undefined ? undefined : shown(added);
    jsonLine(io, { clusterId, member: own, members: members.map(shown), environment: variables });
    return;
  }
  const as = isLearner ? ' as learner' : '';
  line(io, `Member ${hexId(added?.id ?? 0n)} added${as} to cluster ${clusterOf(header)}`);
  line(io);
  for (const [variable, value] of Object.entries(variables)) line(io, `${variable}="${value}"`);
}

async function promote(client: EtcdExtras, given: Given, io: Io): Promise<void> {
  const id = onlyId(given);
  const { header, members } = await client.memberPromote(id, { signal: io.interrupted });
  changed(io, given, id, 'promoted in', header, members);
}

async function update(client: EtcdExtras, given: Given, io: Io): Promise<void> {
  const id = onlyId(given);
  const request = { id, peerUrls: peerUrlsOf(given) };
  const { header, members } = await client.memberUpdate(request, { signal: io.interrupted });
  changed(io, given, id, 'updated in', header, members);
}

async function remove(client: EtcdExtras, given: Given, io: Io): Promise<void> {
  const id = onlyId(given);
  const { header, members } = await client.memberRemove(id, { signal: io.interrupted });
  changed(io, given, id, 'removed from', header, members);
}

function changed(
  io: Io,
  given: Given,
  id: bigint,
  what: string,
  header: ResponseHeader | undefined,
  members: readonly Member[],
): void {
  const clusterId = clusterOf(header);
  if (given.values.json) jsonLine(io, { clusterId, id: hexId(id), members: members.map(shown) });
  else line(io, `Member ${hexId(id)} ${what} cluster ${clusterId}`);
}

function shown(one: Member): object {
  const { name, peerUrls, clientUrls, isLearner } = one;
  return { id: hexId(one.id), name, peerUrls, clientUrls, isLearner, started: isStarted(one) };
}

/** A member tells its name when it first runs. */
function isStarted(one: Member): boolean {
  return one.name !== '';
}

function clusterOf(header: ResponseHeader | undefined): string {
  return hexId(header?.clusterId ?? 0n);
}

function onlyId({ positionals }: Given): bigint {
  const [id, ...extra] = positionals;
  if (extra.length > 0) throw tooMany(extra[0]!);
  return memberIdOf(TOPIC, id);
}

/** @throws UsageError for what no server would take */
function peerUrlsOf({ values }: Given): string[] {
  const urls = (values['peer-urls'] ?? [])
    .flatMap((text) => text.split(','))
    .map((url) => url.trim())
    .filter((url) => url !== '');
  if (urls.length === 0) {
    throw new UsageError('--peer-urls is needed, such as http://10.0.0.4:2380', TOPIC);
  }
  for (const url of urls) {
    const parsed = URL.parse(url);
    const plain = parsed?.protocol === 'http:' || parsed?.protocol === 'https:';
    if (plain && parsed.pathname === '/' && /:\d+\/?$/.test(url)) continue;
    throw new UsageError(`--peer-urls: '${url}' is no URL such as http://10.0.0.4:2380`, TOPIC);
  }
  return urls;
}

function tooMany(extra: string): UsageError {
  return new UsageError(`'${extra}' is one argument too many`, TOPIC);
}

function misplaced(option: string, where: string): UsageError {
  return new UsageError(`${option} belongs to member ${where}`, TOPIC);
}
