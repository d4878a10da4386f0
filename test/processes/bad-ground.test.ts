/**
 * What a node stands on gives way: folders of others, ports that are taken, damaged files, a full
 * disk. The node says which file or address and ends with an error; the other two serve on, and
 * nothing acknowledged is lost.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { Cli, type Ended } from '../support/cli.ts';
import { type Cluster, type Member, startCluster, until } from '../support/cluster.ts';

const timeout = 60_000;

interface LastWords {
  readonly code: string;
  readonly msg: string;
}

/** Starts a node that must refuse; returns the error it ends with. */
async function refusal(flags: readonly string[], ...more: readonly string[]): Promise<LastWords> {
  await using node = new Cli(['serve', ...flags, ...more]);
  // One that starts after all is ended, and the test fails on what it said.
  const wait = setTimeout(() => node.kill('SIGTERM'), 10_000);
  const ended = await node.ended;
  clearTimeout(wait);
  return lastWords(ended);
}

function lastWords({ code, err }: Ended): LastWords {
  assert.equal(code, 1, err);
  const lines = err.trim().split('\n');
  const last = lines.map((line) => JSON.parse(line) as LastWords & { level: string });
  const error = last.findLast(({ level }) => level === 'error');
  assert.ok(error !== undefined, err);
  return error;
}

const folderOf = (cluster: Cluster, member: Member): string => join(cluster.folder, member.name);

