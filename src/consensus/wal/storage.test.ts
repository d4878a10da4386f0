import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { CrashDisk } from '../../testing/crash-disk.ts';
import type { Storage } from '../storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from '../types.ts';
import { openDiskStorage } from './storage.ts';

const NODE = '8e9e05c52164694d';
const OTHER = 'fd422379fda50e48';
const identity = { clusterId: 'cdf818194e3a8c32', nodeId: NODE };
const configuration = { voters: [NODE, OTHER], learners: [] };
const WAL = '/data/member/wal';
const SNAP = '/data/member/snap';

interface OpenOptions {
  readonly segmentBytes?: number;
  readonly onWarning?: (text: string) => void;
  readonly bootstrap?: { hardState: HardState; entries: Entry[] };
  readonly fsync?: boolean;
  readonly onDamage?: 'refuse' | 'keep-sound-part';
}

function open(disk: CrashDisk, options: OpenOptions = {}): Promise<Storage> {
  const { segmentBytes = 4096, ...rest } = options;
  return openDiskStorage({ disk, folder: '/data', identity, settings: { segmentBytes }, ...rest });
}

function entry(index: number, term: number, bytes = 8): Entry {
  return { type: 0, term, index, data: Buffer.alloc(bytes, index % 255 || 1) };
}

function entries(from: number, to: number, term: number, bytes = 8): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, bytes));
}

function persist(storage: Storage, write: Partial<Persist>): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.persist({ hardState: write.hardState, entries: write.entries ?? [] }, (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

async function snapshot(
  storage: Storage,
  index: number,
  term: number,
  chunks = ['s'],
): Promise<void> {
  const writer = await storage.createSnapshot({ index, term, configuration });
  for (const chunk of chunks) await writer.write(Buffer.from(chunk));
  await writer.commit();
}

async function readAll(storage: Storage): Promise<string[]> {
  const chunks: string[] = [];
  for await (const chunk of storage.readSnapshot()!.chunks)
    chunks.push(Buffer.from(chunk).toString());
  return chunks;
}

function indexes(storage: Storage): [number, number] {
  const found = storage.recovered.entries;
  return [found[0]?.index ?? 0, found.at(-1)?.index ?? 0];
}

async function segmentNames(disk: CrashDisk): Promise<string[]> {
  return (await disk.list(WAL)).filter((name) => name.endsWith('.wal')).sort();
}

function hasCode(code: string, ...parts: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isQuorateError(error), String(error));
    assert.equal(error.code, code, error.message);
    for (const part of parts)
      assert.ok(error.message.includes(part), `${part} in: ${error.message}`);
    return true;
  };
}

test('what was persisted is found again', async () => {
  const disk = new CrashDisk();
  const first = await open(disk);
  assert.equal(first.recovered.fresh, true);
  await persist(first, {
    hardState: { term: 3, vote: OTHER, commit: 0 },
    entries: entries(1, 5, 3),
  });
  await persist(first, { hardState: { term: 3, vote: OTHER, commit: 4 } });
  await first.close();
  const second = await open(disk);
  assert.equal(second.recovered.fresh, false);
  assert.deepEqual(second.recovered.hardState, { term: 3, vote: OTHER, commit: 4 });
  assert.deepEqual(second.recovered.entries, entries(1, 5, 3));
  assert.equal(second.recovered.snapshot, undefined);
  await second.close();
});

test('an entry persisted again cuts the log to before it', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { entries: entries(1, 9, 1) });
  await persist(storage, { entries: entries(4, 5, 2) });
  await storage.close();
  const reopened = await open(disk);
  assert.deepEqual(reopened.recovered.entries, [...entries(1, 3, 1), ...entries(4, 5, 2)]);
  await reopened.close();
});

