/** Bugs of reads under Raft, by a round of heartbeats and by lease. */
import type { Mutant } from './mutant.ts';

const RAFT = 'src/consensus/raft';

export const raftReadMutants: readonly Mutant[] = [
  {
    id: 'read-joins-the-round-under-way',
    bug: 'a read gets the read index of a round that began before it',
    source: 'tikv#7971',
    file: `${RAFT}/read-index.ts`,
    find: 'this.#contexts.push(context);\n    this.#origins.push(origin);',
    replace: `const batch = this.#flying ?? this.takeGathered();
    (batch.contexts as number[]).push(context);
    (batch.origins as NodeId[]).push(origin);
    if (this.#flying === undefined) {
      this.#contexts = batch.contexts as number[];
      this.#origins = batch.origins as NodeId[];
    }`,
    consensus: 'raft',
  },
  {
    id: 'read-outlives-the-leadership',
    bug: 'a read that waits when leadership ends is answered with its old index when the node leads again',
    source: 'etcd#21375',
    file: `${RAFT}/reads.ts`,
    find: 'this.#rounds.abandon(this.#dropped);',
    replace: '',
    consensus: 'raft',
  },
  {
    id: 'lease-kept-across-a-pause',
    bug: 'whether the lease lasts is looked at once a tick: a process that was stopped meanwhile still answers',
    source: 'thesis §6.4.1; etcd#11651',
    file: `${RAFT}/lease.ts`,
    find: 'return this.#options.now() < this.#startedAt + this.#options.durationMs;\n  }',
    replace: `return this.tickedAt < this.#startedAt + this.#options.durationMs;
  }

  tickedAt = 0;

  tick(): void {
    if (this.#options !== undefined) this.tickedAt = this.#options.now();
  }`,
    also: [
      {
        file: `${RAFT}/raft.ts`,
        find: 'this.#roles.electionElapsed += 1;\n',
        replace: 'this.#roles.electionElapsed += 1;\n    this.#lease.tick();\n',
      },
    ],
    having: 'leaseDriftPpm,pause',
    consensus: 'raft',
  },
  {
    id: 'lease-read-while-handing-over',
    bug: 'a leader answers reads by its lease after it told another node to take over at once',
    source: 'openraft#1747',
    file: `${RAFT}/leadership.ts`,
    find: 'return !isHandingOver && this.hasCommitted && this.#lease.isHeld;',
    replace: 'return this.hasCommitted && this.#lease.isHeld;',
    also: [
      {
        file: `${RAFT}/lease.ts`,
        find: 'this.#relinquishedIndex = lastIndex;\n    this.#startedAt = -Infinity;',
        replace: '',
      },
    ],
    having: 'leaseDriftPpm,transfer',
    consensus: 'raft',
  },
];
