/** For tests: three nodes on disks in memory, in virtual time. */
import assert from 'node:assert/strict';
import { seededRandom } from '../core/random.ts';
import type { CrashDisk } from '../testing/crash-disk.ts';
import { type MemoryNetwork, memoryNetwork } from '../testing/memory-network.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { openReplica } from './open-replica.ts';
import { memberId } from './replica/members.ts';
import type { Replica } from './replica/replica.ts';
import type { StateMachine } from './state-machine.ts';

export const ELECTION_MS = 60;
const peers = { a: 'http://a:1', b: 'http://b:1', c: 'http://c:1' };
export type Name = keyof typeof peers;
export const idOf = (name: Name): string => memberId([peers[name]], 'etcd-cluster');

/** Remembers every command. */
export class Journal implements StateMachine<number> {
  commands: string[] = [];
  apply(data: Uint8Array): number {
    return this.commands.push(Buffer.from(data).toString());
  }
  snapshot(): Iterable<Uint8Array> {
    return this.commands.map((command) => Buffer.from(command));
  }
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.commands = [];
    for await (const chunk of chunks) this.commands.push(Buffer.from(chunk).toString());
  }
}

/** Three nodes on disks in memory, in virtual time. */
export class VirtualCluster {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork = memoryNetwork({ clock: this.clock });
  readonly disks: Record<Name, CrashDisk>;
  readonly nodes = new Map<Name, { replica: Replica<number>; journal: Journal }>();
  readonly warnings: string[] = [];

  constructor(disks: Record<Name, CrashDisk>) {
    this.disks = disks;
  }

  async open(...names: Name[]): Promise<void> {
    for (const name of names) {
      const journal = new Journal();
      const { replica } = await openReplica<number>({
        name,
        peers,
        dataDir: '/data',
        machine: journal,
        disk: this.disks[name],
        clock: this.clock,
        random: seededRandom(name.charCodeAt(0)),
        heartbeatMs: 10,
        electionMs: ELECTION_MS,
        requestTimeoutMs: 2000,
        snapshotEntries: 9,
        keepEntries: 2,
        segmentBytes: 4096,
        transport: this.network.transport(idOf(name)),
        log: (level, text) => level !== 'info' && this.warnings.push(`${name}: ${text}`),
      });
      this.nodes.set(name, { replica, journal });
    }
  }

  /** Lets time pass until `holds`; false where it never does. */
  async until(holds: () => boolean, limitMs = 3000): Promise<boolean> {
    for (let passed = 0; !holds(); passed += 10) {
      if (passed > limitMs) return false;
      await this.clock.advance(10);
    }
    return true;
  }

  get leader(): { replica: Replica<number>; journal: Journal } | undefined {
    return [...this.nodes.values()].find(({ replica }) => replica.leading);
  }

  async propose(command: string): Promise<void> {
    assert.ok(await this.until(() => this.leader !== undefined), 'there is a leader');
    let isDone = false;
    const proposed = this.leader!.replica.propose(Buffer.from(command));
    proposed.then(
      () => {
        isDone = true;
      },
      () => undefined,
    );
    assert.ok(await this.until(() => isDone), `${command} is acknowledged`);
    await proposed;
  }

  journals(): string[][] {
    return [...this.nodes.values()].map(({ journal }) => journal.commands);
  }

  async close(): Promise<void> {
    const closing = Promise.all([...this.nodes.values()].map(({ replica }) => replica.close()));
    let isClosed = false;
    void closing.then(() => {
      isClosed = true;
    });
    await this.until(() => isClosed);
    await closing;
  }
}