test('writes queued while one is under way share one write and one sync', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk, { segmentBytes: 1 << 20 });
  const first = persist(storage, { entries: [entry(1, 1)] });
  await Promise.resolve();
  await Promise.resolve();
  const before = disk.journal.length;
  const order: number[] = [];
  const rest = entries(2, 50, 1).map((one) =>
    persist(storage, { entries: [one] }).then(() => order.push(one.index)),
  );
  await Promise.all([first, ...rest]);
  const writes = disk.journal.slice(before).map((line) => line.split(' ')[0]);
  assert.deepEqual(
    order,
    entries(2, 50, 1).map((one) => one.index),
  );
  assert.ok(writes.filter((name) => name === 'sync').length <= 2, writes.join());
  assert.ok(writes.filter((name) => name === 'write').length <= 2, writes.join());
  await storage.close();
});

test('a commit index alone is written before it is reported: it may be that of a change of the members', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { hardState: { term: 1, vote: NODE, commit: 0 }, entries: [entry(1, 1)] });
  await persist(storage, { hardState: { term: 1, vote: NODE, commit: 1 } });
  const recovered = await open(disk.afterCrash(seededRandom(1)));
  assert.equal(recovered.recovered.hardState.commit, 1);
  await recovered.close();
  const inLog = (): number => disk.journal.filter((line) => line.includes('.wal')).length;
  const before = inLog();
  await persist(storage, { hardState: { term: 1, vote: NODE, commit: 1 } });
  await persist(storage, { hardState: { term: 1, vote: NODE, commit: 0 } });
  assert.equal(inLog(), before, 'no news, no write');
  await storage.close();
  const reopened = await open(disk);
  assert.equal(reopened.recovered.hardState.commit, 1);
  await reopened.close();
});

test('without fsync nothing is synced once the node runs, and all is found after a kill', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk, { fsync: false, segmentBytes: 1 << 20 });
  const before = disk.journal.length;
  for (const one of entries(1, 20, 1)) await persist(storage, { entries: [one] });
  assert.ok(disk.journal.slice(before).every((line) => line.startsWith('write ')));
  assert.equal((await open(disk.afterKill())).recovered.entries.length, 20);
  await storage.close();
});

test('a vote alone is synced before it is reported', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { hardState: { term: 1, vote: '', commit: 0 } });
  await persist(storage, { hardState: { term: 1, vote: NODE, commit: 0 } });
  const found = await open(disk.afterCrash(seededRandom(1)));
  assert.equal(found.recovered.hardState.vote, NODE);
  await storage.close();
});

test('the log goes on over many segments, large entries included', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  for (let i = 1; i <= 60; i++) {
    const bytes = i % 10 === 0 ? 9000 : 300;
    const hardState = { term: 1, vote: NODE, commit: i - 1 };
    await persist(storage, { hardState, entries: [entry(i, 1, bytes)] });
  }
  assert.ok((await segmentNames(disk)).length > 5);
  await storage.close();
  const reopened = await open(disk);
  assert.equal(reopened.recovered.entries.length, 60);
  assert.equal(reopened.recovered.entries[29]!.data.length, 9000);
  assert.deepEqual(reopened.recovered.hardState, { term: 1, vote: NODE, commit: 59 });
  await reopened.close();
});

test('a snapshot keeps the joint configuration that it was taken in', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { hardState: undefined, entries: entries(1, 3, 1) });
  const joint = { outgoing: [NODE, OTHER], learnersNext: [OTHER], autoLeave: true };
  const metadata = { index: 3, term: 1, configuration: { voters: [NODE], learners: [], joint } };
  const writer = await storage.createSnapshot(metadata);
  await writer.write(Buffer.from('x'));
  await writer.commit();
  await storage.close();
  const reopened = await open(disk);
  assert.deepEqual(reopened.recovered.snapshot, metadata);
  assert.deepEqual(await readAll(reopened), ['x']);
  await reopened.close();
});

test('a snapshot replaces the log before it, and reads back in its chunks', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, {
    hardState: { term: 2, vote: NODE, commit: 8 },
    entries: entries(1, 10, 2),
  });
  await snapshot(storage, 8, 2, ['one', '', 'three']);
  assert.deepEqual(await readAll(storage), ['one', '', 'three']);
  await storage.close();
  const reopened = await open(disk);
  assert.deepEqual(reopened.recovered.snapshot, { index: 8, term: 2, configuration });
  assert.deepEqual(indexes(reopened), [9, 10]);
  assert.deepEqual(await readAll(reopened), ['one', '', 'three']);
  assert.equal(reopened.readSnapshot()!.bytes, 8);
  await reopened.close();
});

