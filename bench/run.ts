/**
 * `npm run bench -- NAME [--json] [--quick]`: side by side with the peers where there are any, in one
 * run. With `--json` one object a line: {block, case, unit, better, ours, peers, samples}.
 */
import { parseArgs } from 'node:util';
import { type Bench, Report } from './report.ts';

/** Loaded when chosen: each has its own needs. */
const BENCHES: Readonly<Record<string, readonly [about: string, load: () => Promise<Bench>]>> = {
  consensus: [
    'Raft beside Paxos: deciding, three processes, leaders killed, reads by lease',
    async () => (await import('./consensus.ts')).benchConsensus,
  ],
  kv: ['three nodes beside etcd and antietcd', async () => (await import('./kv.ts')).benchKv],
  'etcd-client': [
    "our etcd client beside npm's etcd3",
    async () => (await import('./etcd-client.ts')).benchEtcdClient,
  ],
  'grpc-echo': [
    'HTTP/2, gRPC and the codec, on a backend that answers at once',
    async () => (await import('./grpc-echo.ts')).benchGrpcEcho,
  ],
  locks: [
    'locks beside those of npm: in one process, on one Redis, by a quorum',
    async () => (await import('./locks.ts')).benchLocks,
  ],
  mvcc: ['the state machine by itself', async () => (await import('./mvcc.ts')).benchMvcc],
  proto: [
    'the protobuf codec beside protobufjs',
    async () => (await import('./proto.ts')).benchProto,
  ],
  'raft-core': [
    'deciding alone: three cores in one thread',
    async () => (await import('./raft-core.ts')).benchRaftCore,
  ],
  resilience: [
    'policies, limiters and pools beside those of npm',
    async () => (await import('./resilience.ts')).benchResilience,
  ],
  simulator: [
    'whole clusters in virtual time',
    async () => (await import('./simulator.ts')).benchSimulator,
  ],
  wal: ['the log on the disk that TMPDIR is on', async () => (await import('./wal.ts')).benchWal],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, quick: { type: 'boolean' } },
});
const [name = '', ...rest] = positionals;
const entry = BENCHES[name];
if (entry === undefined || rest.length > 0) {
  const names = Object.entries(BENCHES).map(([each, [about]]) => `  ${each.padEnd(12)} ${about}`);
  console.error(`usage: npm run bench -- NAME [--json] [--quick]\n\n${names.join('\n')}`);
  process.exit(2);
}
const bench = await entry[1]();
const report = new Report(name, values.json === true);
try {
  await bench(report, values.quick === true);
} finally {
  report.end();
}
