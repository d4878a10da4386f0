import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from './disk.ts';
import { SimulatedProcess } from './process.ts';
import { SimulatedWorld } from './world.ts';

interface Bench {
  readonly world: SimulatedWorld;
  readonly disk: SimulatedDisk;
  /** Runs `work` to its end in virtual time. */
  readonly run: <T>(work: Promise<T>) => Promise<T>;
}

function bench(): Bench {
  const world = new SimulatedWorld({ seed: 3 });
  const disk = new SimulatedDisk(world, 'a');
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let over = false;
    const end = (): void => {
      over = true;
    };
    work.then(end, end);
    await world.run(world.nowMs + 60_000, () => !over);
    assert.ok(over, 'it ended in time');
    return work;
  };
  return { world, disk, run };
}

const data = (text: string): Buffer => Buffer.from(text);

test('what one process wrote the next one reads, and every operation takes time', async () => {
  const { world, disk, run } = bench();
  const first = disk.mount(new SimulatedProcess(world));
  await run(first.makeFolder('/data/x'));
  const file = await run(first.open('/data/x/log', 'create'));
  await run(file.write(data('hello'), 0));
  const written = world.nowMs;
  await run(file.sync());
  assert.ok(world.nowMs - written >= disk.weather.syncMinMs);
  await run(file.writeDurably!(data('!'), 5));
  await run(first.rename('/data/x/log', '/data/x/wal'));
  await run(first.syncFolder('/data/x'));
  assert.equal(first.openFiles, 1);
  await run(file.close());
  assert.equal(first.openFiles, 0);
  const second = disk.mount(new SimulatedProcess(world));
  assert.deepEqual(await run(second.list('/data/x')), ['wal']);
  const read = await run(second.open('/data/x/wal', 'read'));
  assert.equal((await run(read.read(0, 100))).toString(), 'hello!');
  assert.equal(await run(read.size()), 6);
  assert.equal(await run(second.exists('/data/x/log')), false);
  await run(second.remove('/data/x/wal'));
  assert.equal(await run(second.exists('/data/x/wal')), false);
});

test('it fails as a file system does', async () => {
  const { world, disk, run } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  await assert.rejects(run(mounted.open('/none/x', 'create')), { code: 'ENOENT' });
  await assert.rejects(run(mounted.open('/x', 'write')), { code: 'ENOENT' });
  await run(mounted.open('/x', 'create'));
  await assert.rejects(run(mounted.open('/x', 'create')), { code: 'EEXIST' });
  await assert.rejects(run(mounted.list('/none')), { code: 'ENOENT' });
  await assert.rejects(run(mounted.remove('/none')), { code: 'ENOENT' });
});

test('names survive a loss of power for certain once their folder was synced', async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 64; seed++) {
    const world = new SimulatedWorld({ seed });
    const disk = new SimulatedDisk(world, 'a');
    disk.image.place('/kept', disk.image.create('/kept'));
    disk.image.rename('/kept', '/renamed');
    disk.image.makeFolder('/folder');
    disk.image.create('/folder/file');
    disk.image.create('/new');
    disk.powerCut();
    seen.add(disk.image.paths().join(' '));
    assert.equal(disk.image.exists('/kept') !== disk.image.exists('/renamed'), true);
  }
  assert.ok(seen.has('/kept') && seen.has('/folder/file /new /renamed'), [...seen].join('\n'));
  const { world, disk, run } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  await run(mounted.makeFolder('/folder'));
  await run(mounted.open('/folder/a', 'create'));
  await run(mounted.syncFolder('/'));
  await run(mounted.syncFolder('/folder'));
  await run(mounted.rename('/folder/a', '/folder/b'));
  await run(mounted.syncFolder('/folder'));
  assert.deepEqual(disk.worstCase().paths(), ['/folder/b']);
  disk.powerCut();
  assert.deepEqual(disk.image.paths(), ['/folder/b']);
});

test('a sync that a loss of power cut short has promised nothing, and never ends', async () => {
  const { world, disk } = bench();
  const process = new SimulatedProcess(world);
  disk.image.place('/x', disk.image.create('/x'));
  let ended = false;
  void (async () => {
    const file = await disk.mount(process).open('/x', 'write');
    await file.writeDurably!(data('promised?'), 0);
    ended = true;
  })();
  disk.weather.syncMinMs = 100;
  await world.run(50);
  assert.equal(disk.underWay, 1);
  assert.equal(disk.worstCase().file('/x').size, 0);
  process.die();
  disk.processDied();
  disk.powerCut();
  await world.run(1000);
  assert.equal(ended, false);
  assert.equal(disk.underWay, 0);
});

