/**
 * How nodes reach each other, as the replica sees it. `transport/` implements it on TCP;
 * the simulator has one of its own.
 */
import type { PeerMessage } from './messages.ts';
import type { NodeId, SnapshotMetadata } from './types.ts';

/** What the replica does with what arrives. */
export interface TransportHandlers {
  /** A protocol message, in the order sent per peer and channel. */
  onMessage(message: PeerMessage): void;
  /** A request of a peer; the reply is sent back to it. A rejection reaches the caller as an error. */
  onCall(from: NodeId, method: string, payload: Uint8Array): Promise<Uint8Array>;
  /** A snapshot that a leader sends: resolves when the chunks were taken and it is installed. */
  onSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void>;
  /** The peer's connection broke or its queue is full: a message to it was dropped. */
  onUnreachable(peer: NodeId): void;
  /** A peer says that this node was removed from the cluster. Told once. */
  readonly onRemoved?: (() => void) | undefined;
}

export interface PeerStatus {
  readonly id: NodeId;
  readonly connected: boolean;
}

export interface Transport {
  /** Starts to listen and to connect. Rejects with `ERR_ADDRESS_IN_USE` where the port is taken. */
  start(handlers: TransportHandlers): Promise<void>;

  /**
   * Sends and forgets. Messages to one peer arrive in order or not at all. Beyond the queue limit,
   * and while there is no connection, they are dropped and `onUnreachable` is called.
   */
  send(message: PeerMessage): void;

  /** Hands what was sent so far to the network now, not at the end of the turn. Saves a round of the loop. */
  flush(): void;

  /**
   * Asks a peer. Rejects with `ERR_UNAVAILABLE` (`not-applied`) where it surely was not delivered,
   * `ERR_TIMEOUT` (`unknown`) after `timeoutMs`, or the error that the peer's handler rejected with
   * (code, message and outcome are carried over).
   */
  call(to: NodeId, method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array>;

  /** Streams a snapshot on the bulk connection; resolves when the peer has installed it. */
  sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void>;

  /**
   * Who the members are: URL lists such as `['http://127.0.0.1:2380']` by id. This node's own is left out
   * of account.
   *
   * A node that is behind knows old members only, and must hear those that lead now. So with `removed`
   * given, peers named before and those that introduce themselves stay too, until they are in `removed`:
   * those are told that they have been, and heard no more.
   *
   * @param removed - @defaultValue everyone else
   */
  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>, removed?: ReadonlySet<NodeId>): void;

  peers(): readonly PeerStatus[];

  /** Closes every socket. Idempotent. */
  close(): Promise<void>;
}
