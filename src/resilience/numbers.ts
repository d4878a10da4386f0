/** Numbers in options: each is checked once, before anything is made of it or changed by it. */
import { QuorateError } from '../core/errors.ts';

/** A whole number of at least `least`. @throws ERR_INVALID_ARGUMENT */
export function wholeNumber(name: string, given: number, least: number): number {
  if (Number.isSafeInteger(given) && given >= least) return given;
  throw invalid(name, given, `a whole number of at least ${least}`);
}

/** A number in `[least, most]`. @throws ERR_INVALID_ARGUMENT */
export function numberWithin(name: string, given: number, least: number, most: number): number {
  if (typeof given === 'number' && given >= least && given <= most) return given;
  throw invalid(name, given, `a number from ${least} to ${most}`);
}

/** A number above `above` that is not infinite. @throws ERR_INVALID_ARGUMENT */
export function numberAbove(name: string, given: number, above: number): number {
  if (Number.isFinite(given) && given > above) return given;
  throw invalid(name, given, `a number above ${above}`);
}

function invalid(name: string, given: number, needed: string): QuorateError {
  return new QuorateError('ERR_INVALID_ARGUMENT', `${name}: ${String(given)}; ${needed} is needed`);
}
