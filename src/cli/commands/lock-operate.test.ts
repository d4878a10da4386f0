import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryKv } from '../../kv/index.ts';
import { kvElections, kvLocks } from '../../locks/index.ts';
import { claimedName } from './lock-operate.ts';

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
