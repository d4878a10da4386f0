/**
 * The protobuf codec beside protobufjs, on the messages of a put: both end (or begin) with keys and
 * values in the form the store keeps, latin1 strings.
 */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import * as etcd from '../src/proto/etcd.ts';
import type { Report } from './report.ts';

const CALLS = 40_000;

const schema = protobuf.parse(
  readFileSync(new URL('../src/proto/testdata/etcd.proto', import.meta.url), 'utf8'),
  { keepCase: true },
).root;

const key = 'k'.repeat(24);
const value = 'v'.repeat(256);
const header = {
  clusterId: 14_841_639_068_965_178_418n,
  memberId: 10_276_657_743_932_975_437n,
  revision: 123_456,
  raftTerm: 5,
};
const theirHeader = {
  cluster_id: String(header.clusterId),
  member_id: String(header.memberId),
  revision: header.revision,
  raft_term: header.raftTerm,
};

const put = etcd.PutRequest.create({ key, value });
const kv = etcd.KeyValue.create({ key, createRevision: 12_345, modRevision: 123_456, value });
const range = etcd.RangeResponse.create({ header, kvs: [kv], count: 1 });
const response = etcd.PutResponse.create({ header });
const entry = etcd.InternalRaftRequest.create({
  header: { id: 1_234_567_890_123n, username: '', authRevision: 0 },
  put,
});

const TheirPut = schema.lookupType('etcd.PutRequest');
const TheirPutResponse = schema.lookupType('etcd.PutResponse');
const TheirRange = schema.lookupType('etcd.RangeResponse');
const TheirEntry = schema.lookupType('etcd.InternalRaftRequest');

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const theirPut = () => ({ key: latin1(key), value: latin1(value) });
const theirKv = () => ({ ...theirPut(), create_revision: 12_345, mod_revision: 123_456 });

interface Held {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Keys and values as the store holds them. */
function hold({ key, value }: Held): number {
  return key.latin1Slice().length + value.latin1Slice().length;
}

const bytes = {
  put: etcd.PutRequest.encode(put),
  response: etcd.PutResponse.encode(response),
  range: etcd.RangeResponse.encode(range),
  entry: etcd.InternalRaftRequest.encode(entry),
};
const theirResponse = TheirPutResponse.fromObject({ header: theirHeader });
const theirRangeHeader = TheirPutResponse.fromObject({ header: theirHeader })['header' as never];

const cases: Record<string, readonly [ours: () => unknown, theirs: () => unknown]> = {
  'decode PutRequest': [
    () => etcd.PutRequest.decode(bytes.put),
    () => hold(TheirPut.decode(bytes.put) as unknown as Held),
  ],
  'encode PutResponse': [
    () => etcd.PutResponse.encode(response),
    () => TheirPutResponse.encode(theirResponse).finish(),
  ],
  'encode log entry with a put': [
    () => etcd.InternalRaftRequest.encode(entry),
    () => TheirEntry.encode({ header: { ID: 1_234_567_890_123 }, put: theirPut() }).finish(),
  ],
  'decode log entry with a put': [
    () => etcd.InternalRaftRequest.decode(bytes.entry),
    () => hold((TheirEntry.decode(bytes.entry) as unknown as { put: Held }).put),
  ],
  'encode RangeResponse of one key': [
    () => etcd.RangeResponse.encode(range),
    () => TheirRange.encode({ header: theirRangeHeader, kvs: [theirKv()], count: 1 }).finish(),
  ],
  'decode RangeResponse of one key': [
    () => etcd.RangeResponse.decode(bytes.range),
    () => hold((TheirRange.decode(bytes.range) as unknown as { kvs: [Held] }).kvs[0]),
  ],
};

/** Processor nanoseconds of one call: other programs on the machine hardly count. */
function cost(call: () => unknown): number {
  const before = process.cpuUsage();
  for (let i = 0; i < CALLS; i++) call();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1000) / CALLS;
}

export async function benchProto(report: Report, quick: boolean): Promise<void> {
  for (const [name, [ours, theirs]] of Object.entries(cases)) {
    const samples = { quorate: [] as number[], protobufjs: [] as number[] };
    for (let round = quick ? -1 : -2; round < (quick ? 5 : 15); round++) {
      const sample = [cost(ours), cost(theirs)] as const;
      // The first rounds warm the code up.
      if (round < 0) continue;
      samples.quorate.push(sample[0]);
      samples.protobufjs.push(sample[1]);
    }
    report.add({ name, unit: 'ns', better: 'lower' }, samples);
  }
}
