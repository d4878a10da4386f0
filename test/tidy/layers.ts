/**
 * Which part of the source may import which. Imports point one way:
 *
 *   core ← contracts ← pure algorithms ← recipes, storage, transport ← replica ← embedded node
 *   contracts ← server, drivers ← cli
 *
 * Contracts know no implementation, drivers do not know each other, and what is pure decides
 * without I/O: it imports no `node:` module and takes clock and random source as arguments.
 */

export interface Layer {
  readonly name: string;
  /** A file (`src/a.ts`) or everything below a folder (`src/a/`); the first layer that fits counts. */
  readonly paths: readonly string[];
  /** Layers it may import besides itself. */
  readonly imports: readonly string[];
  /** No `node:` imports. */
  readonly pure?: true;
  /** Sub-folders that must not import each other. */
  readonly separate?: true;
}

export const LAYERS: readonly Layer[] = [
  { name: 'core', paths: ['src/core/', 'src/version.ts'], imports: [] },
  {
    name: 'contracts',
    paths: [
      'src/kv/kv.ts',
      'src/kv/service.ts',
      'src/consensus/types.ts',
      'src/consensus/core.ts',
      'src/consensus/delegating-core.ts',
      'src/consensus/storage.ts',
      'src/consensus/transport.ts',
      'src/consensus/state-machine.ts',
      'src/consensus/messages.ts',
      'src/locks/locks.ts',
      'src/locks/elections.ts',
      'src/server/backend.ts',
      'src/resilience/limiter.ts',
      'src/proto/messages.ts',
    ],
    imports: ['core'],
    pure: true,
  },
  { name: 'proto', paths: ['src/proto/'], imports: ['core', 'contracts'], pure: true },
  { name: 'raft', paths: ['src/consensus/raft/'], imports: ['core', 'contracts'], pure: true },
  {
    name: 'paxos',
    paths: ['src/consensus/paxos/'],
    imports: ['core', 'contracts', 'raft'],
    pure: true,
  },
  {
    name: 'storage',
    paths: ['src/consensus/wal/'],
    imports: ['core', 'contracts', 'proto'],
  },
  { name: 'transport', paths: ['src/consensus/transport/'], imports: ['core', 'contracts'] },
  {
    name: 'replica',
    paths: ['src/consensus/replica/'],
    imports: ['core', 'contracts', 'proto', 'raft', 'paxos'],
  },
  {
    name: 'consensus',
    paths: ['src/consensus/'],
    imports: ['core', 'contracts', 'raft', 'paxos', 'storage', 'transport', 'replica'],
  },
  {
    name: 'embedded',
    paths: ['src/node.ts', 'src/node-members.ts', 'src/node-view.ts', 'src/kv/embedded.ts'],
    imports: [
      'core',
      'contracts',
      'proto',
      'raft',
      'storage',
      'transport',
      'replica',
      'consensus',
      'kv',
      'events',
    ],
  },
  { name: 'kv', paths: ['src/kv/'], imports: ['core', 'contracts', 'proto'], pure: true },
  { name: 'backoff', paths: ['src/resilience/backoff.ts'], imports: ['core'], pure: true },
  {
    name: 'telemetry',
    paths: ['src/telemetry/figures/', 'src/prometheus/', 'src/opentelemetry/'],
    imports: ['core', 'contracts', 'backoff', 'events', 'resilience', 'http'],
  },
  { name: 'events', paths: ['src/telemetry/'], imports: ['core'] },
  { name: 'locks', paths: ['src/locks/'], imports: ['core', 'contracts', 'backoff', 'events'] },
  {
    name: 'resilience',
    paths: ['src/resilience/'],
    imports: ['core', 'contracts', 'backoff', 'events'],
  },
  { name: 'http', paths: ['src/http/'], imports: ['core', 'contracts', 'events', 'resilience'] },
  { name: 'server', paths: ['src/server/'], imports: ['core', 'contracts', 'proto'] },
  {
    name: 'drivers',
    paths: ['src/drivers/'],
    imports: ['core', 'contracts', 'proto', 'kv', 'locks', 'resilience'],
    separate: true,
  },
  {
    name: 'conformance',
    paths: ['src/conformance/'],
    imports: ['core', 'contracts', 'proto'],
  },
  {
    name: 'testing',
    paths: ['src/testing/'],
    imports: [
      'core',
      'contracts',
      'proto',
      'raft',
      'storage',
      'transport',
      'replica',
      'consensus',
      'kv',
      'locks',
      'resilience',
      'embedded',
    ],
  },
  {
    name: 'entry',
    paths: ['src/index.ts'],
    imports: ['core', 'contracts', 'kv', 'locks', 'consensus', 'replica', 'embedded', 'server'],
  },
  {
    name: 'cli',
    paths: ['src/cli/'],
    imports: [
      'core',
      'contracts',
      'proto',
      'kv',
      'locks',
      'replica',
      'embedded',
      'http',
      'server',
      'drivers',
    ],
  },
];
