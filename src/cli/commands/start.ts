/**
 * `quorate start`: a durable cluster on this machine, to try things on and to develop against. Each
 * node is a process of its own (`quorate serve`), so killing one is a real crash; it is started again.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VERSION } from '../../version.ts';
import { commonOptions, parse, wholeNumber } from '../args.ts';
import { CommandError, EXIT, type Io, line, paint, UsageError } from '../io.ts';
import { ChildNode, type NodePlan } from '../start/child-node.ts';
import { claimFolder, refuseBusyPorts } from '../start/claim.ts';
import { Display } from '../start/display.ts';

const TOPIC = 'start';
/** etcd's own local cluster: 2379, 22379, 32379 for clients, the next port for peers. */
const CLIENT_PORTS = [2379, 22379, 32379, 42379, 52379];

const options = {
  ...commonOptions,
  'data-dir': { type: 'string' },
  nodes: { type: 'string', short: 'n' },
  host: { type: 'string' },
  'client-ports': { type: 'string' },
  'peer-ports': { type: 'string' },
  consensus: { type: 'string' },
} as const;

export interface ClusterPlan {
  readonly dataDir: string;
  readonly nodes: readonly NodePlan[];
}

/** @throws UsageError */
export function planCluster(argv: readonly string[]): ClusterPlan {
  const { values, positionals } = parse(TOPIC, options, argv);
  if (positionals.length > 0) {
    throw new UsageError(`start takes no argument '${positionals[0]}'`, TOPIC);
  }
  const clientPorts = ports('--client-ports', values['client-ports']);
  const peerPorts = ports('--peer-ports', values['peer-ports']);
  const asked = wholeNumber(TOPIC, '--nodes', values.nodes, 1);
  const count = asked ?? clientPorts?.length ?? 3;
  if (clientPorts === undefined && count > CLIENT_PORTS.length) {
    throw new UsageError(`more than ${CLIENT_PORTS.length} nodes need --client-ports`, TOPIC);
  }
  const clients = clientPorts ?? CLIENT_PORTS.slice(0, count);
  const peers = peerPorts ?? clients.map((port) => port + 1);
  if (clients.length !== count || peers.length !== count) {
    throw new UsageError(`${count} nodes need ${count} client ports and peer ports`, TOPIC);
  }
  if (new Set([...clients, ...peers]).size !== 2 * count) {
    throw new UsageError('each node needs ports of its own; one is given twice', TOPIC);
  }
  const host = values.host ?? '127.0.0.1';
  const { consensus = 'raft' } = values;
  if (consensus !== 'raft' && consensus !== 'paxos') {
    throw new UsageError(`--consensus: '${consensus}' is not known; use raft or paxos`, TOPIC);
  }
  const dataDir = resolve(values['data-dir'] ?? 'quorate-data');
  const names = clients.map((_, index) => `n${index + 1}`);
  const cluster = names.map((name, index) => `${name}=http://${host}:${peers[index]!}`).join(',');
  const nodes = names.map(
    (name, index): NodePlan => ({
      name,
      host,
      clientPort: clients[index]!,
      peerPort: peers[index]!,
      folder: join(dataDir, name),
      logFile: join(dataDir, `${name}.log`),
      cluster,
      consensus,
    }),
  );
  return { dataDir, nodes };
}

function ports(name: string, text: string | undefined): number[] | undefined {
  return text?.split(',').map((part) => {
    const port = wholeNumber(TOPIC, name, part.trim(), 1)!;
    if (port <= 65_535) return port;
    throw new UsageError(`${name}: ${port} is no port`, TOPIC);
  });
}

export async function start(argv: readonly string[], io: Io): Promise<number> {
  const plan = planCluster(argv);
  makeFolder(plan.dataDir);
  const claim = claimFolder(plan.dataDir);
  try {
    await refuseBusyPorts(plan.nodes);
    return await runCluster(plan, io);
  } finally {
    claim.release();
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'EEXIST' || code === 'ENOTDIR' ? 'a file is in its place' : code;
    throw new CommandError(`${path} cannot be made (${why}); choose another with --data-dir`);
  }
}

async function runCluster(plan: ClusterPlan, io: Io): Promise<number> {
  const count = plan.nodes.length;
  const nodes = count === 1 ? 'one node' : `${count} nodes`;
  line(io, `${paint(io, 'bold', `Quorate ${VERSION}`)}: ${nodes}, data in ${plan.dataDir}\n`);
  const display = new Display(io, plan.nodes);
  const failed = Promise.withResolvers<Error>();
  const children = plan.nodes.map(
    (node) =>
      new ChildNode(node, io.env, {
        changed: (state) => display.update(node.name, state),
        failed: (error) => failed.resolve(error),
      }),
  );
  const interrupted = new Promise<void>((done) => {
    if (io.interrupted.aborted) done();
    else io.interrupted.addEventListener('abort', () => done(), { once: true });
  });
  try {
    for (const child of children) child.start();
    const allReady = Promise.all(children.map((child) => child.ready));
    const first = await Promise.race([allReady, interrupted, failed.promise]);
    if (first instanceof Error) throw first;
    if (Array.isArray(first)) {
      display.finish();
      tryNext(plan, children, io);
    }
    const second = await Promise.race([interrupted, failed.promise]);
    if (second instanceof Error) throw second;
    return EXIT.ok;
  } catch (error) {
    throw new CommandError((error as Error).message, EXIT.failed, { cause: error });
  } finally {
    display.finish();
    line(io, `\nstopping ${count === 1 ? 'the node' : `the ${count} nodes`} …`);
    await Promise.all(children.map((child) => child.stop()));
    line(io, `stopped; the data stays in ${plan.dataDir}`);
  }
}

/** From a clone the command line is run through npm, installed it is an executable. */
function ownCommand(): string {
  return import.meta.filename.endsWith('.ts') ? 'npm run -s quorate --' : 'quorate';
}

function tryNext(plan: ClusterPlan, children: readonly ChildNode[], io: Io): void {
  const own = ownCommand();
  const endpoints = plan.nodes.map((node) => `${node.host}:${node.clientPort}`).join(',');
  const leader = children.find((child) => child.state.role === 'leader') ?? children[0]!;
  const command = (text: string, comment = ''): string =>
    `  ${paint(io, 'cyan', text)}${comment === '' ? '' : paint(io, 'gray', `   # ${comment}`)}`;
  const lines = [
    '',
    `${paint(io, 'green', 'The cluster is up.')} Try in another terminal:`,
    '',
    command(`export ETCDCTL_ENDPOINTS=${endpoints}`),
    command(`${own} kv put greeting hello`),
    command(`${own} kv get greeting`),
    command(`${own} kv watch --prefix greet`, 'then put again'),
    command(`${own} lock deploy -- sleep 5`, 'one at a time, whoever runs it'),
    command(`${own} status --watch`),
    command('etcdctl put greeting hello', 'etcd clients work unchanged'),
    '',
    'Nothing acknowledged is lost when a node dies:',
    '',
    command(
      `kill -9 ${leader.state.pid ?? 'PID'}`,
      children.length === 1
        ? 'it comes back'
        : `${leader.plan.name}, the leader: another takes over, it comes back`,
    ),
    '',
    'Ctrl-C stops the nodes; the data stays.',
    '',
  ];
  for (const text of lines) line(io, text);
}
