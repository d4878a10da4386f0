/**
 * The log on this machine's disk: durable writes a second at depth 1 and 64, and recovery. TMPDIR
 * decides which disk is measured.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Storage } from '../src/consensus/storage.ts';
import type { Entry } from '../src/consensus/types.ts';
import { openDiskStorage } from '../src/consensus/wal/storage.ts';
import { systemClock } from '../src/core/clock.ts';
import { nodeDisk } from '../src/core/node-disk.ts';
import type { Report } from './report.ts';

const identity = { clusterId: 'cdf818194e3a8c32', nodeId: '8e9e05c52164694d' };
const VALUE = Buffer.alloc(256, 'v');
const RECOVERY_VALUE = Buffer.alloc(300, 'v');
const SECONDS = 2;

function open(folder: string): Promise<Storage> {
  return openDiskStorage({ disk: nodeDisk, folder, identity });
}

function entry(index: number, data: Buffer): Entry {
  return { type: 0, term: 1, index, data };
}

interface Depth {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Keeps `depth` writes under way for a while. */
async function atDepth(root: string, depth: number): Promise<Depth> {
  const storage = await open(join(root, `depth-${depth}`));
  const latencies: number[] = [];
  const start = systemClock.now();
  const end = start + SECONDS * 1000;
  let index = 0;
  await new Promise<void>((resolve, reject) => {
    let open = 0;
    const next = (): void => {
      const began = systemClock.now();
      if (began >= end) {
        if (open === 0) resolve();
        return;
      }
      open++;
      storage.persist({ hardState: undefined, entries: [entry(++index, VALUE)] }, (error) => {
        if (error) return reject(error);
        open--;
        latencies.push(systemClock.now() - began);
        next();
      });
    };
    for (let i = 0; i < depth; i++) next();
  });
  const elapsedMs = systemClock.now() - start;
  await storage.close();
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { perSecond: (latencies.length / elapsedMs) * 1000, p50Ms: at(0.5), p99Ms: at(0.99) };
}

interface Recovery {
  readonly writeMbs: number;
  readonly readMbs: number;
}

async function recovery(root: string, count: number): Promise<Recovery> {
  const folder = join(root, 'recovery');
  const storage = await open(folder);
  const batch = 1000;
  const began = systemClock.now();
  for (let first = 1; first <= count; first += batch) {
    const entries = Array.from({ length: batch }, (_, i) => entry(first + i, RECOVERY_VALUE));
    await new Promise<void>((resolve, reject) => {
      storage.persist({ hardState: undefined, entries }, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  }
  const megabytes = (count * 336) / 1e6;
  const writeMbs = megabytes / ((systemClock.now() - began) / 1000);
  await storage.close();
  const start = systemClock.now();
  const reopened = await open(folder);
  const seconds = (systemClock.now() - start) / 1000;
  if (reopened.recovered.entries.length !== count) throw new Error('entries are missing');
  await reopened.close();
  return { writeMbs, readMbs: megabytes / seconds };
}

export async function benchWal(report: Report, quick: boolean): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'quorate-bench-'));
  try {
    for (const depth of [1, 64]) {
      const { perSecond, p50Ms, p99Ms } = await atDepth(root, depth);
      const name = `persist 256 B, depth ${depth}`;
      report.add({ name, unit: '1/s', better: 'higher' }, { quorate: [perSecond] });
      report.add({ name: `${name}: p50`, unit: 'ms', better: 'lower' }, { quorate: [p50Ms] });
      report.add({ name: `${name}: p99`, unit: 'ms', better: 'lower' }, { quorate: [p99Ms] });
    }
    const count = quick ? 100_000 : 1_000_000;
    const { writeMbs, readMbs } = await recovery(root, count);
    const [written, read] = ['persist, 1,000 entries a write', `recovery of ${count} entries`];
    report.add({ name: written, unit: 'MB/s', better: 'higher' }, { quorate: [writeMbs] });
    report.add({ name: read, unit: 'MB/s', better: 'higher' }, { quorate: [readMbs] });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