test('a snapshot from a leader replaces a log that disagrees with it', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, {
    hardState: { term: 2, vote: '', commit: 0 },
    entries: entries(1, 10, 1),
  });
  await snapshot(storage, 8, 2);
  await persist(storage, { entries: entries(9, 9, 2) });
  await storage.close();
  const reopened = await open(disk);
  assert.deepEqual(reopened.recovered.entries, entries(9, 9, 2));
  assert.equal(reopened.recovered.hardState.commit, 8);
  await reopened.close();
});

test('a snapshot beyond the end of the log is followed by the next entry', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, {
    hardState: { term: 1, vote: '', commit: 2 },
    entries: entries(1, 3, 1),
  });
  await snapshot(storage, 1000, 1);
  await persist(storage, { entries: entries(1001, 1030, 1, 400) });
  storage.release(1000);
  await storage.close();
  const reopened = await open(disk);
  assert.deepEqual(indexes(reopened), [1001, 1030]);
  assert.equal(reopened.recovered.snapshot?.index, 1000);
  await reopened.close();
});

test('release removes only whole segments that nobody needs, and the log still opens', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  for (let i = 1; i <= 100; i++) await persist(storage, { entries: [entry(i, 1, 300)] });
  const all = await segmentNames(disk);
  storage.release(90);
  await snapshot(storage, 50, 1);
  storage.release(95);
  await persist(storage, { entries: [entry(101, 1)] });
  await storage.close();
  const left = await segmentNames(disk);
  const firstLeft = Number.parseInt(left[0]!.slice(17), 16);
  assert.ok(left.length < all.length && firstLeft <= 50 && firstLeft > 30, left.join());
  const reopened = await open(disk);
  assert.deepEqual(indexes(reopened), [51, 101]);
  await reopened.close();
});

test('the two newest snapshots are kept', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { entries: entries(1, 9, 1) });
  for (const index of [2, 4, 6, 8]) await snapshot(storage, index, 1, [`at ${index}`]);
  const names = (await disk.list(SNAP)).sort();
  assert.deepEqual(names, [
    '0000000000000001-0000000000000006.state',
    '0000000000000001-0000000000000008.state',
  ]);
  assert.deepEqual(await readAll(storage), ['at 8']);
  await storage.close();
});

test('a reader keeps its snapshot while newer ones replace it', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { entries: entries(1, 9, 1) });
  await snapshot(storage, 2, 1, ['a', 'b']);
  const slow = storage.readSnapshot()!.chunks[Symbol.asyncIterator]();
  assert.equal(String((await slow.next()).value), 'a');
  for (const index of [4, 6, 8]) await snapshot(storage, index, 1, ['c']);
  assert.ok((await disk.list(SNAP)).includes('0000000000000001-0000000000000002.state'));
  assert.equal(String((await slow.next()).value), 'b');
  assert.equal((await slow.next()).done, true);
  assert.equal((await disk.list(SNAP)).length, 2);
  await storage.close();
});

test('a snapshot given up leaves nothing, and only one may be written at a time', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { entries: entries(1, 9, 1) });
  const metadata: SnapshotMetadata = { index: 5, term: 1, configuration };
  const writer = await storage.createSnapshot(metadata);
  await assert.rejects(storage.createSnapshot(metadata), hasCode('ERR_BUSY'));
  await writer.write(Buffer.from('x'));
  await writer.abort();
  await writer.abort();
  assert.deepEqual(await disk.list(SNAP), []);
  assert.equal(storage.readSnapshot(), undefined);
  await snapshot(storage, 5, 1);
  await storage.close();
});

