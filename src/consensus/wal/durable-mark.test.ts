import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrashDisk } from '../../testing/crash-disk.ts';
import { DurableMark, type LogPosition } from './durable-mark.ts';

async function folder(): Promise<CrashDisk> {
  const disk = new CrashDisk();
  await disk.makeFolder('/d');
  return disk;
}

function open(disk: CrashDisk): Promise<DurableMark> {
  return DurableMark.open(disk, '/d', 'durable', (text) => assert.fail(text));
}

/** What is found after the process was killed. */
async function found(disk: CrashDisk): Promise<LogPosition | undefined> {
  for (let i = 0; i < 50; i++) await undefined;
  return (await open(disk.afterKill())).found;
}

test('the first note of an interval is written at once, the newest of the others with the tick', async () => {
  const disk = await folder();
  const mark = await open(disk);
  assert.equal(await found(disk), undefined);
  for (let segment = 0; segment < 3; segment++) {
    mark.note({ segment, offset: 16 });
    assert.deepEqual(await found(disk), { segment, offset: 16 });
    mark.note({ segment, offset: 32 });
    mark.note({ segment, offset: 48 });
    assert.deepEqual(await found(disk), { segment, offset: 16 });
    mark.tick();
    assert.deepEqual(await found(disk), { segment, offset: 48 });
  }
  await mark.close();
});

test('a quiet interval makes it durable, with one sync', async () => {
  const disk = await folder();
  const mark = await open(disk);
  const syncs = (): number => disk.journal.filter((line) => line.startsWith('sync ')).length;
  const before = syncs();
  mark.note({ segment: 0, offset: 16 });
  mark.tick();
  await found(disk);
  assert.equal(syncs(), before);
  for (let i = 0; i < 5; i++) {
    mark.tick();
    await found(disk);
  }
  assert.equal(syncs(), before + 1);
  await mark.close();
  assert.equal(syncs(), before + 1);
});

test('what was not written yet is when it is closed, and a durable note at once', async () => {
  const disk = await folder();
  const mark = await open(disk);
  mark.note({ segment: 0, offset: 16 });
  await mark.noteDurably({ segment: 1, offset: 0 });
  assert.deepEqual(await found(disk), { segment: 1, offset: 0 });
  mark.note({ segment: 1, offset: 8 });
  await mark.close();
  assert.deepEqual(await found(disk), { segment: 1, offset: 8 });
});

test('of two slots the one that is whole and newest counts', async () => {
  const disk = await folder();
  const mark = await open(disk);
  await mark.noteDurably({ segment: 7, offset: 8 });
  await mark.noteDurably({ segment: 7, offset: 16 });
  await mark.close();
  for (const [slot, offset] of [
    [0, 16],
    [4096, 8],
  ] as const) {
    for (let at = 0; at < 28; at++) {
      const damaged = disk.afterKill();
      damaged.bytes('/d/durable')[slot + at]! ^= 1;
      assert.deepEqual(await found(damaged), { segment: 7, offset });
    }
  }
  disk.setBytes('/d/durable', Buffer.alloc(0));
  assert.equal(await found(disk), undefined);
});

test('a file that cannot be written is warned of, and the log goes on', async () => {
  const disk = await folder();
  const warnings: string[] = [];
  const mark = await DurableMark.open(disk, '/d', 'durable', (text) => warnings.push(text));
  disk.refuse = () => 'EIO';
  mark.note({ segment: 0, offset: 16 });
  assert.equal(await found(disk), undefined);
  assert.match(warnings.join(), /durable could not be written/);
  disk.refuse = undefined;
  mark.tick();
  assert.deepEqual(await found(disk), { segment: 0, offset: 16 });
  await mark.close();
});
