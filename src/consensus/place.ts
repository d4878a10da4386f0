/** Where a node belongs, as its owner says it, and the first members of a cluster that follow from it. */
import { QuorateError } from '../core/errors.ts';
import type { LeaseReads } from './lease-reads.ts';
import { type MemberInfo, memberId } from './replica/members.ts';
import type { TlsFiles } from './transport/tcp.ts';
import type { Consensus } from './types.ts';

export type Log = (level: 'debug' | 'info' | 'warn' | 'error', text: string) => void;

/** Where a node belongs and where its data lives. */
export interface ReplicaPlace {
  /** This node's name: one of `peers`. */
  readonly name: string;
  /** Its folder; made where absent. One process at a time. */
  readonly dataDir: string;
  /**
   * The first nodes of the cluster by name, this one included: the URL (or URLs) under which the others
   * reach it, such as `http://10.0.0.1:2380`. The same on every node. Once the log exists it alone says
   * who the members are, and they may have changed.
   *
   * With `join`: this node, and at least one that is a member now.
   */
  readonly peers: Readonly<Record<string, string | readonly string[]>>;
  /**
   * Joins a cluster that runs, to which this node was added (`quorate member add`), instead of forming a
   * new one with `peers`. It is known there by its own URLs of `peers`. Without effect once the log exists.
   * @defaultValue `false`
   */
  readonly join?: boolean | undefined;
  /**
   * The consensus algorithm: the same on every node, for the life of the cluster. Under `'paxos'` the members
   * are those of `peers` for ever.
   * @defaultValue `'raft'`
   */
  readonly consensus?: Consensus | undefined;
  /**
   * Linearizable reads that need no round of messages, where the drift of all clocks stays within a bound: see
   * the page about consensus. The same on every node; Raft only. @defaultValue none
   */
  readonly leaseReads?: LeaseReads | undefined;
  /** Keeps clusters with the same URLs apart. @defaultValue `'etcd-cluster'`, as etcd's */
  readonly clusterToken?: string | undefined;
  /** Where to listen for peers. @defaultValue this node's own URLs of `peers` */
  readonly listenPeerUrls?: readonly string[] | undefined;
  /** Certificates for `https` peer URLs. */
  readonly peerTls?: TlsFiles | undefined;
  /** `false` skips every `fdatasync`: a power cut may lose acknowledged writes. @defaultValue `true` */
  readonly fsync?: boolean | undefined;
  readonly log?: Log | undefined;
}

const DEFAULT_TOKEN = 'etcd-cluster';

/** For callers without types: what nothing works without, by its name. */
export function requirePlace(options: Partial<ReplicaPlace> | undefined): void {
  const { name, dataDir, peers, consensus = 'raft', join } = options ?? {};
  if (typeof name !== 'string' || name === '') throw missing('name: text', name);
  if (typeof dataDir !== 'string' || dataDir === '') throw missing('dataDir: a path', dataDir);
  if (typeof peers !== 'object' || peers === null) {
    throw missing("peers: { NAME: 'http://HOST:PORT', … } of all nodes", peers);
  }
  if (consensus !== 'raft' && consensus !== 'paxos') {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `consensus: '${consensus}' is not known; use 'raft' or 'paxos'`,
    );
  }
  if (consensus === 'paxos' && join === true) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      "join: a cluster with consensus 'paxos' takes no new members; name all of them in peers",
    );
  }
}

/** What an option should have been. */
export function missing(needed: string, given: unknown): QuorateError {
  const what = given === '' ? 'empty text' : typeof given;
  return new QuorateError('ERR_INVALID_ARGUMENT', `${needed} is needed, not ${what}`);
}

/** The members that `peers` names. Throws `ERR_INVALID_ARGUMENT`. */
export function initialMembers(place: ReplicaPlace): MemberInfo[] {
  const token = place.clusterToken ?? DEFAULT_TOKEN;
  const members = Object.entries(place.peers).map(([name, urls]) => {
    const peerUrls = typeof urls === 'string' ? [urls] : [...urls];
    for (const url of peerUrls) requirePeerUrl(name, url);
    return { id: memberId(peerUrls, token), name, peerUrls, learner: false };
  });
  if (members.length === 0) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', 'peers: name at least this node itself');
  }
  if (new Set(members.map((member) => member.id)).size < members.length) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', 'peers: two nodes have the same URL');
  }
  return members;
}

function requirePeerUrl(name: string, url: string): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const plain = parsed?.protocol === 'http:' || parsed?.protocol === 'https:';
  // The parser drops a port that is its scheme's own, such as 443: the text tells.
  if (parsed?.pathname === '/' && plain && /:\d+\/?$/.test(url)) return;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `peers: '${url}' of ${name} is no peer URL; use http://HOST:PORT or https://HOST:PORT`,
  );
}

/** The one of `members` that this node is. Throws `ERR_INVALID_ARGUMENT`. */
export function ownMember(place: ReplicaPlace, members: readonly MemberInfo[]): MemberInfo {
  const own = members.find((member) => member.name === place.name);
  if (own !== undefined) return own;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `name: '${place.name}' is not among peers (${members.map((member) => member.name).join(', ')})`,
  );
}