describe('a node', () => {
  let cluster: Cluster;
  let kv: Kv;
  before(async () => {
    cluster = await startCluster({
      flags: ['--snapshot-count=50', '--snapshot-catchup-entries=20'],
    });
    kv = etcdKv({ endpoints: cluster.endpoints });
    // More than a log segment, so that the log alone no longer tells everything.
    for (let i = 1; i <= 400; i++) {
      const { revision } = await kv.put(`k/${i % 20}`, 'v'.repeat(40_000));
      if (i % 50 === 0) await kv.compact(revision);
    }
  });
  after(async () => {
    await kv.close();
    await cluster.close();
  });

  /** The others serve while one is down; it comes back with everything. */
  async function assertComesBack(member: Member): Promise<void> {
    const { revision } = await kv.put('k/0', 'while it was away');
    member.start();
    const own = etcdKv({ endpoints: [member.endpoint] });
    try {
      await until(`${member.name} has caught up`, async () => {
        const got = await own.range({ prefix: 'k/' }, { serializable: true });
        return got.revision >= revision && got.count === 20;
      });
    } finally {
      await own.close();
    }
  }

  test('refuses a folder that a running node holds, also a stopped one', { timeout }, async () => {
    const [holder] = cluster.members as [Member];
    const folder = folderOf(cluster, holder);
    for (const signal of ['SIGCONT', 'SIGSTOP'] as const) {
      await holder.kill(signal);
      const { code, msg } = await refusal(holder.flags);
      await holder.kill('SIGCONT');
      assert.equal(code, 'ERR_DATA_DIR_LOCKED', msg);
      assert.ok(msg.includes(folder) && msg.includes(String(holder.pid)), msg);
    }
    await kv.put('k/1', 'still serving');
  });

  test('refuses the folder of another node, and that of another cluster', { timeout }, async () => {
    const [first, second] = cluster.members as [Member, Member];
    await second.kill('SIGKILL');
    const foreign = await refusal(first.flags, `--data-dir=${folderOf(cluster, second)}`);
    assert.equal(foreign.code, 'ERR_DATA_DIR_MISMATCH', foreign.msg);
    assert.ok(foreign.msg.includes(folderOf(cluster, second)), foreign.msg);
    const other = await refusal(second.flags, '--initial-cluster-token=another');
    assert.equal(other.code, 'ERR_DATA_DIR_MISMATCH', other.msg);
    assert.ok(other.msg.includes(folderOf(cluster, second)), other.msg);
    await assertComesBack(second);
  });

  test('refuses a client or peer port that is taken, and leaves the folder free', {
    timeout,
  }, async () => {
    const [, , third] = cluster.members as [Member, Member, Member];
    await third.kill('SIGKILL');
    const squatter = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => squatter.once('listening', resolve));
    const { port } = squatter.address() as { port: number };
    try {
      for (const flag of ['listen-client-urls', 'listen-peer-urls']) {
        const { code, msg } = await refusal(third.flags, `--${flag}=http://127.0.0.1:${port}`);
        assert.equal(code, 'ERR_ADDRESS_IN_USE', msg);
        assert.match(msg, new RegExp(`http://127\\.0\\.0\\.1:${port}\\b`));
      }
    } finally {
      squatter.close();
    }
    await assertComesBack(third);
  });

  test('refuses a folder that is a file', { timeout }, async () => {
    const [first] = cluster.members as [Member];
    const file = join(cluster.folder, 'a-file');
    await writeFile(file, 'no folder');
    const { msg } = await refusal(first.flags, `--data-dir=${file}`);
    assert.ok(msg.includes(file), msg);
  });

  test('with a wrong byte in its log it names file and offset, keeps what is whole, and gets the rest', {
    timeout,
  }, async () => {
    const [first] = cluster.members as [Member];
    await first.kill('SIGKILL');
    const wal = join(folderOf(cluster, first), 'member', 'wal');
    const file = newest(wal, '.wal');
    const at = middleRecord(file);
    flip(file, at);
    first.output = '';
    await assertComesBack(first);
    const found = /(\/\S+\.wal) is corrupt at byte (\d+)/.exec(first.output);
    assert.equal(found?.[1], file, first.output);
    assert.ok(Math.abs(Number(found?.[2]) - at) < 1000, `byte ${at}: ${first.output}`);
    await until('it votes again', () => /votes from now on/.test(first.output));
    assert.ok(existsSync(`${file}.damaged`), readdirSync(wal).join());
  });

  test('starts from the snapshot before a damaged one and says so; with none left it gets another', {
    timeout,
  }, async () => {
    const [, second] = cluster.members as [Member, Member];
    await second.kill('SIGKILL');
    const folder = join(folderOf(cluster, second), 'member', 'snap');
    const damaged = /(\/\S+\.state)\b.*\b(?:offset|byte) \d+/;
    const file = newest(folder, '.state');
    flip(file, statSync(file).size >> 1);
    second.output = '';
    await assertComesBack(second);
    assert.equal(damaged.exec(second.output)?.[1], file, second.output);
    assert.doesNotMatch(second.output, /delete its data|votes from now on/, 'nothing was lost');

    await second.kill('SIGKILL');
    const files = readdirSync(folder).filter((name) => name.endsWith('.state'));
    for (const one of files) flip(join(folder, one), statSync(join(folder, one)).size >> 1);
    second.output = '';
    await assertComesBack(second);
    await until('it votes again', () => /votes from now on/.test(second.output));
  });

  test('whose data are removed under it stops, and catches up when it starts with nothing', {
    timeout,
  }, async () => {
    const leader = await cluster.awaitLeader();
    const victim = cluster.members.find((member) => member !== leader)!;
    await rm(join(folderOf(cluster, victim), 'member'), { recursive: true });
    await until('it has stopped', async () => {
      // By way of the others: what the dying node was asked for could be unknown.
      await kv.put('k/2', 'v'.repeat(40_000)).catch(() => undefined);
      return !victim.running;
    });
    assert.equal(victim.exitCode, 1);
    assert.match(victim.output, /the node stops: \w+ \/\S+ failed \(ENOENT\)/);
    await assertComesBack(victim);
    await until('it votes again', () => /votes from now on/.test(victim.output));
  });
});

function newest(folder: string, ending: string): string {
  const name = readdirSync(folder)
    .filter((file) => file.endsWith(ending))
    .sort()
    .at(-1);
  assert.ok(name !== undefined, `${folder}: ${readdirSync(folder).join()}`);
  return join(folder, name);
}

