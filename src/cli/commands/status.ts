/** `quorate status`: what every member says of itself, in one table. */
import { sleep } from '../../core/abort.ts';
import { systemClock } from '../../core/clock.ts';
import { type EtcdExtras, etcdService } from '../../drivers/etcd/index.ts';
import type { KvService } from '../../kv/service.ts';
import type { Member, StatusResponse } from '../../proto/messages.ts';
import { durationOf, parse } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import {
  CommandError,
  EXIT,
  type Io,
  jsonLine,
  line,
  paint,
  size,
  table,
  UsageError,
} from '../io.ts';

const TOPIC = 'status';

const options = {
  ...clientOptions,
  watch: { type: 'boolean', short: 'w' },
  interval: { type: 'string' },
} as const;

interface MemberStatus {
  readonly name: string;
  readonly endpoint: string;
  readonly member: Member | undefined;
  readonly status: StatusResponse | undefined;
  readonly error: string | undefined;
}

interface ClusterStatus {
  readonly members: readonly MemberStatus[];
  readonly healthy: boolean;
  /** Why not. */
  readonly problems: readonly string[];
}

type Client = KvService & EtcdExtras;

export async function status(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parse(TOPIC, options, argv);
  if (positionals.length > 0) {
    throw new UsageError(`status takes no argument '${positionals[0]}'`, TOPIC);
  }
  const intervalMs = Math.max(50, durationOf(TOPIC, '--interval', values.interval ?? '1s'));
  const client = etcdService(connection(TOPIC, values, io.env));
  try {
    for (;;) {
      const cluster = await ask(client, io.interrupted);
      if (values.json) jsonLine(io, asJson(cluster));
      else print(io, cluster, values.watch === true);
      if (!values.watch) return cluster.healthy ? EXIT.ok : EXIT.notFound;
      await sleep(systemClock, intervalMs, io.interrupted);
    }
  } catch (error) {
    if (values.watch && io.interrupted.aborted) return EXIT.ok;
    throw error;
  } finally {
    await client.close();
  }
}

async function ask(client: Client, signal: AbortSignal): Promise<ClusterStatus> {
  const { asked, unlisted } = await places(client, signal);
  const members = await Promise.all(asked.map((place) => askMember(client, place, signal)));
  if (members.every((member) => member.status === undefined)) {
    throw new CommandError(
      `no member answers: ${members[0]?.error}; \`quorate start\` starts a cluster, --endpoints says where one is`,
      EXIT.notFound,
    );
  }
  const problems: string[] = [];
  if (unlisted !== undefined) problems.push(`${unlisted}; asked only the endpoints given`);
  for (const { name, endpoint, status: own, error } of members) {
    if (own === undefined) problems.push(`${name || endpoint} does not answer: ${error}`);
    else for (const text of own.errors) problems.push(`${name || endpoint}: ${text.trim()}`);
  }
  // Where not all members are known the leader may be another one.
  const isLed = (member: MemberStatus): boolean =>
    unlisted === undefined ? isLeader(member) : (member.status?.leader ?? 0n) !== 0n;
  if (!members.some(isLed)) problems.push('there is no leader');
  return { members, healthy: problems.length === 0, problems };
}

interface Place {
  readonly endpoint: string;
  readonly member: Member | undefined;
}

interface Places {
  readonly asked: readonly Place[];
  /** Why the members could not be listed. */
  readonly unlisted: string | undefined;
}

/** Every member's first client address; without a quorum, the endpoints that were given. */
async function places(client: Client, signal: AbortSignal): Promise<Places> {
  let members: readonly Member[];
  try {
    ({ members } = await client.memberList({ signal }));
  } catch (error) {
    if (signal.aborted) throw error;
    const asked = client.endpoints.map((endpoint) => ({ endpoint, member: undefined }));
    return { asked, unlisted: (error as Error).message };
  }
  const asked = members
    .map((member) => ({ endpoint: member.clientUrls[0] ?? '', member }))
    .sort((a, b) => a.member.name.localeCompare(b.member.name));
  return { asked, unlisted: undefined };
}

async function askMember(client: Client, place: Place, signal: AbortSignal): Promise<MemberStatus> {
  const { member, endpoint } = place;
  const name = member?.name ?? '';
  if (endpoint === '') {
    const error =
      'it has told no client address: it never started, or the others refuse it (its log says)';
    return { name, endpoint: member?.peerUrls[0] ?? '', member, status: undefined, error };
  }
  try {
    const own = await client.status(endpoint, { signal });
    return { name, endpoint, member, status: own, error: undefined };
  } catch (error) {
    if (signal.aborted) throw error;
    return { name, endpoint, member, status: undefined, error: (error as Error).message };
  }
}

function isLeader({ status: own }: MemberStatus): boolean {
  return own !== undefined && own.leader !== 0n && own.leader === own.header?.memberId;
}

function roleOf(member: MemberStatus): string {
  if (member.status === undefined) return 'down';
  if (isLeader(member)) return 'leader';
  return member.status.isLearner ? 'learner' : 'follower';
}

const HEADINGS = ['NAME', 'ID', 'ENDPOINT', 'ROLE', 'TERM', 'INDEX', 'APPLIED', 'REVISION', 'SIZE'];

function print(io: Io, cluster: ClusterStatus, live: boolean): void {
  if (live && io.terminal) io.stdout.write('\u001b[H\u001b[2J');
  const rows = cluster.members.map((entry) => {
    const { status: own, member } = entry;
    const id = member?.id ?? own?.header?.memberId;
    const left = [entry.name || '-', id === undefined ? '-' : id.toString(16), entry.endpoint];
    if (own === undefined) return [...left, roleOf(entry)];
    const numbers = [own.raftTerm, own.raftIndex, own.raftAppliedIndex, own.header?.revision ?? 0];
    return [...left, roleOf(entry), ...numbers, size(own.dbSize)];
  });
  const [heading, ...lines] = table([HEADINGS, ...rows]);
  line(io, paint(io, 'bold', heading!));
  for (const [index, text] of lines.entries()) {
    const role = roleOf(cluster.members[index]!);
    const colour = role === 'leader' ? 'green' : role === 'down' ? 'red' : undefined;
    line(io, colour === undefined ? text : paint(io, colour, text));
  }
  for (const problem of cluster.problems) line(io, paint(io, 'red', `! ${problem}`));
  if (live) line(io);
}

function asJson({ members, healthy, problems }: ClusterStatus): object {
  const leader = members.find(isLeader);
  const known = members.find((member) => member.status !== undefined)?.status;
  return {
    healthy,
    problems,
    clusterId: known?.header?.clusterId.toString(16),
    leader: leader?.member?.name ?? null,
    term: Math.max(...members.map((member) => member.status?.raftTerm ?? 0)),
    members: members.map((entry) => ({
      name: entry.name,
      id: (entry.member?.id ?? entry.status?.header?.memberId)?.toString(16),
      endpoint: entry.endpoint,
      peerUrls: entry.member?.peerUrls,
      role: roleOf(entry),
      ...(entry.status === undefined ? { error: entry.error } : numbersOf(entry.status)),
    })),
  };
}

function numbersOf(own: StatusResponse): object {
  return {
    version: own.version,
    term: own.raftTerm,
    index: own.raftIndex,
    appliedIndex: own.raftAppliedIndex,
    revision: own.header?.revision,
    dbSizeBytes: own.dbSize,
    dbSizeInUseBytes: own.dbSizeInUse,
    errors: own.errors,
  };
}
