/**
 * The queues of the locks of one process, and who stands in them. Without I/O, timers and promises: those are
 * of `local.ts`.
 *
 * The rule of `engine.ts` makes those who hold a name a prefix of its queue: who comes after one who waits
 * has the same ones before him, and more. So a queue is one list in the order of arrival, with a mark at the
 * first who waits, and a grant looks at that one only. A name is there while somebody holds it.
 */
import type { BytesLike } from '../core/bytes.ts';
import type { LockLoss } from '../core/errors.ts';
import type { ClaimRequest } from './engine.ts';

/** Where one stands in the queue of a name. */
export class Place {
  readonly request: ClaimRequest;
  /** Who it is for, see `Space.of`. */
  readonly owner: object;
  /** Grows with every place, so also with every grant of a name: they are in the order of arrival. */
  readonly token: number;
  /** What others see, and when it was said, in the numbers of tokens. */
  value: BytesLike;
  revision: number;
  holds: boolean;
  /** What it is told while it waits, and once it holds. */
  waiter: { granted(): void; refuse(reason: unknown): void } | undefined;
  claim: { lose(why: string, loss: LockLoss): void } | undefined;
  /** `undefined` once it has left. */
  queue: Queue | undefined;
  before: Place | undefined;
  after: Place | undefined;

  constructor(request: ClaimRequest, owner: object, token: number) {
    this.request = request;
    this.owner = owner;
    this.token = token;
    this.value = request.value;
    this.revision = token;
    this.holds = false;
    this.waiter = undefined;
    this.claim = undefined;
    this.queue = undefined;
    this.before = undefined;
    this.after = undefined;
  }
}

/** All who hold a name, and behind them all who wait for it. */
export class Queue {
  readonly name: string;
  first: Place | undefined;
  last: Place | undefined;
  firstWaiting: Place | undefined;
  waiting: number;
  #holding: number;
  /** The smallest number of permits among those who hold, and how many of them have it. */
  #least: number;
  #atLeast: number;

  constructor(name: string) {
    this.name = name;
    this.first = undefined;
    this.last = undefined;
    this.firstWaiting = undefined;
    this.waiting = 0;
    this.#holding = 0;
    this.#least = Number.POSITIVE_INFINITY;
    this.#atLeast = 0;
  }

  /** Whether the next one would hold at once. */
  isFreeFor(permits: number): boolean {
    return this.firstWaiting === undefined && this.#holding < Math.min(this.#least, permits);
  }

  append(place: Place): void {
    place.queue = this;
    place.before = this.last;
    if (this.last === undefined) this.first = place;
    else this.last.after = place;
    this.last = place;
    if (this.isFreeFor(place.request.permits)) {
      this.#hold(place);
      return;
    }
    this.waiting += 1;
    this.firstWaiting ??= place;
  }

  remove(place: Place): void {
    if (place.before === undefined) this.first = place.after;
    else place.before.after = place.after;
    if (place.after === undefined) this.last = place.before;
    else place.after.before = place.before;
    if (this.firstWaiting === place) this.firstWaiting = place.after;
    place.queue = undefined;
    if (!place.holds) {
      this.waiting -= 1;
      return;
    }
    place.holds = false;
    this.#holding -= 1;
    if (place.request.permits === this.#least && --this.#atLeast === 0) this.#countLeast();
  }

  /** The first who waits, if its turn has come: it holds then. */
  next(): Place | undefined {
    const place = this.firstWaiting;
    if (place === undefined) return undefined;
    if (this.#holding >= Math.min(this.#least, place.request.permits)) return undefined;
    this.firstWaiting = place.after;
    this.waiting -= 1;
    this.#hold(place);
    return place;
  }

  #hold(place: Place): void {
    const { permits } = place.request;
    place.holds = true;
    this.#holding += 1;
    if (permits > this.#least) return;
    this.#atLeast = permits === this.#least ? this.#atLeast + 1 : 1;
    this.#least = permits;
  }

  /** Walks through those who hold: needed only where they asked for different numbers, or none is left. */
  #countLeast(): void {
    this.#least = Number.POSITIVE_INFINITY;
    for (let place = this.first; place?.holds === true; place = place.after) {
      const { permits } = place.request;
      if (permits > this.#least) continue;
      this.#atLeast = permits === this.#least ? this.#atLeast + 1 : 1;
      this.#least = permits;
    }
  }
}

/** The queues of all names that are held. */
export class Space {
  readonly #queues: Map<string, Queue>;
  /** Who is told when the first of a name is another, or says something else. */
  readonly #watchers: Map<string, Set<() => void>>;
  #count: number;

  constructor() {
    this.#queues = new Map();
    this.#watchers = new Map();
    this.#count = 0;
  }

  get size(): number {
    return this.#queues.size;
  }

  /** A place at the end, which may hold at once; `undefined` where it would wait behind `maxWaiting` others. */
  enter(request: ClaimRequest, owner: object, maxWaiting: number): Place | undefined {
    const { name, permits } = request;
    let queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, (queue = new Queue(name)));
    else if (queue.waiting >= maxWaiting && !queue.isFreeFor(permits)) return undefined;
    const place = new Place(request, owner, ++this.#count);
    queue.append(place);
    if (queue.first === place) this.#tell(name);
    return place;
  }

  /** Takes a place out of its queue, whether it holds or waits; again it does nothing. */
  leave(place: Place): void {
    const { queue } = place;
    if (queue === undefined) return;
    const wasFirst = queue.first === place;
    queue.remove(place);
    if (queue.first === undefined) this.#queues.delete(queue.name);
    for (let next = queue.next(); next !== undefined; next = queue.next()) {
      next.waiter!.granted();
    }
    if (wasFirst) this.#tell(queue.name);
  }

  setValue(place: Place, value: BytesLike): void {
    place.value = value;
    place.revision = ++this.#count;
    if (place.before === undefined) this.#tell(place.request.name);
  }

  /** The places of a name, first come first. */
  *places(name: string): Generator<Place, void, undefined> {
    for (let place = this.#queues.get(name)?.first; place !== undefined; place = place.after) {
      yield place;
    }
  }

  /** All places of one who has many. */
  of(owner: object): Place[] {
    const found: Place[] = [];
    for (const name of this.#queues.keys()) {
      for (const place of this.places(name)) if (place.owner === owner) found.push(place);
    }
    return found;
  }

  /** Calls `onChange` once; the returned function takes that back. */
  watch(name: string, onChange: () => void): () => void {
    let watchers = this.#watchers.get(name);
    if (watchers === undefined) this.#watchers.set(name, (watchers = new Set()));
    watchers.add(onChange);
    return () => {
      if (watchers.delete(onChange) && watchers.size === 0) this.#forget(name, watchers);
    };
  }

  #tell(name: string): void {
    if (this.#watchers.size === 0) return;
    const watchers = this.#watchers.get(name);
    if (watchers === undefined) return;
    this.#forget(name, watchers);
    for (const onChange of [...watchers]) onChange();
  }

  #forget(name: string, watchers: Set<() => void>): void {
    if (this.#watchers.get(name) === watchers) this.#watchers.delete(name);
  }
}
