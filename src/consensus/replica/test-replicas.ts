/**
 * For tests: replicas on storages in memory, in virtual time, which passes by itself while a test runs. No
 * wait looks at the machine's time: one that never ends is given up after so much of the virtual.
 */
import assert from 'node:assert/strict';
import { seededRandom } from '../../core/random.ts';
import { type MemoryNetwork, memoryNetwork } from '../../testing/memory-network.ts';
import { memoryStorage } from '../../testing/memory-storage.ts';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import { RaftCore } from '../raft/raft.ts';
import type { RaftOptions } from '../raft/settings.ts';
import type { StateMachine } from '../state-machine.ts';
import type { NodeId } from '../types.ts';
import type { MemberChange, MemberInfo } from './member-change.ts';
import { bootstrapEntries, Members } from './members.ts';
import { Replica } from './replica.ts';
import { type ReplicaSettings, replicaSettings } from './settings.ts';

const STEP_MS = 10;
const WAIT_LIMIT_MS = 10_000;
const TEST_LIMIT_MS = 60_000;

/** Lets time pass until `work` has ended, and ends as it does; fails after `limitMs`. */
export async function timePasses<T>(
  clock: VirtualClock,
  work: Promise<T>,
  what: string,
  limitMs: number,
): Promise<T> {
  let hasEnded = false;
  const end = (): void => {
    hasEnded = true;
  };
  work.then(end, end);
  for (let passed = 0; !hasEnded; passed += STEP_MS) {
    assert.ok(passed <= limitMs, `waited ${limitMs} ms in vain for ${what}`);
    await clock.advance(STEP_MS);
  }
  return work;
}

/** The core of a founder of a, b and c that has not heard of anything yet, but for what is `given`. */
export function newRaft(id: NodeId, given: Partial<RaftOptions> = {}): RaftCore {
  return new RaftCore({
    id,
    random: seededRandom(1),
    hardState: { term: 1, vote: '', commit: 0 },
    configuration: { voters: ['a', 'b', 'c'], learners: [] },
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
    ...given,
  });
}

/** Remembers every command, and answers with its number and itself. */
export class Journal implements StateMachine<string> {
  commands: string[] = [];
  apply(data: Uint8Array): string {
    const command = Buffer.from(data).toString();
    return `${this.commands.push(command)}:${command}`;
  }
  snapshot(): Iterable<Uint8Array> {
    return this.commands.map((command) => Buffer.from(command));
  }
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.commands = [];
    for await (const chunk of chunks) this.commands.push(Buffer.from(chunk).toString());
  }
}

export const idOf = (n: number): NodeId => `${n}`.padStart(16, '0');
export const urlsOf = (n: number): string[] => [`http://node${n}:2380`];
export const memberOf = (n: number, learner = false): MemberInfo => ({
  id: idOf(n),
  name: `node${n}`,
  peerUrls: urlsOf(n),
  learner,
});

export interface TestReplica {
  readonly id: NodeId;
  readonly replica: Replica<string>;
  readonly journal: Journal;
  readonly failures: Error[];
  removed: boolean;
}

/** Nodes that start with `first` as members; others join with an empty log. */
export class TestReplicas {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork = memoryNetwork({ clock: this.clock });
  readonly nodes = new Map<number, TestReplica>();
  readonly #random = seededRandom(1);
  readonly #first: readonly number[];
  readonly #settings: ReplicaSettings;
  notStarted: readonly number[] = [];

  constructor(first: readonly number[], settings: Partial<ReplicaSettings>) {
    this.#first = first;
    const quick = { heartbeatMs: 10, electionMs: 60, requestTimeoutMs: 5000 };
    this.#settings = replicaSettings({ ...quick, ...settings });
  }

  async open(n: number): Promise<TestReplica> {
    const id = idOf(n);
    const first = this.#first;
    const entries = first.includes(n) ? bootstrapEntries(first.map((m) => memberOf(m))) : [];
    const hardState = { term: entries.length > 0 ? 1 : 0, vote: '', commit: entries.length };
    const transport = this.network.transport(id);
    const known = [...new Set([...first, ...this.nodes.keys()])].filter((m) => m !== n);
    transport.setPeers(new Map(known.map((m) => [idOf(m), urlsOf(m)])));
    const journal = new Journal();
    const failures: Error[] = [];
    const replica = new Replica<string>({
      id,
      core: newRaft(id, {
        settings: { electionTicks: 6 },
        random: this.#random,
        hardState,
        configuration: { voters: [], learners: [] },
        entries,
      }),
      storage: memoryStorage({ bootstrap: { entries, hardState } }),
      transport,
      machine: journal,
      members: new Members(),
      settings: this.#settings,
      clock: this.clock,
      defer: (run) => void setImmediate(run),
      events: {
        onFailed: (error) => failures.push(error),
        onRemoved: () => {
          node.removed = true;
        },
        isStarted: (member) => !this.notStarted.some((m) => idOf(m) === member),
      },
    });
    const node: TestReplica = { id, replica, journal, failures, removed: false };
    this.nodes.set(n, node);
    await replica.start();
    return node;
  }

  node(n: number): TestReplica {
    return this.nodes.get(n)!;
  }

  /** Waits until `holds` answers something, and answers that. */
  async until<T>(holds: () => T | undefined | false): Promise<T> {
    const endMs = this.clock.now() + WAIT_LIMIT_MS;
    for (;;) {
      const value = holds();
      if (value !== undefined && value !== false) return value;
      assert.ok(this.clock.now() < endMs, `waited ${WAIT_LIMIT_MS} ms in vain for ${holds}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  leader(): Promise<TestReplica> {
    return this.until(() => [...this.nodes.values()].find((node) => node.replica.leading));
  }

  /** Changes the members at node `n`, and starts those that were added. */
  async change(n: number, ...changes: MemberChange[]): Promise<readonly MemberInfo[]> {
    const members = await this.node(n).replica.changeMembers(changes);
    for (const change of changes) {
      if (change.kind === 'add') await this.open(Number(change.member.id));
    }
    return members;
  }

  /** Node `n` holds all that node `of` has applied. */
  async caughtUp(n: number, of: number): Promise<void> {
    const least = this.node(of).replica.appliedIndex;
    await this.until(() => this.node(n).replica.appliedIndex >= least);
  }

  /** The leader knows that node `n` holds its log. */
  async inSync(n: number): Promise<void> {
    const leader = await this.leader();
    await this.until(() => {
      const { peers, lastIndex } = leader.replica.status();
      return peers.some(({ id, match }) => id === idOf(n) && match === lastIndex);
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.nodes.values()].map((node) => node.replica.close()));
    for (const node of this.nodes.values()) assert.deepEqual(node.failures, []);
  }
}

/** Runs a test with the members `first`, one of which leads, while time passes. */
export async function withReplicas(
  first: readonly number[],
  run: (cluster: TestReplicas) => Promise<void>,
  settings: Partial<ReplicaSettings> = {},
): Promise<void> {
  const cluster = new TestReplicas(first, settings);
  const work = async (): Promise<void> => {
    try {
      await Promise.all(first.map((n) => cluster.open(n)));
      await cluster.leader();
      await run(cluster);
    } finally {
      await cluster.close();
    }
  };
  await timePasses(cluster.clock, work(), 'the end of the test', TEST_LIMIT_MS);
}
