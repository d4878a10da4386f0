/** Priorities: 0 matters most; each is a level of its own, up to the last one. */
import { invalid } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';

/** Each level is looked at for the next one that may begin, so there are not too many. */
const MAX_LEVELS = 100;

/** How many there are. @throws ERR_INVALID_ARGUMENT */
export function levelsOf(levels: number): number {
  return wholeNumber('levels', levels, 1, MAX_LEVELS);
}

/** The level of a priority. @throws ERR_INVALID_ARGUMENT */
export function levelOf(priority: number, levels: number): number {
  if (Number.isInteger(priority) && priority >= 0) return Math.min(priority, levels - 1);
  throw invalid(`priority: ${priority}; a whole number from 0 is needed, 0 matters most`);
}
