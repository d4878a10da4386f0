/**
 * What becomes of changes that were proposed: like a proposal, a change is known by the index and term
 * that its entry got. See `proposals.ts` for why nothing less will do.
 */
import type { QuorateError } from '../../core/errors.ts';

/** Where a change is in the log. */
export interface Place {
  readonly index: number;
  readonly term: number;
}

/** `refused`: applied, but it conflicted with an earlier one. `lost`: it never will be applied. */
export type Fate = 'applied' | 'lost' | 'unknown' | 'late' | { readonly refused: QuorateError };

interface Waiting extends Place {
  readonly deadline: number;
  readonly resolve: (fate: Fate) => void;
}

interface Passed extends Place {
  readonly refusal: QuorateError | undefined;
}

/** Applied changes that are remembered, for those whose place is heard of later. */
const MAX_PASSED = 64;

export class ChangeFates {
  #waiting: Waiting[] = [];
  /** Applied, and waiting for the joint configuration to end. */
  #joint: Waiting[] = [];
  /** Applied, and to be told so when the disk has all of it; those for which it works. */
  #settling: Waiting[] = [];
  #flushing: Waiting[] = [];
  #passed: Passed[] = [];
  /** What was applied up to here is not remembered. */
  #forgottenTo: number;
  /** Nothing is applied any more. */
  #hasEnded = false;

  constructor(appliedIndex: number) {
    this.#forgottenTo = appliedIndex;
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** `applied` is the newest entry applied here. */
  of(place: Place, applied: Place, isJoint: boolean, deadline: number): Promise<Fate> {
    if (this.#hasEnded) return Promise.resolve('unknown');
    return new Promise((resolve) => {
      const waiting: Waiting = { ...place, deadline, resolve };
      if (place.index > applied.index) {
        if (place.term < applied.term) resolve('lost');
        else this.#waiting.push(waiting);
        return;
      }
      const passed = this.#passed.find(({ index }) => index === place.index);
      if (passed !== undefined && passed.term === place.term)
        this.#settle(waiting, passed, isJoint);
      else resolve(passed === undefined && place.index <= this.#forgottenTo ? 'unknown' : 'lost');
    });
  }

  #settle(waiting: Waiting, { refusal }: Passed, isJoint: boolean): void {
    if (refusal !== undefined) waiting.resolve({ refused: refusal });
    else if (isJoint) this.#joint.push(waiting);
    else this.#settling.push(waiting);
  }

  /** The change at `place` was applied; `isJoint`: a joint configuration is in force now. */
  changed(place: Place, refusal: QuorateError | undefined, isJoint: boolean): void {
    const passed = { ...place, refusal };
    this.#passed.push(passed);
    if (this.#passed.length > MAX_PASSED) this.#forgottenTo = this.#passed.shift()!.index;
    if (!isJoint) this.#settling.push(...this.#joint.splice(0));
    this.#waiting = this.#waiting.filter((waiting) => {
      if (waiting.index !== place.index || waiting.term !== place.term) return true;
      this.#settle(waiting, passed, isJoint);
      return false;
    });
    this.passed(place);
  }

  /** An entry was applied: what had its index, or comes later in an older term, is lost. */
  passed({ index, term }: Place): void {
    this.#waiting = this.#waiting.filter((waiting) => {
      const isOpen = waiting.index > index && waiting.term >= term;
      if (!isOpen) waiting.resolve('lost');
      return isOpen;
    });
  }

  /** A snapshot took the place of the entries up to `index`. */
  skippedTo(index: number, isJoint: boolean): void {
    this.#forgottenTo = index;
    this.#passed = [];
    if (!isJoint) this.#settling.push(...this.#joint.splice(0));
    this.#waiting = this.#waiting.filter((waiting) => {
      if (waiting.index > index) return true;
      waiting.resolve('unknown');
      return false;
    });
  }

  /** Those that wait for the disk alone: call what is returned when all up to now is on it, or failed. */
  takeSettling(): ((error: Error | undefined) => void) | undefined {
    if (this.#settling.length === 0) return undefined;
    const settling = this.#settling;
    this.#settling = [];
    this.#flushing.push(...settling);
    return (error) => {
      for (const { resolve } of settling) resolve(error === undefined ? 'applied' : 'unknown');
      this.#flushing = this.#flushing.filter((waiting) => !settling.includes(waiting));
    };
  }

  expire(now: number): void {
    this.#waiting = expired(this.#waiting, now);
    this.#joint = expired(this.#joint, now);
    this.#flushing = expired(this.#flushing, now);
  }

  /** The replica stops. */
  end(): void {
    this.#hasEnded = true;
    const all = [this.#waiting, this.#joint, this.#settling, this.#flushing];
    for (const { resolve } of all.flat()) resolve('unknown');
    this.#waiting = [];
    this.#joint = [];
    this.#settling = [];
    this.#flushing = [];
  }
}

/** Tells those whose time is over; returns the others. */
function expired(waiting: Waiting[], now: number): Waiting[] {
  if (waiting.length === 0) return waiting;
  return waiting.filter(({ deadline, resolve }) => {
    if (deadline > now) return true;
    resolve('late');
    return false;
  });
}
