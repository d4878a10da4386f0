/**
 * A core alone, Raft's or Paxos': three nodes in one thread, no disk, no network, a write is durable at once.
 * What is left is the cost of deciding, per committed proposal.
 */

import type { Core } from '../src/consensus/core.ts';
import type { PeerMessage } from '../src/consensus/messages.ts';
import { PaxosCore } from '../src/consensus/paxos/paxos.ts';
import { RaftCore } from '../src/consensus/raft/raft.ts';
import type { RaftOptions } from '../src/consensus/raft/settings.ts';
import { seededRandom } from '../src/core/random.ts';
import type { Report } from './report.ts';

const IDS = ['1', '2', '3'].map((id) => id.padStart(16, '0'));
const DATA = new Uint8Array(256);

type CoreClass = new (options: RaftOptions) => Core;

class LocalCluster {
  readonly cores: Core[];
  readonly applied: number[];

  constructor(Class: CoreClass) {
    this.applied = IDS.map(() => 0);
    this.cores = IDS.map(
      (id, at) =>
        new Class({
          id,
          random: seededRandom(at),
          hardState: { term: 0, vote: '', commit: 0 },
          configuration: { voters: IDS, learners: [] },
          snapshot: { index: 0, term: 0 },
          entries: [],
          applied: 0,
        }),
    );
    this.cores[0]!.campaign();
    while (this.turn());
  }

  #deliver(messages: readonly PeerMessage[]): void {
    for (const message of messages) this.cores[IDS.indexOf(message.to)]!.step(message);
  }

  /** Every node takes its effects once. Returns whether anything happened. */
  turn(): boolean {
    let isBusy = false;
    for (let at = 0; at < this.cores.length; at++) {
      const core = this.cores[at]!;
      if (!core.hasEffects()) continue;
      isBusy = true;
      const { messages, persist, messagesAfterPersist, committed } = core.take();
      this.#deliver(messages);
      if (persist !== undefined) core.persisted(persist.sequence);
      this.#deliver(messagesAfterPersist);
      if (committed.length === 0) continue;
      const { index } = committed[committed.length - 1]!;
      this.applied[at] = index;
      core.applied(index);
    }
    return isBusy;
  }

  compact(): void {
    for (let at = 0; at < this.cores.length; at++) {
      const index = this.applied[at]!;
      this.cores[at]!.compact(index, Math.max(1, index - 5000));
    }
  }
}

/** Committed proposals a second, `batch` of them proposed one by one for each turn. */
function measure(Class: CoreClass, batch: number, proposals: number): number {
  const cluster = new LocalCluster(Class);
  const leader = cluster.cores[0]!;
  const one = [DATA];
  const target = cluster.applied[0]! + proposals;
  let proposed = 0;
  let compactAt = 100_000;
  const started = process.hrtime.bigint();
  while (cluster.applied[0]! < target) {
    for (let count = 0; count < batch && proposed < proposals; count++) {
      if (typeof leader.propose(one) === 'object') proposed += 1;
    }
    cluster.turn();
    if (cluster.applied[0]! < compactAt) continue;
    cluster.compact();
    compactAt += 100_000;
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return Math.round(proposals / seconds);
}

export async function benchRaftCore(report: Report, quick: boolean): Promise<void> {
  const most = quick ? 200_000 : 2_000_000;
  for (const batch of [1, 64, 1000]) {
    const proposals = batch === 1 ? most / 10 : most;
    const samples: { quorate: number[]; paxos: number[] } = { quorate: [], paxos: [] };
    for (let round = 0; round < (quick ? 3 : 5); round++) {
      samples.quorate.push(measure(RaftCore, batch, proposals));
      samples.paxos.push(measure(PaxosCore, batch, proposals));
    }
    const name = `three nodes in one thread, ${batch} proposals a turn`;
    report.add({ name, unit: 'proposals/s', better: 'higher' }, samples);
  }
}
