/** The help texts: each says what the command is for, how it is written, and shows it in use. */
import { EXIT, type Io, paint } from './io.ts';

interface Topic {
  readonly summary: string;
  readonly text: string;
}

const CONNECTION = `Connection (as etcdctl's; each also as an ETCDCTL_… variable):
  --endpoints A,B,…       addresses of the cluster                     (127.0.0.1:2379)
  --command-timeout 5s    how long a request may take
  --cacert, --cert, --key certificate files, for https endpoints
  --insecure-skip-tls-verify   accept any server certificate: for tests only
  --user NAME:PASSWORD    for a cluster with authentication; or NAME, and --password`;

const ENGINE = `Engine (without --driver: a cluster of Quorate or etcd):
  --driver NAME           etcd, redis, redlock (a majority of several Redis), postgres or consul;
                          QUORATE_DRIVER
  --redis-url URL         redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// with TLS, for redlock once for
                          each server; QUORATE_REDIS_URL, with commas between several (redis://127.0.0.1:6379)
  --postgres-url URL      postgres://[USER:PASSWORD@]HOST[:PORT]/DATABASE[?sslmode=verify-full];
                          QUORATE_POSTGRES_URL, or the PG… variables, as psql's
  --consul-url URL        http://HOST[:PORT] of an agent, https:// with TLS, also several: the next where one
                          does not answer; CONSUL_HTTP_ADDR (http://127.0.0.1:8500). The token comes from
                          CONSUL_HTTP_TOKEN alone. Servers take a --ttl of 10 s or more
For redis and redlock the package redis or ioredis has to be installed in your project, for postgres pg:
npm install redis. Processes see each other's locks only on the same engine. Passwords in arguments are
seen by everybody on the machine: put such URLs into the variables. Which engine promises what:
docs/which-lock.md.`;

/** The connection of commands that know several engines. */
const OF_ETCD = CONNECTION.replace(
  "Connection (as etcdctl's; each also as an ETCDCTL_… variable):",
  "Connection to etcd (as etcdctl's; each also as an ETCDCTL_… variable):",
).replace('for https endpoints', 'for https:// and rediss://');