test('a stalled disk ends nothing until it goes on', async () => {
  const { world, disk, run } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  disk.stall();
  let ended = 0;
  const end = (): void => void ended++;
  mounted.exists('/x').then(end);
  mounted.exists('/y').then(end);
  await world.run(10_000);
  assert.equal(ended, 0);
  assert.equal(disk.underWay, 2);
  disk.unstall();
  await run(mounted.exists('/z'));
  assert.equal(ended, 2);
});

test('a slow disk adds its delay to every operation', async () => {
  const { world, disk, run } = bench();
  disk.weather.slowMs = 500;
  await run(disk.mount(new SimulatedProcess(world)).exists('/x'));
  assert.ok(world.nowMs >= 500);
});

test('a full disk refuses what would grow, and takes it when there is room again', async () => {
  const { world, disk, run } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  const file = await run(mounted.open('/x', 'create'));
  await run(file.write(Buffer.alloc(1000), 0));
  disk.weather.capacityBytes = 1024;
  await assert.rejects(run(file.write(Buffer.alloc(100), 1000)), { code: 'ENOSPC' });
  await run(file.write(Buffer.alloc(100), 900));
  disk.weather.capacityBytes = 999;
  await assert.rejects(run(mounted.open('/y', 'create')), { code: 'ENOSPC' });
  disk.calm();
  await run(file.write(Buffer.alloc(100), 1000));
  assert.equal(world.faults['disk-full'], 2);
});

test('reads, writes and syncs fail as often as the weather says, and a failed sync makes nothing durable', async () => {
  const { world, disk, run } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  const file = await run(mounted.open('/x', 'create'));
  await run(mounted.syncFolder('/'));
  disk.weather.syncErrorRate = 1;
  await run(file.write(data('abcd'), 0));
  await assert.rejects(run(file.sync()), { code: 'EIO' });
  await assert.rejects(run(mounted.syncFolder('/')), { code: 'EIO' });
  assert.equal(disk.worstCase().file('/x').size, 0);
  disk.weather.writeErrorRate = 1;
  await assert.rejects(run(file.write(data('EFGH'), 0)), { code: 'EIO' });
  assert.equal(disk.image.file('/x').view().toString(), 'abcd');
  await assert.rejects(run(file.write(Buffer.alloc(2048, 'x'), 0)), { code: 'EIO' });
  assert.equal(disk.image.file('/x').size, 1024, 'a part of it may be there');
  disk.weather.readErrorRate = 0.5;
  let failed = 0;
  for (let i = 0; i < 100; i++) await run(file.read(0, 4)).catch(() => failed++);
  assert.ok(failed > 30 && failed < 70, `${failed} of 100`);
});

test('bits flip and sectors turn into zeros where a file is told to', async () => {
  const { disk } = bench();
  const file = disk.image.create('/x');
  file.write(Buffer.alloc(1024, 0xff), 0);
  disk.flipBit('/x');
  const flipped = [...file.view()].filter((byte) => byte !== 0xff);
  assert.equal(flipped.length, 1);
  assert.equal([1, 2, 4, 8, 16, 32, 64, 128].includes(flipped[0]! ^ 0xff), true);
  disk.zeroSector('/x');
  assert.ok(file.view().filter((byte) => byte === 0).length >= 511);
});

test('a sector is written where another one belongs', () => {
  const { disk } = bench();
  const file = disk.image.create('/x');
  for (let i = 0; i < 4; i++) file.write(Buffer.alloc(512, `${i}`), i * 512);
  disk.misdirectSector('/x');
  const found = [0, 1, 2, 3].map((i) => file.read(i * 512, 1).toString());
  assert.equal(new Set(found).size, 3);
  assert.equal(found.filter((letter, i) => letter !== `${i}`).length, 1);
});

test('a file is not closed while it is in use, nor used after it was closed', async () => {
  const { world, disk, run } = bench();
  const file = await run(disk.mount(new SimulatedProcess(world)).open('/x', 'create'));
  const writing = file.write(data('x'), 0);
  await assert.rejects(file.close(), /closed while it is being used/);
  await run(writing);
  await file.close();
  await assert.rejects(file.read(0, 1), { code: 'EBADF' });
});

test('a folder is locked against the same process; a lock ends with its process', async () => {
  const { world, disk } = bench();
  const mounted = disk.mount(new SimulatedProcess(world));
  const unlock = await mounted.lock('/data');
  await assert.rejects(mounted.lock('/data'), { code: 'ERR_DATA_DIR_LOCKED' });
  await unlock();
  await mounted.lock('/data');
  await disk.mount(new SimulatedProcess(world)).lock('/data');
});
