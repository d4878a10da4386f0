/**
 * What a new leader proposes in the slots that older ballots left open (Lamport §3, van Renesse's
 * `pmax`): for each the value of the newest ballot that a majority reports (P2c), and in the gaps
 * between them values that do nothing.
 *
 * One rule more: where two reported values stand in the wrong order of origin, a younger one before an
 * older one, that of the older acceptance is not proposed again. So along the log that is chosen the
 * origins never fall, and a proposer knows that its value will never be applied as soon as one of a younger
 * origin has been: it can propose it again without doing it twice.
 *
 * Why that loses nothing that was chosen, for slots j < i with origins o(j) > o(i), ballots a(j), a(i):
 * 1. Leader o(j) put its own value into j, behind all that its promises showed: so nothing was accepted by
 *    them in i, and nothing older than o(j) can be chosen there. If a(i) < o(j), i is not chosen.
 * 2. Else leader a(i) proposed i's value again, and by this very rule not j's. What it proposed in j, if it
 *    had a choice there, was the only thing that could be chosen from then on. If a(j) < a(i), j is not chosen.
 * 3. Else leader a(j) proposed j's again, and by this rule not i's: as before, i is not chosen.
 * In each case it is the older acceptance that is free; they cannot be of one ballot.
 */
import { assert } from '../../core/assert.ts';
import type { Entry } from '../types.ts';
import { gapFiller, type Slot } from './slot.ts';

/** Origin and ballot of acceptances seen: a handful of kinds for any number of slots. */
interface Kind {
  readonly origin: number;
  readonly ballot: number;
}

/**
 * The values to propose in the slots from `first` on.
 *
 * @param reported - the acceptance of the newest ballot for each slot; `undefined` where none was reported.
 * @param chosenTerm - origin of the newest value before `first`, all of which are chosen.
 */
export function valuesToPropose(
  first: number,
  reported: readonly (Slot | undefined)[],
  chosenTerm: number,
): Entry[] {
  const isFree = reported.map((slot) => slot !== undefined && isBefore(slot, chosenTerm));
  markOutOfOrder(reported, isFree, 'left');
  markOutOfOrder(reported, isFree, 'right');
  return reported.map((slot, at) => {
    if (slot === undefined || isFree[at] === true) return gapFiller(first + at);
    assert(slot.value.index === first + at, 'a value stays in its slot');
    return slot.value;
  });
}

function isBefore({ value }: Slot, origin: number): boolean {
  return value.term > 0 && value.term < origin;
}

/** Marks slots that stand in the wrong order to one of a newer ballot on their `side`. */
function markOutOfOrder(
  reported: readonly (Slot | undefined)[],
  isFree: boolean[],
  side: 'left' | 'right',
): void {
  const seen: Kind[] = [];
  for (let step = 0; step < reported.length; step++) {
    const at = side === 'left' ? step : reported.length - 1 - step;
    const slot = reported[at];
    const origin = slot?.value.term ?? 0;
    if (slot === undefined || origin === 0) continue;
    const { ballot } = slot;
    for (const kind of seen) {
      const isWrong = side === 'left' ? kind.origin > origin : kind.origin < origin;
      if (isWrong && kind.ballot > ballot) isFree[at] = true;
    }
    if (!seen.some((kind) => kind.origin === origin && kind.ballot === ballot)) {
      seen.push({ origin, ballot });
    }
  }
}