export const TOPICS: Readonly<Record<string, Topic>> = {
  start: {
    summary: 'a durable three-node cluster on this machine',
    text: `quorate start [--data-dir FOLDER] [--nodes N]

Runs three nodes as three processes, on etcd's usual ports (clients: 2379, 22379, 32379; peers:
the next port each), with their data in ./quorate-data. A node that dies is started again: kill
one with kill -9 and watch. Ctrl-C stops them all; the data stays for the next start.

Options:
  --data-dir FOLDER       where the data and the logs are kept         (./quorate-data)
  --nodes N               how many nodes, 1 to 5                       (3)
  --client-ports P,P,P    one port a node, for clients
  --peer-ports P,P,P      one port a node, between them                (client port + 1)
  --host ADDRESS          where they listen                            (127.0.0.1)
  --consensus raft|paxos  what they agree with, the same at every start        (raft)

Examples:
  quorate start
  quorate start --nodes 1 --data-dir /tmp/try
  quorate start --client-ports 3379,3381,3383`,
  },
  serve: {
    summary: "one node of a cluster, with etcd's flags",
    text: `quorate serve [etcd's flags]

Runs one node until it is told to stop (SIGTERM, Ctrl-C). It takes etcd's flags, with one or two
dashes, as --flag value or --flag=value, and ETCD_… variables, so that it can stand in for the
etcd executable. Flags without a meaning here are accepted with a warning; those that promise
something that would not be kept, and those that look misspelt, are refused. The log goes to stderr,
a JSON object a line.

Flags with an effect:
  --name NAME                          this node, one of --initial-cluster  (default)
  --data-dir FOLDER                    its data                             (NAME.etcd)
  --initial-cluster A=URL,B=URL,…      the first nodes, the same list on each; of a node that joins:
                                       this node and members that run
  --initial-cluster-state new|existing existing: join a cluster to which this node was added (new)
  --initial-cluster-token TEXT         keeps clusters apart                 (etcd-cluster)
  --listen-client-urls URL,…           (http://localhost:2379)
  --advertise-client-urls URL,…        where clients reach it
  --listen-peer-urls URL,…             (http://localhost:2380)
  --initial-advertise-peer-urls URL,…  where the other nodes reach it
  --heartbeat-interval, --election-timeout   milliseconds              (100, 1000)
  --snapshot-count, --snapshot-catchup-entries   entries              (10000, 5000)
  --quota-backend-bytes, --max-request-bytes, --max-txn-ops            (2 GiB, 1.5 MiB, 128)
  --auto-compaction-mode periodic|revision, --auto-compaction-retention 1h|1000   (off)
  --watch-progress-notify-interval DURATION                            (10m)
  --cert-file, --key-file, --trusted-ca-file, --client-cert-auth, and the same with --peer-…
  --lease-reads-drift FRACTION         reads without a round of messages, if no node's clock drifts by
                                       more, such as 0.01; the same on every node              (off)
  --consensus raft|paxos               the same on every node; paxos: the members are fixed (raft)
  --unsafe-no-fsync                    a power cut may lose acknowledged writes: tests only
  --log-level debug|info|warn|error, --log-format json|console, --log-outputs stderr|stdout

Examples:
  quorate serve
  quorate serve --name a --data-dir a.data \\
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380 \\
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \\
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379`,
  },
  kv: {
    summary: 'read, write, delete and watch keys',
    text: `quorate kv get KEY [END] [options]     print keys and values
quorate kv put KEY VALUE [options]     write; VALUE - reads it from stdin
quorate kv del KEY [END] [options]     delete, and print how many there were
quorate kv watch KEY [END] [options]   print changes as they happen, until Ctrl-C

KEY alone is one key; with END, all keys from KEY up to END, END excluded.

Options:
  --prefix                every key that starts with KEY
  --from-key              every key from KEY on
  --limit N               get: at most N keys
  --rev N                 get: the past, as of revision N; watch: from revision N on
  --sort-by key|version|create|mod|value, --order ascend|descend
  --keys-only, --values-only, --count-only
  --serializable          get: from the contacted node at once, perhaps old
  --prev-kv               put, del, watch: also what was there before
  --lease ID              put: attach to this lease (hexadecimal)
  --ignore-value, --ignore-lease   put: keep the one it has
  --json                  one JSON object (watch: one a line)

${CONNECTION}

Examples:
  quorate kv put config/db postgres://db1
  quorate kv get config/ --prefix
  quorate kv get config/db --rev 5
  quorate kv put big-one - < file
  quorate kv watch config/ --prefix --json
  quorate kv get no-such-key || echo "exit code $?"     # 3`,
  },
  lock: {
    summary: 'run a command while holding a lock; see who holds one',
    text: `quorate lock NAME [options] [-- COMMAND [ARGUMENT…]]
quorate lock ls [NAME] [--prefix]
quorate lock release --force NAME

Waits until the lock is free, runs the command, and releases the lock when it ends; its exit code is
passed on. When the lock is lost (the engine was out of reach for longer than --ttl, somebody took it
away), the command and what it started gets SIGTERM, and SIGKILL after --kill-after; the exit code is then
${EXIT.lost}. Without a command it prints the lock's key and holds it until Ctrl-C, as etcdctl lock does. Both use
the same keys: they exclude each other. (Killed with SIGKILL, quorate cannot end the command: the lock
is then free after --ttl, on postgres at once, on consul after up to three times as long, while the command
may run on. The fencing token is for that.)

The command finds in its environment:
  QUORATE_LOCK_NAME       the name
  QUORATE_LOCK_TOKEN      the fencing token: grows with every holder; pass it along with writes, so that
                          what they reach can refuse those of an earlier holder (redlock has none)

Options:
  --ttl 10s               without contact for this long, the lock is lost
  --wait 30s              give up when it is not free by then (exit code 1)
  --no-wait               give up at once
  --kill-after 5s         from SIGTERM to SIGKILL

ls shows who holds a lock and who waits, in order. With --prefix all whose names begin with NAME, without
NAME all there are: etcd and the quorum can tell, elections are among them; other engines need a NAME.
release takes a lock from its holders, who see it as lost, and serves the next. They may still be at work
at that moment: look at ls first. Exit code ${EXIT.notFound} when nobody holds it. (Locks that are called ls or release
need a command.)
  --json                  one JSON object

${ENGINE}

${OF_ETCD}

Examples:
  quorate lock deploy -- ./deploy.sh production
  quorate lock nightly --no-wait -- ./report.sh
  quorate lock migrate -- sh -c 'psql -c "call migrate($QUORATE_LOCK_TOKEN)"'
  quorate lock nightly --driver redis --redis-url redis://cache:6379 -- ./report.sh
  QUORATE_POSTGRES_URL=postgres://app:secret@db/app quorate lock nightly --driver postgres -- ./report.sh
  quorate lock nightly --driver consul --consul-url http://consul:8500 -- ./report.sh
  quorate lock ls
  quorate lock release --force deploy`,
  },
  elect: {
    summary: 'run a command while being the leader',
    text: `quorate elect NAME [VALUE] [options] [-- COMMAND [ARGUMENT…]]
quorate elect --listen NAME

Campaigns until elected, and runs the command while leading; its exit code is passed on. When
leadership is lost the command gets SIGTERM, and SIGKILL after --kill-after; the exit code is then
${EXIT.lost}: run it under a supervisor to campaign again. Without a command it leads until Ctrl-C. VALUE is what
the leader tells the others (the host name unless given); --listen prints each leader's, as it changes.
Elections are on etcd, on the quorum, on redis and on consul; postgres and redlock have none.

The command finds QUORATE_ELECTION_NAME, QUORATE_ELECTION_VALUE and QUORATE_ELECTION_TOKEN (the
fencing token) in its environment.

Options:
  --listen, -l            print the leader, and each new one, until Ctrl-C
  --ttl 10s               without contact for this long, leadership is lost
  --kill-after 5s         from SIGTERM to SIGKILL

${ENGINE}

${OF_ETCD}

Examples:
  quorate elect scheduler -- ./run-scheduler.sh
  quorate elect scheduler host-7:8080 -- ./run-scheduler.sh
  quorate elect --listen scheduler
  quorate elect scheduler --driver redis --redis-url redis://cache:6379 -- ./run-scheduler.sh`,
  },
  status: {
    summary: 'members, leader, term, indexes, sizes',
    text: `quorate status [--watch] [--json]

Asks every member for its state. Exit code ${EXIT.notFound} when a member does not answer, there is no
leader, or an alarm is raised.

Options:
  --watch, -w             repeat every second until Ctrl-C
  --interval 1s           how often, with --watch
  --json                  one JSON object (with --watch: one a line)

${CONNECTION}

Examples:
  quorate status
  quorate status --watch
  quorate status --json --endpoints 10.0.0.1:2379,10.0.0.2:2379`,
  },
  member: {
    summary: 'who belongs to the cluster: list, add, promote, remove',
    text: `quorate member list
quorate member add NAME --peer-urls URL,… [--learner]
quorate member promote ID
quorate member update ID --peer-urls URL,…
quorate member remove ID

Add tells the cluster of a new member and prints how to start it: with quorate serve, an empty data
folder, and --initial-cluster-state existing. As a learner it gets all data and counts in no majority
until it is promoted: the safe way, since a voter that does not start yet makes the majority larger.
To replace a member that is gone: remove it, add another with --learner, start that, promote it. A
removed member stops by itself and never comes back under its ID.

Refused, and nothing changed: an ID or an address that is in use, an unknown ID, a second learner,
promotion of a learner that has not caught up, and what would leave no majority of running members.

Options:
  --learner               add: without a vote, until it is promoted
  --peer-urls URL,…       add, update: where the other members reach it
  --json                  one JSON object

${CONNECTION}

Examples:
  quorate member list
  quorate member add d --learner --peer-urls http://10.0.0.4:2380
  quorate member promote 8e9e05c52164694d`,
  },
  'move-leader': {
    summary: 'hand the leadership to another member',
    text: `quorate move-leader ID

Waits until the member leads, so that the old leader can be stopped without an election. The ID is
one of quorate member list.

${CONNECTION}

Examples:
  quorate move-leader 8e9e05c52164694d`,
  },
};