test('a snapshot given up while it is being written is closed after that write, once, and then makes room', async () => {
  const disk = new CrashDisk();
  const happened: string[] = [];
  const writes: (() => void)[] = [];
  const slow: Disk = Object.assign(Object.create(disk), {
    async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
      const file = await disk.open(path, mode);
      if (!path.endsWith('.state.tmp')) return file;
      const write = async (data: Uint8Array, offset: number): Promise<void> => {
        await new Promise<void>((resolve) => writes.push(resolve));
        happened.push('written');
        await file.write(data, offset);
      };
      const close = async (): Promise<void> => void happened.push('closed');
      return { ...file, write, close };
    },
  });
  for (const method of ['list', 'exists', 'makeFolder', 'rename', 'remove', 'syncFolder', 'lock']) {
    Object.assign(slow, { [method]: disk[method as 'list'].bind(disk) });
  }
  const storage = await openDiskStorage({ disk: slow, folder: '/data', identity });
  await persist(storage, {
    hardState: { term: 1, vote: '', commit: 0 },
    entries: entries(1, 9, 1),
  });
  const writer = await storage.createSnapshot({ index: 5, term: 1, configuration });
  const writing = writer.write(Buffer.alloc(4 << 20));
  const givenUp = writer.abort();
  await assert.rejects(writer.write(Buffer.from('late')), { code: 'ERR_CLOSED' });
  await assert.rejects(storage.createSnapshot({ index: 5, term: 1, configuration }), {
    code: 'ERR_BUSY',
  });
  let ended = false;
  void Promise.all([writing, givenUp]).then(() => {
    ended = true;
  });
  while (!ended) {
    writes.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(happened.at(-1), 'closed');
  assert.equal(happened.filter((what) => what === 'closed').length, 1);
  const again = storage.createSnapshot({ index: 5, term: 1, configuration });
  await (await again).abort();
  await storage.close();
});

test('a failed write or sync latches the log: nothing is retried, later writes fail too', async () => {
  for (const operation of ['write', 'sync']) {
    const disk = new CrashDisk();
    const storage = await open(disk);
    await persist(storage, { entries: [entry(1, 1)] });
    disk.refuse = (name, path) => (name === operation && path.endsWith('.wal') ? 'EIO' : undefined);
    const failed = persist(storage, { entries: [entry(2, 1)] });
    const behind = persist(storage, { entries: [entry(3, 1)] });
    await assert.rejects(failed, hasCode('ERR_DISK_FAILED', '.wal', 'EIO'));
    await assert.rejects(behind, hasCode('ERR_DISK_FAILED'));
    disk.refuse = undefined;
    const before = disk.operations;
    await assert.rejects(persist(storage, { entries: [entry(2, 1)] }), hasCode('ERR_DISK_FAILED'));
    assert.equal(disk.operations, before);
    await storage.close();
  }
});

test('on a full disk writes go on in the room there is, then wait, and go on when there is space', async () => {
  const disk = new CrashDisk();
  const warnings: string[] = [];
  const storage = await open(disk, { onWarning: (text) => warnings.push(text) });
  disk.refuse = (name, path) => (name === 'write' && path.endsWith('.tmp') ? 'ENOSPC' : undefined);
  assert.equal(storage.space, 'ample');
  let durable = 0;
  const writes: Promise<void>[] = [];
  for (let i = 1; i <= 30; i++) {
    writes.push(persist(storage, { entries: [entry(i, 1, 300)] }).then(() => void durable++));
    await turns();
  }
  assert.equal(storage.space, 'none');
  assert.ok(durable > 8 && durable < 15, `${durable} fit into the first segment`);
  assert.match(warnings.join(), /is full.*segment of 4096 bytes/);
  const leftOver = (await disk.list(WAL)).filter((name) => name.endsWith('.tmp'));
  assert.deepEqual(leftOver, [], 'what was zeroed is given back');
  disk.refuse = undefined;
  for (let tick = 0; tick < 20; tick++) {
    storage.tick();
    await turns();
  }
  await Promise.all(writes);
  assert.equal(storage.space, 'ample');
  await storage.close();
  const again = await open(disk);
  assert.deepEqual(indexes(again), [1, 30]);
  await again.close();
});

test('a full disk keeps room for votes', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  disk.refuse = (name, path) => (name === 'write' && path.endsWith('.tmp') ? 'ENOSPC' : undefined);
  for (let i = 1; storage.space === 'ample'; i++) {
    await persist(storage, { entries: [entry(i, 1, 100)] });
    await turns();
  }
  for (let term = 2; term < 30; term++) {
    await persist(storage, { hardState: { term, vote: NODE, commit: 0 } });
  }
  await storage.close();
});

