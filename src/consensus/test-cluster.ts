/** For tests: three nodes on disks in memory, in virtual time, which passes when the test says so. */
import assert from 'node:assert/strict';
import { seededRandom } from '../core/random.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import { type MemoryNetwork, memoryNetwork } from '../testing/memory-network.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { openReplica } from './open-replica.ts';
import { memberId } from './replica/members.ts';
import type { Replica } from './replica/replica.ts';
import { Journal, timePasses } from './replica/test-replicas.ts';

export const ELECTION_MS = 60;
const LIMIT_MS = 3000;
const peers = { a: 'http://a:1', b: 'http://b:1', c: 'http://c:1' };
export type Name = keyof typeof peers;
export const idOf = (name: Name): string => memberId([peers[name]], 'etcd-cluster');

/** Three nodes on disks in memory, in virtual time. */
export class VirtualCluster {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork = memoryNetwork({ clock: this.clock });
  readonly disks: Record<Name, CrashDisk>;
  readonly nodes = new Map<Name, { replica: Replica<string>; journal: Journal }>();
  readonly warnings: string[] = [];

  /** @param disks - absent ones are new. */
  constructor(disks: Partial<Record<Name, CrashDisk>> = {}) {
    this.disks = { a: new CrashDisk(), b: new CrashDisk(), c: new CrashDisk(), ...disks };
  }

  async open(...names: Name[]): Promise<void> {
    for (const name of names) {
      const journal = new Journal();
      const { replica } = await openReplica<string>({
        name,
        peers,
        dataDir: '/data',
        machine: journal,
        surroundings: {
          disk: this.disks[name],
          clock: this.clock,
          random: seededRandom(name.charCodeAt(0)),
          segmentBytes: 4096,
          transport: this.network.transport(idOf(name)),
        },
        heartbeatMs: 10,
        electionMs: ELECTION_MS,
        requestTimeoutMs: 2000,
        snapshotEntries: 9,
        keepEntries: 2,
        log: (level, text) => level !== 'info' && this.warnings.push(`${name}: ${text}`),
      });
      this.nodes.set(name, { replica, journal });
    }
  }

  node(name: Name): { replica: Replica<string>; journal: Journal } {
    return this.nodes.get(name)!;
  }

  /** Lets time pass until `holds`; false where it never does. */
  async until(holds: () => boolean | Promise<boolean>): Promise<boolean> {
    for (let passed = 0; !(await holds()); passed += 10) {
      if (passed > LIMIT_MS) return false;
      await this.clock.advance(10);
    }
    return true;
  }

  /** Lets time pass until `work` has ended, and ends as it does. */
  async ended<T>(work: Promise<T>, what: string): Promise<T> {
    return timePasses(this.clock, work, what, LIMIT_MS);
  }

  get leader(): { replica: Replica<string>; journal: Journal } | undefined {
    return [...this.nodes.values()].find(({ replica }) => replica.leading);
  }

  async propose(command: string): Promise<void> {
    assert.ok(await this.until(() => this.leader !== undefined), 'there is a leader');
    const proposed = this.leader!.replica.propose(Buffer.from(command));
    await this.ended(proposed, `the acknowledgement of ${command}`);
  }

  journals(): string[][] {
    return [...this.nodes.values()].map(({ journal }) => journal.commands);
  }

  /** @param names - all where there are none. */
  async close(...names: Name[]): Promise<void> {
    const gone = names.length > 0 ? names : [...this.nodes.keys()];
    await this.ended(Promise.all(gone.map((name) => this.node(name).replica.close())), 'the close');
    for (const name of gone) this.nodes.delete(name);
  }
}