const OVERVIEW = `Exit codes: ${EXIT.ok} done · ${EXIT.failed} failed · ${EXIT.usage} wrong command line · ${EXIT.notFound} key or lock not found, or not healthy ·
${EXIT.lost} lock or leadership lost · with a command after --, the command's own`;

/** The page of a topic, or the overview. */
export function helpPage(io: Io, topic?: string): string {
  const page = topic === undefined ? undefined : TOPICS[topic];
  const bold = (text: string): string => paint(io, 'bold', text);
  if (page !== undefined) {
    return `${page.text
      .replace(/^([A-Z][^\n]*):$/gm, (title) => bold(title))
      .replace(/^quorate .*$/gm, (usage) => bold(usage))}\n`;
  }
  const commands = Object.entries(TOPICS).map(
    ([name, { summary }]) => `  ${paint(io, 'cyan', name.padEnd(11))} ${summary}`,
  );
  return `${bold('quorate')}: coordination for services that run as several instances

${bold('Commands:')}
${commands.join('\n')}
  ${paint(io, 'cyan', 'help'.padEnd(11))} more about a command: quorate help kv
  ${paint(io, 'cyan', 'version'.padEnd(11))} version numbers

${bold('For a start:')}
  quorate start                              three nodes on this machine
  quorate kv put greeting hello              in another terminal
  quorate kv get greeting
  quorate lock deploy -- ./deploy.sh         one at a time, whoever runs it
  quorate status --watch

Every command takes --help; --json where it prints data; --debug shows the stack of an error.
The client commands speak to any etcd-compatible cluster: --endpoints or ETCDCTL_ENDPOINTS.

${OVERVIEW}
`;
}
