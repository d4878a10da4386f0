/**
 * The power fails after every single operation of a node's life, with any unsynced sectors and names
 * lost: what was acknowledged is there when it starts again, and nothing that was never written.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../../core/random.ts';
import { CrashDisk } from '../../testing/crash-disk.ts';
import type { Storage } from '../storage.ts';
import type { Entry, HardState, Persist, SnapshotMetadata } from '../types.ts';
import { openDiskStorage } from './storage.ts';

const NODE = '8e9e05c52164694d';
const identity = { clusterId: 'cdf818194e3a8c32', nodeId: NODE };
const configuration = { voters: [NODE], learners: [] };

function open(disk: CrashDisk): Promise<Storage> {
  const bootstrap = {
    hardState: { term: 1, vote: '', commit: 1 },
    entries: [{ type: 1, term: 1, index: 1, data: Buffer.from('bootstrap') } as const],
  };
  const settings = { segmentBytes: 4096 };
  return openDiskStorage({ disk, folder: '/data', identity, settings, bootstrap });
}

/** What a reopened storage must show: the newest state, where the log starts, its terms and data. */
interface Picture {
  readonly hardState: HardState;
  readonly snapshot: number;
  readonly entries: readonly Entry[];
}

const NEW: Picture = { hardState: { term: 0, vote: '', commit: 0 }, snapshot: 0, entries: [] };

function withEntry(picture: Picture, entry: Entry): Picture {
  const kept = picture.entries.filter(({ index }) => index < entry.index);
  return { ...picture, entries: [...kept, entry] };
}

function withState(picture: Picture, state: HardState): Picture {
  const commit = Math.max(state.commit, picture.hardState.commit);
  return { ...picture, hardState: { ...state, commit } };
}

function withSnapshot(picture: Picture, { index, term }: SnapshotMetadata): Picture {
  const agrees = picture.entries.some((entry) => entry.index === index && entry.term === term);
  const entries = agrees ? picture.entries.filter((entry) => entry.index > index) : [];
  return { ...picture, snapshot: index, entries };
}

/** Everything that was handed to storage, record by record, and up to where it must be durable. */
class History {
  readonly pictures: Picture[] = [NEW];
  acknowledged = 0;

  get latest(): Picture {
    return this.pictures.at(-1)!;
  }

  add(write: Persist): void {
    const { hardState: before } = this.latest;
    const state = write.hardState ?? before;
    // The term shows before the entries, the commit index that came with them only after them.
    if (state.term !== before.term) {
      this.push(withState(this.latest, { ...state, commit: before.commit }));
    }
    for (const entry of write.entries) this.push(withEntry(this.latest, entry));
    this.push(withState(this.latest, state));
  }

  push(picture: Picture): void {
    this.pictures.push(picture);
  }

  addSnapshot(metadata: SnapshotMetadata): void {
    const noted = withSnapshot(this.latest, metadata);
    this.push(noted);
    this.push(withState(noted, { ...noted.hardState, commit: metadata.index }));
  }

  check(storage: Storage): void {
    const { hardState, snapshot, entries } = storage.recovered;
    const found = { hardState, snapshot: snapshot?.index ?? 0, entries };
    const text = describe(found);
    const allowed = this.pictures.slice(this.acknowledged).map(describe);
    assert.ok(allowed.includes(text), `found ${text}, allowed\n${allowed.join('\n')}`);
  }
}

function describe({ hardState, snapshot, entries }: Picture): string {
  const log = entries.map(({ index, term, data }) => `${index}:${term}:${data.length}:${data[0]}`);
  return `${hardState.term}/${hardState.vote}/${hardState.commit} @${snapshot} ${log.join(' ')}`;
}

/** A write, acknowledged once it is durable. */
function persist(storage: Storage, history: History, write: Persist): Promise<void> {
  history.add(write);
  const position = history.pictures.length - 1;
  return new Promise((resolve, reject) => {
    storage.persist(write, (error) => {
      if (error) return reject(error);
      history.acknowledged = Math.max(history.acknowledged, position);
      resolve();
    });
  });
}

function entries(from: number, to: number, term: number, bytes: number): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    const index = from + i;
    return { type: 0, term, index, data: Buffer.alloc(bytes, index) };
  });
}

