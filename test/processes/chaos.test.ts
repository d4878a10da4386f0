/**
 * Chaos on real processes: killed, stopped, restarted, their links cut, held, slowed and reset, a disk
 * filled, members replaced, while clients read, write, watch and lock through gRPC and JSON.
 *
 * `QUORATE_CHAOS_SEED` chooses another schedule of faults, `QUORATE_CHAOS_FOR=10m` makes it longer,
 * `QUORATE_CHAOS_FAULTS='pause,isolate'` plays these kinds only, `QUORATE_CHAOS_VERBOSE=1` tells every round. A
 * seed fixes the schedule; what becomes of it is up to the machine.
 */
import { describe, test } from 'node:test';
import { durationMs } from '../../src/core/duration.ts';
import { FAULT_KINDS } from '../support/chaos/faults.ts';
import { Storm, type StormOptions } from '../support/chaos/storm.ts';

const SEED = Number(process.env['QUORATE_CHAOS_SEED'] ?? 1);
/** Of all storms together. */
const FOR_MS = durationMs(process.env['QUORATE_CHAOS_FOR'] ?? '64s', 'QUORATE_CHAOS_FOR');

const WANTED = process.env['QUORATE_CHAOS_FAULTS']?.split(',');
const KINDS = FAULT_KINDS.filter((kind) => WANTED?.includes(kind) ?? true);

type Scene = Pick<StormOptions, 'size' | 'flags' | 'replaceMembers'>;

const SCENES: Readonly<Record<string, Scene>> = {
  'three nodes with Raft': { size: 3, flags: [] },
  'three nodes with Multi-Paxos': { size: 3, flags: ['--consensus=paxos'] },
  'three nodes with lease reads': { size: 3, flags: ['--lease-reads-drift=0.01'] },
  'five nodes whose members are replaced': { size: 5, flags: [], replaceMembers: true },
};

describe('chaos', () => {
  const forMs = FOR_MS / Object.keys(SCENES).length;
  // The start, the end of the last round, the recovery and the verdict.
  const timeout = forMs + 180_000;
  for (const [i, [name, scene]] of Object.entries(SCENES).entries()) {
    test(`${name}: linearizable, watched completely, and healed in time`, {
      timeout,
    }, async (t) => {
      const seed = SEED * 1000 + i;
      t.diagnostic(`QUORATE_CHAOS_SEED=${SEED} QUORATE_CHAOS_FOR=${Math.round(FOR_MS / 1000)}s`);
      await Storm.run({ ...scene, seed, kinds: KINDS, forMs, say: (line) => t.diagnostic(line) });
    });
  }
});