test('a node that is closed while writes wait for space says that they may be lost', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  disk.refuse = (name, path) => (name === 'write' && path.endsWith('.tmp') ? 'ENOSPC' : undefined);
  const writes = Array.from({ length: 30 }, (_, i) =>
    persist(storage, { entries: [entry(i + 1, 1, 300)] }),
  );
  const last = assert.rejects(writes.at(-1)!, hasCode('ERR_DISK_FAILED', 'ENOSPC', 'free space'));
  void Promise.allSettled(writes);
  await turns();
  await storage.close();
  await last;
});

/** What happens without outside help has happened then. */
async function turns(): Promise<void> {
  for (let i = 0; i < 200; i++) await undefined;
}

test('after close every write is refused', async () => {
  const storage = await open(new CrashDisk());
  await storage.close();
  await storage.close();
  await assert.rejects(persist(storage, { entries: [entry(1, 1)] }), hasCode('ERR_CLOSED'));
  await assert.rejects(
    storage.createSnapshot({ index: 1, term: 1, configuration }),
    hasCode('ERR_CLOSED'),
  );
});

test('a directory of another node or cluster is refused, naming both', async () => {
  const disk = new CrashDisk();
  await (await open(disk)).close();
  const other = { clusterId: identity.clusterId, nodeId: OTHER };
  await assert.rejects(
    openDiskStorage({ disk, folder: '/data', identity: other, settings: { segmentBytes: 4096 } }),
    hasCode('ERR_DATA_DIR_MISMATCH', NODE, OTHER),
  );
  await (await open(disk)).close();
});

test('a damaged newest snapshot is refused, or replaced by an older one with the whole log', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, {
    hardState: { term: 1, vote: '', commit: 0 },
    entries: entries(1, 1, 1, 300),
  });
  for (const one of entries(2, 40, 1, 300)) await persist(storage, { entries: [one] });
  await snapshot(storage, 10, 1, ['old']);
  await snapshot(storage, 30, 1, ['new']);
  await storage.close();
  const newest = `${SNAP}/0000000000000001-000000000000001e.state`;
  disk.bytes(newest)[80]! ^= 1;
  const warnings: string[] = [];
  const fallback = await open(disk.afterKill(), { onWarning: (text) => warnings.push(text) });
  assert.equal(fallback.recovered.snapshot?.index, 10);
  assert.deepEqual(indexes(fallback), [11, 40]);
  assert.deepEqual(await readAll(fallback), ['old']);
  assert.match(warnings.join(), /000000000000001e\.state is corrupt at byte/);
  const alone = disk.afterKill();
  await alone.remove(`${SNAP}/0000000000000001-000000000000000a.state`);
  for (const name of (await segmentNames(alone)).slice(0, 1)) await alone.remove(`${WAL}/${name}`);
  await assert.rejects(open(alone), hasCode('ERR_CORRUPT', newest, 'byte'));
});

test('a log that lost a segment, or all of them, is refused', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  for (let i = 1; i <= 40; i++) await persist(storage, { entries: [entry(i, 1, 300)] });
  await snapshot(storage, 20, 1);
  await storage.close();
  const names = await segmentNames(disk);
  const gap = disk.afterKill();
  await gap.remove(`${WAL}/${names[1]}`);
  await assert.rejects(open(gap), hasCode('ERR_CORRUPT', 'lacks log segment 0000000000000001'));
  const none = disk.afterKill();
  for (const name of names) await none.remove(`${WAL}/${name}`);
  await assert.rejects(open(none), hasCode('ERR_CORRUPT', 'the log was lost'));
});

test('a commit index beyond the end of the log is refused', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, {
    hardState: { term: 1, vote: '', commit: 5 },
    entries: entries(1, 4, 1),
  });
  await storage.close();
  await assert.rejects(open(disk), hasCode('ERR_CORRUPT', 'up to 5 were committed'));
});

