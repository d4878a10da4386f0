/** One life of a node: from its start until it is stopped, killed, or loses power. */
import { QuorateError } from '../../core/errors.ts';
import type { QuorateNode } from '../../node.ts';
import type { MountedDisk } from './disk.ts';
import type { NodeClock } from './node-clock.ts';
import type { SimulatedProcess } from './process.ts';
import type { Cancel } from './types.ts';

/** What lives in a process: a node with a store, or a replica of some other state machine. */
export interface SimulatedNode {
  /** Resolves with the reason when the node stops itself. */
  readonly failed: Promise<Error>;
  close(): Promise<void>;
}

export type LifeState = 'starting' | 'running' | 'stopping' | 'ended';

export class Life<Node extends SimulatedNode = QuorateNode> {
  /** The seat's number, from 0, and its name. */
  readonly seat: number;
  readonly name: string;
  /** Which life of the seat, from 1. */
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly clock: NodeClock;
  readonly disk: MountedDisk;
  state: LifeState = 'starting';
  /** Set when it runs. */
  node: Node | undefined = undefined;
  /** Why it stopped by itself, or did not start. */
  failure: Error | undefined = undefined;
  readonly #onEnd = new Set<() => void>();

  constructor(
    seat: number,
    name: string,
    number: number,
    process: SimulatedProcess,
    clock: NodeClock,
    disk: MountedDisk,
  ) {
    this.seat = seat;
    this.name = name;
    this.number = number;
    this.process = process;
    this.clock = clock;
    this.disk = disk;
  }

  /** Calls `run` when this life ends, at once where it has. */
  whenEnded(run: () => void): Cancel {
    if (this.state === 'ended') {
      run();
      return () => undefined;
    }
    this.#onEnd.add(run);
    return () => void this.#onEnd.delete(run);
  }

  /** For the cluster. */
  end(): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    for (const run of [...this.#onEnd]) run();
    this.#onEnd.clear();
  }

  /**
   * Runs `work` in this process, when that is not paused. What it answers comes back at once; where
   * the process dies first, it rejects with `ERR_UNAVAILABLE`: the work may have been done.
   */
  call<T>(work: (node: Node) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let begun = false;
      const cancel = this.whenEnded(() => {
        reject(
          new QuorateError('ERR_UNAVAILABLE', `node ${this.name} is gone`, {
            outcome: begun ? 'unknown' : 'not-applied',
            retryable: true,
          }),
        );
      });
      this.process.run(() => {
        if (this.node === undefined || this.state === 'ended') {
          cancel();
          reject(
            new QuorateError('ERR_UNAVAILABLE', `node ${this.name} is not running`, {
              retryable: true,
            }),
          );
          return;
        }
        begun = true;
        work(this.node).then(resolve, reject).finally(cancel);
      });
    });
  }
}