/** The offset of a byte within the record that lies in the middle of what is written. */
function middleRecord(file: string): number {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(statSync(file).size, 4 * 1024 * 1024));
    readSync(fd, bytes, 0, bytes.length, 0);
    const offsets: number[] = [];
    for (let at = 0; at + 8 <= bytes.length; ) {
      const length = bytes.readUInt32LE(at);
      if (length === 0) break;
      offsets.push(at);
      at += 8 + length + (-length & 7);
    }
    assert.ok(offsets.length > 10, `${offsets.length} records in ${file}`);
    return offsets[offsets.length >> 1]! + 12;
  } finally {
    closeSync(fd);
  }
}

function flip(file: string, at: number): void {
  const fd = openSync(file, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, at);
    byte[0]! ^= 0x10;
    writeSync(fd, byte, 0, 1, at);
  } finally {
    closeSync(fd);
  }
}

/** Why no small file system can be mounted here; `false` where it can. */
function noMount(folder: string): string | false {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'quorate-test', folder], {
      stdio: 'pipe',
    });
    return false;
  } catch (error) {
    return `a small file system cannot be mounted: ${(error as Error).message}`;
  }
}

describe('a full disk', () => {
  test('makes the leader hand over; nothing acknowledged is lost, the others serve, and it catches up when there is space', {
    timeout,
  }, async (t) => {
    const cluster = await startCluster({ flags: ['--snapshot-count=500'] });
    const kv = etcdKv({ endpoints: cluster.endpoints });
    const small = join(cluster.folder, 'small');
    await mkdir(small);
    const skip = noMount(small);
    try {
      if (skip !== false) return t.skip(skip);
      const victim = await cluster.awaitLeader();
      await victim.kill('SIGKILL');
      await cluster.awaitLeader(cluster.members.filter((member) => member.running));
      execFileSync('cp', ['-a', '--sparse=never', folderOf(cluster, victim), join(small, 'd')]);
      execFileSync('rm', ['-rf', folderOf(cluster, victim)]);
      execFileSync('ln', ['-s', join(small, 'd'), folderOf(cluster, victim)]);
      victim.start();
      await cluster.awaitAnswer(victim);
      const service = etcdService({ endpoints: cluster.endpoints });
      try {
        const { header } = await service.status(victim.endpoint);
        await until('it leads', async () => {
          await service.moveLeader(header!.memberId);
          return (await cluster.leader()) === victim;
        });
      } finally {
        await service.close();
      }
      await until('it takes writes', () => kv.put('f/first', 'x'));
      const ballast = join(small, 'ballast');
      try {
        execFileSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=1M'], { stdio: 'pipe' });
      } catch {
        // No space left: that is the purpose.
      }
      // A node that cannot take an entry cannot answer for it either.
      const without = cluster.members.filter((member) => member !== victim);
      await using others = etcdKv({ endpoints: without.map(({ endpoint }) => endpoint) });
      const acknowledged: number[] = [];
      let next = 0;
      const value = 'v'.repeat(100_000);
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (next < 400) {
            const i = next++;
            const put = await others.put(`f/${i}`, value).catch(() => undefined);
            if (put !== undefined) acknowledged.push(i);
          }
        }),
      );
      t.diagnostic(`${acknowledged.length} of ${next} acknowledged`);
      assert.ok(victim.running, victim.output);
      assert.match(victim.output, /the disk of \/\S+ is full/);
      await until('another one leads', async () => {
        const leader = await cluster.leader();
        return leader !== undefined && leader !== victim;
      });
      await others.put('f/without it', 'x');
      await rm(ballast);
      const own = etcdKv({ endpoints: [victim.endpoint] });
      const { revision } = await others.range('f/first');
      try {
        const { kvs } = await until('it has caught up', async () => {
          const got = await own.range({ prefix: 'f/' }, { serializable: true, keysOnly: true });
          return got.revision >= revision && got;
        });
        const found = new Map(kvs.map((entry) => [entry.key.toString(), entry.version]));
        for (const i of acknowledged) assert.equal(found.get(`f/${i}`), 1, `write ${i}`);
      } finally {
        await own.close();
      }
    } finally {
      await kv.close();
      await Promise.all(cluster.members.map((member) => member.kill('SIGKILL')));
      if (skip === false) execFileSync('umount', [small]);
      await cluster.close();
    }
  });
});