async function snapshot(
  storage: Storage,
  history: History,
  metadata: SnapshotMetadata,
): Promise<void> {
  const writer = await storage.createSnapshot(metadata);
  await writer.write(Buffer.alloc(700, metadata.index));
  await writer.write(Buffer.alloc(10, metadata.index));
  history.addSnapshot(metadata);
  await writer.commit();
  history.acknowledged = history.pictures.length - 1;
}

/** A node's life: elections, appends alone and many at once, a changed log, snapshots, release. */
async function live(disk: CrashDisk, history: History): Promise<void> {
  history.add({ hardState: { term: 1, vote: '', commit: 1 }, entries: [bootstrapEntry] });
  // The first segment appears as a whole.
  history.pictures.splice(1, history.pictures.length - 2);
  const storage = await open(disk);
  history.acknowledged = history.pictures.length - 1;
  const write = (hardState: HardState | undefined, appended: Entry[]) =>
    persist(storage, history, { hardState, entries: appended });
  await write({ term: 2, vote: NODE, commit: 1 }, []);
  await write(undefined, entries(2, 4, 2, 600));
  await persist(storage, history, { hardState: { term: 2, vote: NODE, commit: 3 }, entries: [] });
  const many = entries(5, 14, 2, 300).map((one) => write(undefined, [one]));
  await Promise.all(many);
  await persist(storage, history, { hardState: { term: 2, vote: NODE, commit: 6 }, entries: [] });
  await write({ term: 3, vote: '', commit: 9 }, entries(12, 16, 3, 100));
  await snapshot(storage, history, { index: 9, term: 2, configuration });
  storage.release(9);
  await Promise.all(entries(17, 24, 3, 900).map((one) => write(undefined, [one])));
  await snapshot(storage, history, { index: 20, term: 3, configuration });
  await snapshot(storage, history, { index: 40, term: 4, configuration });
  storage.release(40);
  await write({ term: 4, vote: '', commit: 40 }, entries(41, 44, 4, 1200));
  await storage.close();
}

const bootstrapEntry: Entry = { type: 1, term: 1, index: 1, data: Buffer.from('bootstrap') };

/** Opens what the crash left, crashing again on the way, and appends to it. */
async function restart(disk: CrashDisk, history: History, random: Random): Promise<void> {
  const again = disk.afterCrash(random);
  again.operationLimit = random.below(12);
  await open(again).catch(() => undefined);
  const after = again.afterCrash(random);
  const storage = await open(after);
  history.check(storage);
  for (const folder of ['/data/member/wal', '/data/member/snap']) {
    assert.deepEqual(
      (await after.list(folder)).filter((name) => name.endsWith('.tmp')),
      [],
    );
  }
  if (storage.recovered.snapshot !== undefined) {
    for await (const chunk of storage.readSnapshot()!.chunks) {
      assert.equal(chunk[0], storage.recovered.snapshot.index);
    }
  }
  const { hardState, snapshot: start, entries: log } = storage.recovered;
  const last = log.at(-1)?.index ?? start?.index ?? 0;
  const next = entries(last + 1, last + 1, hardState.term + 1, 50);
  const later = new History();
  await persist(storage, later, {
    hardState: { ...hardState, term: hardState.term + 1 },
    entries: next,
  });
  const reopened = await open(after.afterCrash(random));
  assert.equal(reopened.recovered.entries.at(-1)?.index, last + 1);
  assert.equal(reopened.recovered.hardState.term, hardState.term + 1);
}

test('after a crash at any point, everything acknowledged is there and nothing else', async () => {
  const whole = new CrashDisk();
  await live(whole, new History());
  assert.ok(whole.operations > 80, String(whole.operations));
  for (let limit = 0; limit <= whole.operations; limit++) {
    for (let seed = 0; seed < 4; seed++) {
      const disk = new CrashDisk();
      disk.operationLimit = limit;
      const history = new History();
      await live(disk, history).catch(() => undefined);
      try {
        await restart(disk, history, seededRandom(limit * 97 + seed));
      } catch (error) {
        const last = disk.journal.slice(-4).join(', ');
        throw new Error(`after operation ${limit} (${last}), seed ${seed}: ${error}`, {
          cause: error,
        });
      }
    }
  }
});
