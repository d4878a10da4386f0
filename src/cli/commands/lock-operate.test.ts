import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryKv } from '../../kv/index.ts';
import { kvElections, kvLocks } from '../../locks/index.ts';
import { allLocks, claimedName } from './lock-operate.ts';

test('keys in which somebody stands in a queue are told from others', async () => {
  await using kv = memoryKv();
  await using locks = kvLocks(kv);
  await using elections = kvElections(kv);
  await locks.acquire('plain');
  await locks.acquire('a/b\nc');
  await locks.acquire('semaphore', { permits: 2 });
  await locks.acquire('semaphore', { permits: 2 });
  await locks.acquire('read', { shared: true });
  for await (const _ of elections.campaign('election', 'me')) {
    const lease = await kv.grantLease('10s');
    await kv.put('config/abc', 'x');
    await kv.put('service/abc', 'x', { lease: lease.id });
    await kv.put(`service/${lease.id.toString(16)}/x`, 'x', { lease: lease.id });
    const { kvs } = await kv.range({ prefix: '' });
    assert.equal(kvs.length, 9);
    const found = kvs.map(claimedName).filter((name) => name !== undefined);
    const wanted = ['a/b\nc', 'election', 'plain', 'read', 'semaphore', 'semaphore'];
    assert.deepEqual(found, wanted);
    break;
  }
});

test('all locks of a prefix are found, however many keys are read at a time', async () => {
  await using kv = memoryKv();
  await using locks = kvLocks(kv);
  const names = ['b/1', 'b/2', 'b/3', 'b\xff', '\xff'];
  for (const name of [...names, 'a', 'c']) {
    await locks.acquire(name);
    await kv.put(`${name}-not`, 'a lock');
  }
  await kv.put('b', 'what the others begin with');
  for (const page of [1, 2, 1000]) {
    const found = async (prefix: string): Promise<string[]> =>
      (await allLocks(kv, prefix, { page })).map(({ name }) => name);
    assert.deepEqual(await found('b'), ['b/1', 'b/2', 'b/3', 'b\xff']);
    assert.deepEqual(await found('\xff'), ['\xff']);
    assert.equal((await found('')).length, 7);
    assert.deepEqual(await found('none'), []);
  }
});
