/** The members of the cluster as the API shows and changes them. etcd: Cluster service, `member.go`. */
import type { MemberChange } from './consensus/replica/member-change.ts';
import type { MemberInfo } from './consensus/replica/members.ts';
import type { Replica } from './consensus/replica/replica.ts';
import type { NodeId } from './consensus/types.ts';
import type { WaitOptions } from './core/abort.ts';
import { QuorateError } from './core/errors.ts';
import type { ApplyResult, KvStore } from './kv/store.ts';
import type * as pb from './proto/messages.ts';

/** A member's id in the API's messages as the node id of the log. */
export function nodeIdOf(id: bigint): NodeId {
  return id.toString(16).padStart(16, '0');
}

/** Members of a log, with the names and client URLs that they have told the store. */
export class NodeMembers {
  readonly #replica: Replica<ApplyResult>;
  readonly #store: KvStore;
  readonly #header: () => pb.ResponseHeader;

  constructor(replica: Replica<ApplyResult>, store: KvStore, header: () => pb.ResponseHeader) {
    this.#replica = replica;
    this.#store = store;
    this.#header = header;
  }

  async list(request: pb.MemberListRequest, options?: WaitOptions): Promise<pb.MemberListResponse> {
    if (request.linearizable) await this.#replica.readBarrier(options);
    return { header: this.#withoutRevision(), members: this.#shown(this.#replica.members.list()) };
  }

  async add(request: pb.MemberAddRequest, options?: WaitOptions): Promise<pb.MemberAddResponse> {
    const { isLearner: learner } = request;
    const peerUrls = requireUrls(request.peerUrls);
    const after = await this.#change({ kind: 'add', member: { peerUrls, learner } }, options);
    const added = after.members.find((member) => member.peerUrls.join() === peerUrls.join());
    // Gone again, or moved, by the time that this node has applied it.
    if (added === undefined) throw goneAgain(peerUrls);
    return { header: after.header, member: added, members: after.members };
  }

  remove(request: pb.MemberRemoveRequest, options?: WaitOptions): Promise<pb.MemberRemoveResponse> {
    return this.#change({ kind: 'remove', id: nodeIdOf(request.id) }, options);
  }

  update(request: pb.MemberUpdateRequest, options?: WaitOptions): Promise<pb.MemberUpdateResponse> {
    const peerUrls = requireUrls(request.peerUrls);
    return this.#change({ kind: 'update', id: nodeIdOf(request.id), peerUrls }, options);
  }

  promote(
    request: pb.MemberPromoteRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberPromoteResponse> {
    return this.#change({ kind: 'promote', id: nodeIdOf(request.id) }, options);
  }

  async #change(change: MemberChange, options?: WaitOptions): Promise<pb.MemberRemoveResponse> {
    const members = await this.#replica.changeMembers([change], options);
    return { header: this.#withoutRevision(), members: this.#shown(members) };
  }

  #shown(members: readonly MemberInfo[]): pb.Member[] {
    return members.map((member) => {
      const id = BigInt(`0x${member.id}`);
      const attributes = this.#store.members.get(id);
      // A member that never started has told nobody its name: empty, as etcd shows it.
      return {
        id,
        name: attributes?.name ?? '',
        peerUrls: [...member.peerUrls],
        clientUrls: [...(attributes?.clientUrls ?? [])],
        isLearner: member.learner,
      };
    });
  }

  /** The list of members is no part of the store: it has no revision. */
  #withoutRevision(): pb.ResponseHeader {
    return { ...this.#header(), revision: 0 };
  }
}

/** In etcd's order. Throws `ERR_BAD_PEER_URLS`. */
function requireUrls(urls: readonly string[]): string[] {
  const bad = urls.find((url) => !isPeerUrl(url));
  if (urls.length > 0 && bad === undefined) return [...urls].sort();
  const what = bad === undefined ? 'none is given' : `'${bad}' is none`;
  throw new QuorateError(
    'ERR_BAD_PEER_URLS',
    `peer URLs: ${what}; use http://HOST:PORT or https://HOST:PORT`,
  );
}

function isPeerUrl(url: string): boolean {
  const parsed = URL.parse(url);
  const plain = parsed?.protocol === 'http:' || parsed?.protocol === 'https:';
  // The parser drops a port that is its scheme's own: the text tells.
  return plain && parsed.pathname === '/' && /:\d+\/?$/.test(url);
}

function goneAgain(peerUrls: readonly string[]): QuorateError {
  return new QuorateError(
    'ERR_TIMEOUT',
    `the member at ${peerUrls.join()} was added and changed or removed meanwhile; list the members`,
    { outcome: 'unknown' },
  );
}
