/** Draws from streams of random numbers: only whole arithmetic, so that they are the same everywhere. */
import type { Random } from '../../core/random.ts';

const MILLION = 1_000_000;

/** Whether something happens that happens with chance `rate`, from 0 to 1. Draws nothing where it is off. */
export function chance(random: Random, rate: number): boolean {
  return rate > 0 && random.below(MILLION) < rate * MILLION;
}

/** Quantiles of the exponential distribution with mean 1, rounded: logarithms may differ in the last bit. */
const QUANTILES: readonly number[] = Array.from(
  { length: 256 },
  (_, index) => Math.round(-Math.log(1 - (index + 0.5) / 256) * 1000) / 1000,
);

/** Exponentially distributed with this mean: mostly short, now and then long. */
export function exponential(random: Random, mean: number): number {
  return mean === 0 ? 0 : mean * QUANTILES[random.below(256)]!;
}

/** A number from `least` up to `most`, in steps of a millionth of the range. */
export function between(random: Random, least: number, most: number): number {
  return least + ((most - least) * random.below(MILLION + 1)) / MILLION;
}

/** One of a list that is not empty. */
export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)]!;
}
