import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { memoryStorage } from './memory-storage.ts';

const metadata = { index: 5, term: 2, configuration: { voters: ['a'], learners: [] } };

test('a storage in memory is new, and starts with what it was given', () => {
  const entry = { type: 1, term: 1, index: 1, data: Buffer.from('x') } as const;
  const hardState = { term: 1, vote: '', commit: 1 };
  assert.equal(memoryStorage().recovered.fresh, true);
  const { recovered } = memoryStorage({ bootstrap: { hardState, entries: [entry] } });
  assert.deepEqual(recovered, { fresh: true, hardState, snapshot: undefined, entries: [entry] });
});

test('writes are reported in order and never within the call', async () => {
  const storage = memoryStorage();
  const order: number[] = [];
  const write = { hardState: undefined, entries: [] };
  await new Promise<void>((resolve) => {
    storage.persist(write, () => order.push(1));
    storage.persist(write, () => resolve());
    assert.deepEqual(order, []);
  });
  assert.deepEqual(order, [1]);
  await storage.close();
  const error = await new Promise((resolve) => storage.persist(write, resolve));
  assert.ok(isQuorateError(error, 'ERR_CLOSED'));
});

test('a snapshot becomes current at commit, keeps its chunks, and is gone after abort', async () => {
  const storage = memoryStorage();
  const first = await storage.createSnapshot(metadata);
  await assert.rejects(storage.createSnapshot(metadata), (e) => isQuorateError(e, 'ERR_BUSY'));
  await first.abort();
  const buffer = Buffer.from('one');
  const second = await storage.createSnapshot(metadata);
  await second.write(buffer);
  buffer.fill(0);
  await second.write(Buffer.alloc(0));
  assert.equal(storage.readSnapshot(), undefined);
  await second.commit();
  const read = storage.readSnapshot()!;
  assert.deepEqual([read.metadata, read.bytes], [metadata, 3]);
  const chunks: string[] = [];
  for await (const chunk of read.chunks) chunks.push(Buffer.from(chunk).toString());
  assert.deepEqual(chunks, ['one', '']);
});
