/** npm's `etcd3`, the client that Node users have today, against three of our nodes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Etcd3 } from 'etcd3';
import { type Cluster, startCluster, until } from '../support/cluster.ts';

describe("npm's etcd3 on our cluster", { timeout: 60_000 }, () => {
  let cluster: Cluster;
  let client: Etcd3;
  before(async () => {
    cluster = await startCluster();
    client = new Etcd3({ hosts: cluster.endpoints.map((endpoint) => `http://${endpoint}`) });
  });
  after(async () => {
    client.close();
    await cluster.close();
  });

  test('puts, gets and deletes', async () => {
    await client.put('npm/a').value('1');
    await client.put('npm/b').value('2');
    assert.equal(await client.get('npm/a').string(), '1');
    assert.deepEqual(await client.getAll().prefix('npm/').strings(), {
      'npm/a': '1',
      'npm/b': '2',
    });
    await client.delete().prefix('npm/');
    assert.equal(await client.get('npm/a').string(), null);
  });

  test('compares and swaps', async () => {
    const swap = (): Promise<{ succeeded: boolean }> =>
      client.if('npm/swap', 'Create', '==', 0).then(client.put('npm/swap').value('mine')).commit();
    assert.equal((await swap()).succeeded, true);
    assert.equal((await swap()).succeeded, false);
  });

  test('watches', async () => {
    const watcher = await client.watch().prefix('npm/w').create();
    const seen: string[] = [];
    watcher.on('put', (event) => seen.push(event.value.toString()));
    for (const value of ['1', '2', '3']) await client.put('npm/w').value(value);
    await until('all three are seen', () => seen.length === 3);
    assert.deepEqual(seen, ['1', '2', '3']);
    await watcher.cancel();
  });

  test('keeps a lease alive, and loses its key with it', async () => {
    const lease = client.lease(5);
    await lease.put('npm/leased').value('x');
    await lease.keepaliveOnce();
    assert.equal(await client.get('npm/leased').string(), 'x');
    await lease.revoke();
    assert.equal(await client.get('npm/leased').string(), null);
  });

  test('locks, one at a time', async () => {
    const lock = client.lock('npm/lock').ttl(5);
    await lock.acquire();
    await assert.rejects(client.lock('npm/lock').ttl(5).acquire());
    await lock.release();
    await (await client.lock('npm/lock').ttl(5).acquire()).release();
  });
});
