/**
 * Whom the transport connects to: the members, and for a while those that were removed, so that they can
 * hear of it and the others get the votes they may still need of them. Also the end of this node's own
 * membership.
 */
import type { Transport } from '../transport.ts';
import type { NodeId } from '../types.ts';
import type { Members } from './members.ts';
import type { ReplicaSettings } from './settings.ts';

/** So many election timeouts a removed node stays connected. */
const FAREWELL_ELECTIONS = 3;

export class PeerList {
  readonly #id: NodeId;
  readonly #members: Members;
  readonly #transport: Transport;
  readonly #farewellTicks: number;
  /** Ticks that removed nodes have left. */
  readonly #leaving: Map<NodeId, number>;
  /** Removed nodes that are heard no more. */
  readonly #gone: Set<NodeId>;
  #isFirst: boolean;
  /** Ticks that this node has left, once it was removed. */
  #ownTicks: number | undefined;

  constructor(id: NodeId, members: Members, transport: Transport, settings: ReplicaSettings) {
    this.#id = id;
    this.#members = members;
    this.#transport = transport;
    this.#farewellTicks =
      FAREWELL_ELECTIONS * Math.ceil(settings.electionMs / settings.heartbeatMs);
    this.#leaving = new Map();
    this.#gone = new Set();
    this.#isFirst = true;
    this.#ownTicks = undefined;
  }

  /** The members changed. What was removed before this node started is long gone. */
  changed(): void {
    const peers = this.#members.peers();
    for (const id of this.#members.removed()) {
      if (peers.has(id) || this.#gone.has(id) || this.#leaving.has(id)) continue;
      if (id === this.#id) this.#ownTicks ??= this.#farewellTicks;
      else if (this.#isFirst) this.#gone.add(id);
      else this.#leaving.set(id, this.#farewellTicks);
    }
    this.#isFirst = false;
    this.#tell();
  }

  #tell(): void {
    const peers = this.#members.peers();
    peers.delete(this.#id);
    this.#transport.setPeers(peers, this.#gone);
  }

  /** Returns whether this node's own time is over. A leader goes on until another one leads. */
  tick(isLeading: boolean): boolean {
    let isNews = false;
    for (const [id, ticks] of this.#leaving) {
      this.#leaving.set(id, ticks - 1);
      if (ticks > 1) continue;
      this.#leaving.delete(id);
      this.#gone.add(id);
      isNews = true;
    }
    if (isNews) this.#tell();
    if (this.#ownTicks === undefined || isLeading) return false;
    this.#ownTicks -= 1;
    return this.#ownTicks <= 0;
  }
}
