/**
 * What a watch remembers so that each event reaches the user once, whatever happens to the
 * connection: the revision from which all is still to come, and how much of that revision has
 * come already where the user let revisions be split.
 */
import type * as pb from '../../proto/messages.ts';

export class Watched {
  readonly request: pb.WatchCreateRequest;
  /** The id the user knows; -1 until the store accepted the watch. */
  id: number;
  /** The id on the stream there is now; -1 where it has none. Servers number anew on every stream. */
  serverId: number;
  /** Whether the user was told that it is created. */
  accepted: boolean;
  /** The user wants it to end. */
  canceling: boolean;
  /** All before it was delivered; 0: begin after the revision that the created reply names. */
  #nextRevision: number;
  /** Events of `#nextRevision` that were delivered, in fragments. */
  #deliveredOfNext: number;
  /** Events of `#nextRevision` to leave out because they come again. */
  #repeated: number;

  constructor(request: pb.WatchCreateRequest) {
    this.request = { ...request };
    this.id = -1;
    this.serverId = -1;
    this.accepted = false;
    this.canceling = false;
    this.#nextRevision = request.startRevision;
    this.#deliveredOfNext = 0;
    this.#repeated = 0;
  }

  /** The id that is asked for on the wire; 0: whichever the server gives. */
  get wireId(): number {
    return this.accepted ? this.id : this.request.watchId;
  }

  /** The request that makes it on a new stream, or goes on with it there. */
  createRequest(): pb.WatchCreateRequest {
    this.serverId = -1;
    this.#repeated = this.#deliveredOfNext;
    return { ...this.request, watchId: this.wireId, startRevision: this.#nextRevision };
  }

  /** The store has accepted it at `revision`. */
  created(serverId: number, revision: number): void {
    this.serverId = serverId;
    // Only a watch that was to begin "now" begins here; any other has history to come.
    if (this.#nextRevision === 0) this.#nextRevision = revision + 1;
  }

  /** All up to `revision` has been delivered. Returns whether that is no less than was known before. */
  progressed(revision: number): boolean {
    if (this.#nextRevision === 0) return true;
    if (revision + 1 < this.#nextRevision) return false;
    if (this.#deliveredOfNext === 0) this.#nextRevision = revision + 1;
    return true;
  }

  /**
   * The part of `response` that the user has not had, or `undefined` where it has had all of it.
   * What is returned counts as delivered.
   */
  advance(response: pb.WatchResponse): pb.WatchResponse | undefined {
    const events = response.events;
    const first = this.#firstNew(events);
    if (first === events.length) return this.#nothingNew(response);
    const last = events.at(-1)!.kv.modRevision;
    if (response.fragment) {
      const before = last === this.#nextRevision ? this.#deliveredOfNext : 0;
      let count = 0;
      for (let i = events.length - 1; i >= first && events[i]!.kv.modRevision === last; i--)
        count++;
      this.#nextRevision = last;
      this.#deliveredOfNext = before + count;
    } else {
      this.#nextRevision = last + 1;
      this.#deliveredOfNext = 0;
    }
    return first === 0 ? response : { ...response, events: events.slice(first) };
  }

  /** Events come in one order, always the same: those delivered before are at the front. */
  #firstNew(events: readonly pb.EventMessage[]): number {
    for (let i = 0; i < events.length; i++) {
      const revision = events[i]!.kv.modRevision;
      if (revision < this.#nextRevision) continue;
      if (revision > this.#nextRevision) this.#repeated = 0;
      if (this.#repeated === 0) return i;
      this.#repeated--;
    }
    return events.length;
  }

  /** The connection broke after the last event of a split revision, before that was said. */
  #nothingNew(response: pb.WatchResponse): pb.WatchResponse | undefined {
    if (response.fragment || this.#deliveredOfNext === 0) return undefined;
    const revision = this.#nextRevision;
    this.#nextRevision = revision + 1;
    this.#deliveredOfNext = 0;
    this.#repeated = 0;
    return { ...response, header: { ...response.header, revision }, events: [] };
  }
}
