/**
 * A list out of whose middle anything is taken in one step. For what comes and goes many times a second: a `Set` or a
 * `Map` is made anew every few deletions, and each keeps the one before it from being collected as young.
 */

/** Where something stands. */
export interface Place<T> {
  readonly value: T;
  before: Place<T> | undefined;
  after: Place<T> | undefined;
  isListed: boolean;
}

/** See the head of this file. */
export class LinkedList<T> implements Iterable<T> {
  #first: Place<T> | undefined;
  #last: Place<T> | undefined;

  constructor() {
    this.#first = undefined;
    this.#last = undefined;
  }

  get first(): Place<T> | undefined {
    return this.#first;
  }

  /** Puts it at the end. */
  push(value: T): Place<T> {
    const place = { value, before: this.#last, after: undefined, isListed: true };
    if (this.#last === undefined) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    return place;
  }

  /** Takes it out, unless it is out. */
  remove(place: Place<T>): void {
    if (!place.isListed) return;
    const { before, after } = place;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    place.before = undefined;
    place.after = undefined;
    place.isListed = false;
  }

  /** Nothing may be taken out meanwhile. */
  *[Symbol.iterator](): Generator<T> {
    for (let place = this.#first; place !== undefined; place = place.after) yield place.value;
  }
}