test('a snapshot for which there is no space is given up, and the one before stays', async () => {
  for (const refused of ['create', 'write', 'sync']) {
    const disk = new CrashDisk();
    const storage = await open(disk);
    await persist(storage, { entries: entries(1, 9, 1) });
    await snapshot(storage, 4, 1, ['old']);
    disk.refuse = (name, path) =>
      name === refused && path.endsWith('.state.tmp') ? 'ENOSPC' : undefined;
    await assert.rejects(snapshot(storage, 8, 1, ['new']), hasCode('ERR_NO_SPACE', 'disk is full'));
    assert.deepEqual(await readAll(storage), ['old']);
    await persist(storage, { entries: [entry(10, 1)] });
    disk.refuse = undefined;
    await snapshot(storage, 9, 1, ['new']);
    assert.deepEqual(await readAll(storage), ['new']);
    await storage.close();
    assert.deepEqual(
      (await disk.list(SNAP)).filter((name) => name.endsWith('.tmp')),
      [],
    );
  }
});

/** A log of 40 entries in several segments and two snapshots, closed. */
async function longLog(): Promise<CrashDisk> {
  const disk = new CrashDisk();
  const storage = await open(disk);
  const hardState = { term: 1, vote: NODE, commit: 0 };
  for (let i = 1; i <= 40; i++) await persist(storage, { hardState, entries: [entry(i, 1, 300)] });
  await snapshot(storage, 10, 1);
  await snapshot(storage, 20, 1);
  await storage.close();
  return disk;
}

test('the sound part of a damaged log is kept, noted to be on probation, however often it is interrupted', async () => {
  const disk = await longLog();
  const names = await segmentNames(disk);
  disk.bytes(`${WAL}/${names[2]}`)[700]! ^= 1;
  const salvage = (from: CrashDisk, onWarning?: (text: string) => void): Promise<Storage> =>
    open(from, { onDamage: 'keep-sound-part', ...(onWarning === undefined ? {} : { onWarning }) });
  for (let limit = 0; ; limit++) {
    const interrupted = disk.afterKill();
    interrupted.operationLimit = limit;
    const isWhole = await salvage(interrupted).then(
      (storage) => storage.close().then(() => true),
      () => false,
    );
    const after =
      limit % 2 === 0 ? interrupted.afterKill() : interrupted.afterCrash(seededRandom(limit));
    const before = await after.exists('/data/member/joining');
    const storage = await salvage(after);
    assert.ok(before || (await after.exists('/data/member/joining')), `after ${limit} operations`);
    assert.equal(storage.recovered.snapshot?.index, 20);
    assert.ok((storage.recovered.entries.at(-1)?.index ?? 20) < 40);
    assert.deepEqual(await readAll(storage), ['s']);
    await persist(storage, { entries: [entry(21, 2)] });
    await storage.close();
    const again = await open(after);
    assert.deepEqual(again.recovered.entries.at(-1), entry(21, 2));
    await again.close();
    if (isWhole) break;
  }
  const warnings: string[] = [];
  const storage = await salvage(disk, (text) => warnings.push(text));
  assert.deepEqual(storage.recovered.hardState.vote, NODE);
  assert.deepEqual(indexes(storage)[0], 21);
  assert.match(warnings.join(), /corrupt at byte.*gets|Kept what is whole.*from its peers/);
  const setAside = (await disk.list(WAL)).filter((name) => name.endsWith('.damaged'));
  assert.equal(setAside.length, 2, 'not for ever');
  assert.ok(storage.diskBytes() > 8192, 'what is set aside takes its space');
  await storage.close();
});

test('with everything damaged a node starts with nothing, on probation', async () => {
  const disk = await longLog();
  for (const name of await segmentNames(disk)) disk.bytes(`${WAL}/${name}`).fill(0);
  for (const name of await disk.list(SNAP)) disk.bytes(`${SNAP}/${name}`).fill(0);
  const bootstrap = { hardState: { term: 1, vote: '', commit: 1 }, entries: [entry(1, 1)] };
  const storage = await open(disk, { onDamage: 'keep-sound-part', bootstrap });
  assert.deepEqual(storage.recovered.entries, [entry(1, 1)]);
  assert.equal(storage.recovered.snapshot, undefined);
  assert.ok(disk.bytes('/data/member/joining').length > 0);
  await storage.close();
});
