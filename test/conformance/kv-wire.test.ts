/** The key-value suite through our server and our client, with the in-memory store behind them. */
import { after, before, describe, test } from 'node:test';
import { type KvTarget, kvCases, runCases } from '../../src/conformance/index.ts';
import { clockInFastTime } from '../../src/conformance/test-time.ts';
import { etcdService } from '../../src/drivers/etcd/index.ts';
import { kvOver, memoryService } from '../../src/kv/index.ts';
import { type EtcdServer, serveEtcd } from '../../src/server/index.ts';
import { testBackend } from '../../src/server/test-backend.ts';

describe('the store behind the etcd API', () => {
  const clock = clockInFastTime();
  const store = memoryService({ clock });
  let server: EtcdServer;
  let target: KvTarget;
  before(async () => {
    server = await serveEtcd(testBackend(store), { listenUrls: ['http://127.0.0.1:0'] });
    const service = etcdService({ endpoints: server.urls });
    target = { kv: kvOver(service), service, clock };
  });
  after(async () => {
    await target.kv.close();
    await server.close();
    await store.close();
  });
  runCases(
    kvCases,
    () => target,
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
  );
});
