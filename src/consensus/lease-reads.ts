/**
 * What the members of a cluster must agree on for lease reads (`raft/lease.ts`): how long a lease lasts and
 * how far clocks may drift. A new leader waits for older leaders' leases by its own settings, so no two that
 * talk to each other may have different ones: peers compare `describeLeases` when they connect.
 *
 * That leaves the node that is started with new settings. It may hold entries that carry a lease by the old
 * ones, and would bring them to others that have never heard of such. So it remembers the settings in its
 * folder, and takes no part before all leases by the old ones are over.
 */
import { join } from 'node:path';
import { sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { QuorateError } from '../core/errors.ts';
import { guardMs } from './raft/lease.ts';
import type { Consensus } from './types.ts';

/** How lease reads are switched on. */
export interface LeaseReads {
  /**
   * How far any node's clock may gain or lose against true time, as a fraction: 0.01 is a second in a
   * hundred. Crystals stay below 0.0002; suspended machines and paused virtual machines know no bound. Where a clock
   * breaks it, reads may be stale; writes stay safe.
   */
  readonly maxClockDrift: number;
}

/** What all members must agree on. */
export interface LeaseTerms {
  readonly durationMs: number;
  readonly maxClockDrift: number;
}

/** Beyond it leases would be so short that nobody gains by them, or the fraction was meant as per cent. */
const MAX_DRIFT = 0.5;

/**
 * The terms that follow from a node's options; `undefined` without lease reads. A lease is as long as it can be
 * without making a new leader wait for longer than `guardedMs`: the election timeout, for which it waited anyway.
 *
 * @throws QuorateError `ERR_INVALID_ARGUMENT`, or `ERR_UNSUPPORTED` with Paxos
 */
export function leaseTerms(
  leaseReads: LeaseReads | undefined,
  consensus: Consensus | undefined,
  guardedMs: number,
): LeaseTerms | undefined {
  if (leaseReads === undefined) return undefined;
  const { maxClockDrift } = leaseReads;
  if (!(maxClockDrift >= 0 && maxClockDrift <= MAX_DRIFT)) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `leaseReads: maxClockDrift must be a fraction from 0 to ${MAX_DRIFT}, such as 0.01, not ${maxClockDrift}`,
    );
  }
  if (consensus === 'paxos') {
    throw new QuorateError(
      'ERR_UNSUPPORTED',
      "leaseReads: consensus 'paxos' has no lease reads; leave them out",
    );
  }
  return { durationMs: guardedMs / guardMs(1, maxClockDrift), maxClockDrift };
}

/** In words, the same on all nodes that may talk to each other; empty without lease reads. */
export function describeLeases(terms: LeaseTerms | undefined): string {
  if (terms === undefined) return '';
  return `leases of ${terms.durationMs.toFixed(3)} ms, clocks within ${terms.maxClockDrift}`;
}

/** A new leader never waits for longer: the longest election timeout there is. */
const LONGEST_GUARD_MS = 50_000;

/**
 * Resolves when all leases by other terms that this folder's node took part in are over, and its present terms
 * are remembered. At once where they are the same as before.
 */
export async function outlastOldLeases(
  disk: Disk,
  dataDir: string,
  terms: LeaseTerms | undefined,
  clock: Clock,
  warn: (text: string) => void,
): Promise<void> {
  const folder = join(dataDir, 'member');
  const path = join(folder, 'leases');
  const text = terms === undefined ? '' : `${JSON.stringify(terms)}\n`;
  const before = (await disk.exists(path)) ? await readText(disk, path) : '';
  if (before === text) return;
  if (before !== '') {
    const waitMs = longestLease(before);
    warn(`lease reads were set differently before: waiting ${waitMs} ms for old leases`);
    await sleep(clock, waitMs);
  }
  await replace(disk, folder, path, text);
}

/** How long leases by remembered terms can last here; where they cannot be read, as long as any can. */
function longestLease(text: string): number {
  try {
    const { durationMs, maxClockDrift } = JSON.parse(text) as LeaseTerms;
    const waitMs = Math.ceil(guardMs(durationMs, maxClockDrift));
    if (waitMs >= 0 && waitMs <= LONGEST_GUARD_MS) return waitMs;
  } catch {
    // Damaged.
  }
  return LONGEST_GUARD_MS;
}

async function readText(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path, 'read');
  try {
    return Buffer.from(await file.read(0, await file.size())).toString('utf8');
  } finally {
    await file.close();
  }
}

/** The file has the old text or the new one, whatever happens. */
async function replace(disk: Disk, folder: string, path: string, text: string): Promise<void> {
  const draft = `${path}.tmp`;
  if (await disk.exists(draft)) await disk.remove(draft);
  const file = await disk.open(draft, 'create');
  try {
    if (text !== '') await file.write(Buffer.from(text), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(draft, path);
  await disk.syncFolder(folder);
}
