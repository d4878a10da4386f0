/** The log of a Paxos core on a disk: slots in any order, none cut off, refused by the other core. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrashDisk } from '../../testing/crash-disk.ts';
import type { Storage } from '../storage.ts';
import { type Consensus, type Entry, EntryType, type Persist } from '../types.ts';
import { SlotImage } from './slot-image.ts';
import { openDiskStorage } from './storage.ts';

const IDENTITY = { clusterId: '00000000000000c1', nodeId: '00000000000000a1' };
const CONFIGURATION = { voters: [IDENTITY.nodeId], learners: [] };

function slot(index: number, ballot: number, bytes = 0): Entry {
  const data = new Uint8Array(Math.max(bytes, 1)).fill(index);
  return { type: EntryType.normal, term: ballot, index, data };
}

function open(disk: CrashDisk, consensus: Consensus | undefined): Promise<Storage> {
  return openDiskStorage({
    disk,
    folder: '/data',
    identity: { ...IDENTITY, consensus },
    settings: { segmentBytes: 4096 },
  });
}

function write(storage: Storage, persist: Partial<Persist>): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.persist({ hardState: undefined, entries: [], ...persist }, (error) =>
      error === undefined ? resolve() : reject(error),
    );
  });
}

function found(storage: Storage): [number, number][] {
  return storage.recovered.entries.map(({ index, term }) => [index, term]);
}

test('slots are found as they were written last, holes and all, across segments', async () => {
  const disk = new CrashDisk();
  let storage = await open(disk, 'paxos');
  const hardState = { term: 2048, vote: '', commit: 0 };
  await write(storage, { hardState, entries: [slot(3, 1024), slot(5, 1024)] });
  await write(storage, { entries: [slot(1, 1024)] });
  // Large enough for a segment of its own: what follows is in a later file.
  await write(storage, { entries: [slot(8, 2048, 6000)] });
  await write(storage, { entries: [slot(3, 2048)] });
  await storage.close();
  storage = await open(disk, 'paxos');
  assert.deepEqual(found(storage), [
    [1, 1024],
    [3, 2048],
    [5, 1024],
    [8, 2048],
  ]);
  assert.deepEqual(storage.recovered.hardState, hardState);
  await storage.close();
});

test('a snapshot takes nothing of what was accepted behind it', async () => {
  const disk = new CrashDisk();
  let storage = await open(disk, 'paxos');
  const hardState = { term: 1024, vote: '', commit: 0 };
  await write(storage, { hardState, entries: [slot(1, 1024), slot(9, 1024)] });
  const writer = await storage.createSnapshot({
    index: 5,
    term: 1024,
    configuration: CONFIGURATION,
  });
  await writer.write(Buffer.from('state'));
  await writer.commit();
  storage.release(5);
  await storage.close();
  storage = await open(disk, 'paxos');
  assert.equal(storage.recovered.snapshot?.index, 5);
  assert.deepEqual(found(storage), [[9, 1024]]);
  assert.equal(storage.recovered.hardState.commit, 5);
  await storage.close();
});

test('a folder says which core wrote it, and the other is refused; one that says nothing is Raft’s', async () => {
  for (const [wrote, reads] of [
    ['raft', 'paxos'],
    [undefined, 'paxos'],
    ['paxos', 'raft'],
    ['paxos', undefined],
  ] as const) {
    const disk = new CrashDisk();
    await (await open(disk, wrote)).close();
    await assert.rejects(open(disk, reads), {
      code: 'ERR_DATA_DIR_MISMATCH',
      message: new RegExp(`runs ${wrote ?? 'raft'}, but this one is to run ${reads ?? 'raft'}`),
    });
    await (await open(disk, wrote)).close();
  }
});

test('a record of an older ballot behind one of a newer is damage', () => {
  const image = new SlotImage(0, 0);
  assert.equal(image.addEntry(slot(4, 2048)), undefined);
  assert.match(image.addEntry(slot(4, 1024)) ?? '', /slot 4 of ballot 1024 follows/);
  assert.equal(image.setState({ term: 2048, vote: '', commit: 0 }), undefined);
  assert.match(image.setState({ term: 1024, vote: '', commit: 0 }) ?? '', /ballot 1024 follows/);
});

test('what a received snapshot covers is not taken for chosen, what an own one covers is', () => {
  const received = new SlotImage(0, 0);
  received.addEntry(slot(1, 1024));
  received.addEntry(slot(6, 1024));
  received.addSnapshot(5, 1024);
  assert.equal(received.base, 5, 'only from that snapshot can be started');
  assert.deepEqual(
    received.entries.map(({ index }) => index),
    [6],
  );
  const own = new SlotImage(0, 0);
  own.addEntry(slot(1, 1024));
  own.setState({ term: 1024, vote: '', commit: 1 });
  own.addSnapshot(1, 1024);
  assert.equal(own.base, 0, 'the log from the beginning serves as well');
  assert.equal(own.entries.length, 1);
});
