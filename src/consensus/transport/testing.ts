/** What the tests of the transport share. */
import type { PeerMessage } from '../messages.ts';
import { MessageType } from '../messages.ts';
import type { TransportHandlers } from '../transport.ts';
import type { NodeId, SnapshotMetadata } from '../types.ts';

/** Lets everything that is ready happen. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export const A: NodeId = '00000000000000aa';
export const B: NodeId = 'bbbbbbbbbbbbbbbb';
export const CLUSTER: NodeId = 'cccccccccccccccc';

/** A heartbeat from A to B, but for `fields`. */
export function raftMessage(fields: Partial<PeerMessage>): PeerMessage {
  return {
    type: MessageType.heartbeat,
    from: A,
    to: B,
    term: 1,
    index: 0,
    logTerm: 0,
    entries: [],
    commit: 0,
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context: 0,
    force: false,
    ...fields,
  };
}

/** Keeps what arrives, and answers as it is told. */
export class Recorder implements TransportHandlers {
  readonly messages: PeerMessage[] = [];
  readonly unreachable: NodeId[] = [];
  answer: (method: string, payload: Uint8Array) => Promise<Uint8Array> = async (_, payload) =>
    payload;
  snapshot: TransportHandlers['onSnapshot'] = async (_, __, chunks) => {
    for await (const chunk of chunks) void chunk;
  };
  onRemoved: (() => void) | undefined;
  #waiters: (() => void)[] = [];

  onMessage(message: PeerMessage): void {
    this.messages.push(message);
    this.#changed();
  }
  onCall(_from: NodeId, method: string, payload: Uint8Array): Promise<Uint8Array> {
    return this.answer(method, payload);
  }
  onSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    return this.snapshot(message, metadata, chunks);
  }
  onUnreachable(peer: NodeId): void {
    this.unreachable.push(peer);
    this.#changed();
  }
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
  #changed(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
