/** Numbers in options: each is checked once, before anything is made of it or changed by it. */
import { invalid, type QuorateError } from './errors.ts';

/** A whole number of at least `least`, and at most `most` where that is given. @throws ERR_INVALID_ARGUMENT */
export function wholeNumber(name: string, given: number, least: number, most?: number): number {
  if (Number.isSafeInteger(given) && given >= least && given <= (most ?? given)) return given;
  const range = most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
  throw wrong(name, given, `a whole number ${range}`);
}

/** A number in `[least, most]`. @throws ERR_INVALID_ARGUMENT */
export function numberWithin(name: string, given: number, least: number, most: number): number {
  if (typeof given === 'number' && given >= least && given <= most) return given;
  throw wrong(name, given, `a number from ${least} to ${most}`);
}

/** A number above `above` that is not infinite. @throws ERR_INVALID_ARGUMENT */
export function numberAbove(name: string, given: number, above: number): number {
  if (Number.isFinite(given) && given > above) return given;
  throw wrong(name, given, `a number above ${above}`);
}

function wrong(name: string, given: number, needed: string): QuorateError {
  return invalid(`${name}: ${String(given)}; ${needed} is needed`);
}
