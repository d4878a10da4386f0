/**
 * Every sector of one node's log and snapshots, damaged in every way, on one node of three: it never serves
 * or votes with a hole, gets the rest from its peers, and nothing acknowledged is lost.
 *
 * The damaged node, c, had acknowledged what b never saw; a, which has it all, is down at first. So if c
 * took part as if nothing had happened, b and c would be a quorum that has forgotten.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskFile } from '../core/disk.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import { ELECTION_MS, idOf, type Name, VirtualCluster } from './test-cluster.ts';

const SECTOR = 512;

/** Remembers what each sector held before it was last written. */
class RememberingDisk extends CrashDisk {
  readonly #before = new Map<string, Map<number, Buffer>>();

  /** By path and sector, as of now. */
  before(): Map<string, Map<number, Buffer>> {
    return new Map([...this.#before].map(([path, sectors]) => [path, new Map(sectors)]));
  }

  override async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    const file = await super.open(path, mode);
    const sectors = this.#before.get(path) ?? new Map<number, Buffer>();
    this.#before.set(path, sectors);
    return {
      ...file,
      write: async (data, offset) => {
        const held = await file.read(0, await file.size());
        for (let at = offset - (offset % SECTOR); at < offset + data.length; at += SECTOR) {
          const sector = Buffer.alloc(SECTOR);
          sector.set(held.subarray(at, at + SECTOR));
          sectors.set(at / SECTOR, sector);
        }
        await file.write(data, offset);
      },
    };
  }

  override async rename(from: string, to: string): Promise<void> {
    await super.rename(from, to);
    const sectors = this.#before.get(from);
    this.#before.delete(from);
    if (sectors !== undefined) this.#before.set(to, sectors);
  }
}

/** What the three disks hold after b missed the last writes and all processes were killed. */
async function history(): Promise<{
  readonly disks: Record<Name, CrashDisk>;
  /** What the sectors of c held before they were last written. */
  readonly before: Map<string, Map<number, Buffer>>;
  readonly commands: readonly string[];
}> {
  const disks = {
    a: new RememberingDisk(),
    b: new RememberingDisk(),
    c: new RememberingDisk(),
  };
  const cluster = new VirtualCluster(disks);
  await cluster.open('a', 'b', 'c');
  const commands: string[] = [];
  const write = async (bytes: number): Promise<void> => {
    const command = `${commands.length}`.padEnd(bytes, '.');
    await cluster.propose(command);
    commands.push(command);
  };
  for (let i = 0; i < 12; i++) await write(150);
  const isThere = (): boolean =>
    cluster.journals().every(({ length }) => length === commands.length);
  assert.ok(await cluster.until(isThere));
  await cluster.clock.advance(5 * ELECTION_MS);
  if (cluster.leader === cluster.nodes.get('b')) {
    void cluster.leader?.replica.transferLeadership(idOf('a')).catch(() => undefined);
    assert.ok(await cluster.until(() => cluster.nodes.get('a')!.replica.leading));
  }
  cluster.network.isolate(idOf('b'));
  for (let i = 0; i < 9; i++) await write(i === 6 ? 1400 : 90);
  assert.equal(cluster.nodes.get('c')!.journal.commands.length >= commands.length - 1, true);
  const killed = { a: disks.a.afterKill(), b: disks.b.afterKill(), c: disks.c.afterKill() };
  const before = disks.c.before();
  cluster.network.rejoin(idOf('b'));
  await cluster.close();
  return { disks: killed, before, commands };
}

/** The files of a node. */
async function pathsOf(disk: CrashDisk): Promise<string[]> {
  const paths: string[] = [];
  for (const folder of ['/data/member', '/data/member/wal', '/data/member/snap']) {
    for (const name of (await disk.list(folder)).sort()) {
      const path = `${folder}/${name}`;
      if (!['wal', 'snap'].includes(name) && !name.endsWith('.tmp')) paths.push(path);
    }
  }
  return paths;
}

interface Case {
  readonly name: string;
  readonly damage: (disk: CrashDisk) => Promise<void> | void;
}

/** A file's new contents, where they differ. */
function replaced(name: string, path: string, before: Buffer, after: Buffer): Case[] {
  if (after.equals(before)) return [];
  return [{ name, damage: (disk) => disk.setBytes(path, after) }];
}

async function cases(disk: CrashDisk, before: Map<string, Map<number, Buffer>>): Promise<Case[]> {
  const all: Case[] = [];
  for (const path of await pathsOf(disk)) {
    const whole = disk.bytes(path);
    all.push({ name: `${path} missing`, damage: (damaged) => damaged.remove(path) });
    const used = Math.max(
      ...[...whole.entries()].filter(([, byte]) => byte !== 0).map(([at]) => at),
    );
    for (let at = 0; at < whole.length && at <= used + SECTOR; at += SECTOR) {
      const changed = (change: (sector: Buffer) => void): Buffer => {
        const copy = Buffer.from(whole);
        change(copy.subarray(at, at + SECTOR));
        return copy;
      };
      const name = `${path} sector ${at / SECTOR}`;
      const middle = Math.min(at + 77, Math.max(at, Math.min(used, whole.length - 1))) - at;
      all.push(
        ...replaced(
          `${name} zeroed`,
          path,
          whole,
          changed((sector) => sector.fill(0)),
        ),
        ...replaced(
          `${name} flipped`,
          path,
          whole,
          changed((sector) => void (sector[middle]! ^= 4)),
        ),
        ...replaced(`${name} truncated`, path, whole, whole.subarray(0, at)),
      );
      const stale = before.get(path)?.get(at / SECTOR);
      if (stale === undefined) continue;
      all.push(
        ...replaced(
          `${name} stale`,
          path,
          whole,
          changed((sector) => void stale.copy(sector)),
        ),
      );
    }
  }
  return all;
}

/** Whether `journal` holds the first commands and no others. */
function isPrefix(journal: readonly string[], commands: readonly string[]): boolean {
  return journal.every((command, i) => command === commands[i]);
}

async function survive(
  disks: Record<Name, CrashDisk>,
  commands: readonly string[],
  { name, damage }: Case,
): Promise<boolean> {
  const cluster = new VirtualCluster({
    a: disks.a.afterKill(),
    b: disks.b.afterKill(),
    c: disks.c.afterKill(),
  });
  await damage(cluster.disks.c);
  await cluster.open('b', 'c');
  const where = (): string => `${name}\n${cluster.warnings.join('\n')}`;
  // Time in which an election would be won, if one could be.
  for (let i = 0; i < 5; i++) {
    await cluster.clock.advance(ELECTION_MS);
    const { leader } = cluster;
    if (leader === undefined) continue;
    assert.deepEqual(leader.journal.commands, commands, `led without all: ${where()}`);
  }
  for (const journal of cluster.journals()) assert.ok(isPrefix(journal, commands), where());
  await cluster.open('a');
  await cluster.propose('more');
  const expected = [...commands, 'more'];
  const isDone = (): boolean =>
    cluster.journals().every(({ length }) => length === expected.length);
  assert.ok(await cluster.until(isDone), `not all caught up: ${where()}`);
  for (const journal of cluster.journals()) assert.deepEqual(journal, expected, where());
  const isFull = async (): Promise<boolean> =>
    !(await cluster.disks.c.exists('/data/member/joining'));
  for (let i = 0; i < 50 && !(await isFull()); i++) await cluster.clock.advance(10);
  assert.ok(await isFull(), `c stays on probation: ${where()}`);
  await cluster.close();
  return cluster.warnings.some((text) => text.startsWith('c: ') && /peers/.test(text));
}

test('whatever one sector or file of one node of three turns into, nothing acknowledged is lost', async () => {
  const { disks, before, commands } = await history();
  const all = await cases(disks.c, before);
  let repaired = 0;
  for (const each of all) {
    if (await survive(disks, commands, each)) repaired += 1;
  }
  const sectors = all.filter(({ name }) => name.endsWith('flipped')).length;
  assert.ok(sectors >= 20, `${sectors} sectors are in use`);
  assert.ok(repaired > all.length / 2, `${repaired} of ${all.length} needed the peers`);
});

test('a snapshot that turns bad while its node runs is replaced before it is sent', async () => {
  const cluster = new VirtualCluster();
  await cluster.open('a', 'b', 'c');
  const command = (i: number): string => `${i}`.padEnd(500, '.');
  await cluster.propose(command(0));
  await cluster.clock.advance(5 * ELECTION_MS);
  await cluster.close('c');
  let last = 0;
  // Until the newest snapshot reaches to where the log in memory begins.
  const isFresh = (): boolean => {
    const { snapshotIndex, firstIndex } = cluster.leader!.replica.status();
    return last > 20 && snapshotIndex >= firstIndex;
  };
  while (!isFresh()) {
    last += 1;
    assert.ok(last < 100, 'a snapshot is taken');
    await cluster.propose(command(last));
    await cluster.clock.advance(20);
  }
  for (const name of ['a', 'b'] as const) {
    const disk = cluster.disks[name];
    const files = await disk.list('/data/member/snap');
    assert.ok(files.length > 0, name);
    for (const file of files) disk.bytes(`/data/member/snap/${file}`)[100]! ^= 1;
  }
  cluster.disks.c = new CrashDisk();
  await cluster.open('c');
  await cluster.propose(command(last + 1));
  const expected = Array.from({ length: last + 2 }, (_, i) => command(i)).join();
  const isThere = (): boolean => cluster.journals().every((journal) => journal.join() === expected);
  assert.ok(await cluster.until(isThere), JSON.stringify(cluster.journals()));
  await cluster.close();
});
