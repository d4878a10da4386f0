/** A node without a cluster, for the server's tests and benchmarks: the in-memory store, always leader. */
import { memoryService } from '../kv/memory.ts';
import type { KvService } from '../kv/service.ts';
import type * as pb from '../proto/messages.ts';
import type { NodeBackend } from './backend.ts';

/** What a test may change while the server runs. */
export interface TestBackend extends NodeBackend {
  leader: boolean;
  learner: boolean;
  alarms: pb.AlarmMember[];
}

/** A backend over `kv`. */
export function testBackend(kv: KvService = memoryService()): TestBackend {
  const header = (): pb.ResponseHeader => ({
    clusterId: 0xcdf8181e3277f5e8n,
    memberId: 0x8e9e05c52164694dn,
    revision: 1,
    raftTerm: 2,
  });
  const backend: TestBackend = {
    kv,
    etcdVersion: '3.6.16',
    leader: true,
    learner: false,
    alarms: [],
    header,
    hasLeader: () => backend.leader,
    isLearner: () => backend.learner,
    status: () => ({
      header: header(),
      version: '3.6.16',
      dbSize: 20480,
      leader: 0x8e9e05c52164694dn,
      raftIndex: 5,
      raftTerm: 2,
      raftAppliedIndex: 5,
      errors: [],
      dbSizeInUse: 16384,
      isLearner: false,
      storageVersion: '3.6.0',
      dbSizeQuota: 0,
      downgradeInfo: { enabled: false, targetVersion: '' },
    }),
    memberList: async () => ({
      header: header(),
      members: [
        {
          id: 0x8e9e05c52164694dn,
          name: 'test',
          peerUrls: ['http://127.0.0.1:2380'],
          clientUrls: ['http://127.0.0.1:2379'],
          isLearner: false,
        },
      ],
    }),
    memberAdd: async ({ peerUrls, isLearner }) => {
      const member = { id: 5n, name: '', peerUrls, clientUrls: [], isLearner };
      return { header: header(), member, members: [member] };
    },
    memberRemove: async () => ({ header: header(), members: [] }),
    memberUpdate: async () => ({ header: header(), members: [] }),
    memberPromote: async () => ({ header: header(), members: [] }),
    alarm: async () => ({ header: header(), alarms: backend.alarms }),
    hashKv: async () => ({ header: header(), hash: 7, compactRevision: -1, hashRevision: 1 }),
    moveLeader: async () => ({}),
    defragment: async () => undefined,
    health: async () => {
      if (!backend.leader) throw new Error('etcdserver: no leader');
    },
    metrics: () => [
      { name: 'etcd_server_has_leader', help: 'Whether a leader exists.', type: 'gauge', value: 1 },
    ],
  };
  return backend;
}
