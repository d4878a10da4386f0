/** Three processes with a replica each, and what their parent says to them. */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ReplicaPlace } from '../src/consensus/place.ts';
import type { ReplicaSettings } from '../src/consensus/replica/settings.ts';
import { freePorts } from '../test/support/ports.ts';

export type NodePlan = ReplicaPlace & Partial<ReplicaSettings>;
export type ClusterPlan = Pick<NodePlan, 'consensus' | 'leaseReads' | 'electionMs' | 'heartbeatMs'>;

export interface NodeOrder {
  readonly kind: 'write' | 'read' | 'probe' | 'rest' | 'status';
  readonly concurrency: number;
  readonly total: number;
}

export interface Load {
  readonly kind: 'load';
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

export type NodeAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'status'; readonly leads: boolean }
  | { readonly kind: 'written'; readonly sentMs: number; readonly doneMs: number }
  | Load;

interface Seat {
  readonly plan: NodePlan;
  child: ChildProcess | undefined;
}

export class ProcessCluster {
  readonly seats: readonly Seat[];
  readonly #folder: string;
  #onWritten: ((sentMs: number, doneMs: number) => void) | undefined;

  private constructor(seats: readonly Seat[], folder: string) {
    this.seats = seats;
    this.#folder = folder;
    this.#onWritten = undefined;
  }

  static async open(plan: ClusterPlan): Promise<ProcessCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-consensus-'));
    const ports = await freePorts(3);
    const peers = Object.fromEntries(ports.map((port, i) => [`n${i}`, `http://127.0.0.1:${port}`]));
    const seats = Object.keys(peers).map((name) => ({
      plan: { ...plan, name, peers, dataDir: join(folder, name) },
      child: undefined,
    }));
    const cluster = new ProcessCluster(seats, folder);
    await Promise.all(seats.map((seat) => cluster.start(seat)));
    return cluster;
  }

  /** Resolves when the node can serve. */
  async start(seat: Seat): Promise<void> {
    const script = fileURLToPath(new URL('consensus-node.ts', import.meta.url));
    const child = fork(script, [JSON.stringify(seat.plan)], {
      execArgv: ['--conditions=quorate-source'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    seat.child = child;
    child.on('message', (answer: NodeAnswer) => {
      if (answer.kind === 'written') this.#onWritten?.(answer.sentMs, answer.doneMs);
    });
    await answerOf(child, 'ready');
  }

  async leader(): Promise<Seat> {
    for (;;) {
      for (const seat of this.seats) {
        if (seat.child === undefined) continue;
        const answer = answerOf(seat.child, 'status');
        seat.child.send({ kind: 'status' });
        if ((await answer).leads) return seat;
      }
    }
  }

  /** At the leader. */
  async load(kind: 'write' | 'read', concurrency: number, total: number): Promise<Load> {
    const { child } = await this.leader();
    const answer = answerOf(child!, 'load');
    child!.send({ kind, concurrency, total });
    return answer;
  }

  /**
   * Kills the leader with SIGKILL. Resolves with the time from then until a write that was sent later was
   * answered on another node, in milliseconds; starts the killed one again.
   */
  async killLeader(): Promise<number> {
    const leader = await this.leader();
    const others = this.seats.filter((seat) => seat !== leader);
    for (const { child } of others) child!.send({ kind: 'probe' });
    // At any moment between two heartbeats.
    await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 100));
    const killedMs = Date.now();
    const failover = new Promise<number>((resolve) => {
      this.#onWritten = (sentMs, doneMs) => {
        if (sentMs >= killedMs || doneMs > killedMs + 20) resolve(doneMs - killedMs);
      };
    });
    const gone = new Promise((resolve) => leader.child!.once('exit', resolve));
    leader.child!.kill('SIGKILL');
    const ms = await failover;
    this.#onWritten = undefined;
    for (const { child } of others) child!.send({ kind: 'rest' });
    await gone;
    await this.start(leader);
    return ms;
  }

  async close(): Promise<void> {
    for (const { child } of this.seats) {
      if (child === undefined || child.exitCode !== null) continue;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
    await rm(this.#folder, { recursive: true });
  }
}

type AnswerOf<Kind extends NodeAnswer['kind']> = Extract<NodeAnswer, { readonly kind: Kind }>;

function answerOf<Kind extends NodeAnswer['kind']>(
  child: ChildProcess,
  kind: Kind,
): Promise<AnswerOf<Kind>> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('a node ended'));
    const onMessage = (answer: NodeAnswer): void => {
      if (answer.kind !== kind) return;
      child.off('message', onMessage);
      child.off('exit', onExit);
      resolve(answer as AnswerOf<Kind>);
    };
    child.on('message', onMessage);
    child.once('exit', onExit);
  });
}
