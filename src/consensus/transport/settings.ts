/** Settings of the TCP transport, their defaults and what the parts of it share. */
import { readFileSync } from 'node:fs';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import type { TransportHandlers } from '../transport.ts';
import type { Consensus, NodeId } from '../types.ts';
import type { PeerSockets, PeerTls } from './sockets.ts';

/** Certificates between nodes: PEM files, by the names of etcd's `--peer-…` flags. */
export interface TlsFiles {
  /** Presented to peers on both sides of a connection. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Who signs peers' certificates. @defaultValue the system's authorities */
  readonly trustedCaFile?: string | undefined;
  /** Refuse peers without a certificate that verifies. @defaultValue as in etcd: with `trustedCaFile` */
  readonly clientCertAuth?: boolean | undefined;
}

/** Reads the files. Throws `ERR_INVALID_ARGUMENT` where one cannot be read. */
export function readTlsFiles(files: TlsFiles): PeerTls {
  const { certFile, keyFile, trustedCaFile, clientCertAuth } = files;
  return {
    cert: readPem(certFile, 'certificate'),
    key: readPem(keyFile, 'key'),
    ca: trustedCaFile === undefined ? undefined : readPem(trustedCaFile, 'trusted CA'),
    clientCertAuth: clientCertAuth === true || trustedCaFile !== undefined,
  };
}

function readPem(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `the peer ${what} file cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** A line for the operator. `warn`: somebody should look. At most one of a kind in ten seconds. */
export type TransportLog = (level: 'info' | 'warn', text: string) => void;

export interface TransportSettings {
  /**
   * A connection on which nothing arrives for so long is given up; both sides say that they are
   * alive four times as often. About two election timeouts. @defaultValue 2000
   */
  readonly deadAfterMs: number;
  /** From connecting (or accepting) until the hello is answered. @defaultValue 2000 */
  readonly handshakeTimeoutMs: number;
  /** Back-off between attempts to connect: doubles from the first to the second, with jitter. */
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  /** Largest frame taken or sent. @defaultValue 64 MiB: far above any batch of entries */
  readonly maxFrameBytes: number;
  /** What may wait for one connection; beyond it messages are dropped. @defaultValue 16384 and 64 MiB */
  readonly maxQueuedFrames: number;
  readonly maxQueuedBytes: number;
  /** Calls with a larger payload go by the bulk connection. @defaultValue 16 KiB */
  readonly bulkCallBytes: number;
  /** Calls of one peer that may be under way here; beyond it they are refused as busy. @defaultValue 16384 */
  readonly maxCallsUnderWay: number;
  /** Chunks of a snapshot that may be on their way or wait at the receiver. @defaultValue 4 */
  readonly snapshotWindowChunks: number;
  /** A snapshot stream without any progress for so long is given up. @defaultValue 30000 */
  readonly snapshotStallMs: number;
  /** From the last chunk until the receiver has installed it. @defaultValue 600000 */
  readonly snapshotInstallMs: number;
  /** Connections that have not said hello yet; beyond it the oldest goes. @defaultValue 256 */
  readonly maxStrangers: number;
  /** Peers that introduced themselves and are not in the log here yet. @defaultValue 16 */
  readonly maxIntroduced: number;
  /** How often deadlines are looked at: one timer for all connections and calls. @defaultValue 25 */
  readonly sweepMs: number;
}

export const DEFAULT_TRANSPORT_SETTINGS: TransportSettings = {
  deadAfterMs: 2000,
  handshakeTimeoutMs: 2000,
  reconnectMinMs: 50,
  reconnectMaxMs: 1000,
  maxFrameBytes: 64 * 1024 * 1024,
  maxQueuedFrames: 16_384,
  maxQueuedBytes: 64 * 1024 * 1024,
  bulkCallBytes: 16 * 1024,
  maxCallsUnderWay: 16_384,
  snapshotWindowChunks: 4,
  snapshotStallMs: 30_000,
  snapshotInstallMs: 600_000,
  maxStrangers: 256,
  maxIntroduced: 16,
  sweepMs: 25,
};

export interface TcpTransportOptions {
  /** This node and its cluster: 16 hex digits each. */
  readonly id: NodeId;
  readonly clusterId: NodeId;
  /** The core of this node; peers with another are refused. @defaultValue `'raft'` */
  readonly consensus?: Consensus | undefined;
  /** What its nodes agree on about leases; peers with anything else are refused. @defaultValue `''` */
  readonly leases?: string | undefined;
  /** Where to listen: `http://host:port` or `https://host:port`, port 0 for any. */
  readonly listenUrls: readonly string[];
  /** Where peers reach this node: told to those that do not know it yet. @defaultValue nothing is told */
  readonly advertisedUrls?: readonly string[] | undefined;
  /**
   * What a node is told that has no id yet and asks who the members are (see `askMembers`).
   * @defaultValue nothing: it is turned away
   */
  readonly describeCluster?: (() => Uint8Array) | undefined;
  /** Needed where a URL, ours or a peer's, begins with `https`. */
  readonly tls?: TlsFiles | undefined;
  readonly clock?: Clock;
  readonly random?: Random;
  /** @defaultValue says nothing */
  readonly log?: TransportLog;
  readonly settings?: Partial<TransportSettings>;
  /** @defaultValue TCP and TLS of this machine */
  readonly sockets?: PeerSockets;
  /** Runs a function at the end of this turn of the event loop. @defaultValue `setImmediate` */
  readonly defer?: (run: () => void) => void;
}

/** A connection, as the sweep over all of them sees it. */
export interface Swept {
  /** Looks at the deadlines. */
  sweep(now: number): void;
  /** Writes what waits for the end of the turn. */
  flush(): void;
  /** Time in which this process did not run is nobody's silence. */
  forgive(gapMs: number): void;
  close(reason: Error): void;
}

/** What every part of one transport shares. */
export interface TransportContext {
  readonly id: NodeId;
  readonly clusterId: NodeId;
  readonly consensus: Consensus;
  readonly leases: string;
  /** Of this process life, so that peers recognise a restart. */
  readonly incarnation: NodeId;
  readonly advertisedUrls: readonly string[];
  readonly describeCluster: (() => Uint8Array) | undefined;
  readonly tls: PeerTls | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: TransportSettings;
  readonly sockets: PeerSockets;
  readonly defer: (run: () => void) => void;
  /** All open connections, for the sweep. */
  readonly connections: Set<Swept>;
  /** Those with frames that wait for the end of the turn. */
  readonly unflushed: Swept[];
  /** Flushes them. */
  readonly flushAll: () => void;
  handlers: TransportHandlers;
  /** Logs, at most once in ten seconds per `kind`. */
  warn(kind: string, text: string): void;
  info(text: string): void;
  /** What becomes of a peer that says hello: it may be one that this node has not heard of yet. */
  admission(peer: NodeId, urls: readonly string[]): Admission;
  /** A peer says that this node was removed. */
  removed(): void;
}

export type Admission = 'accepted' | 'removed' | 'unknown';
