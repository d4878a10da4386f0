/** Majorities. Pure functions over small arrays: a cluster has a handful of voters. */

/** How many of `voters` make a majority. */
export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * The greatest value that a majority has reached: the k-th greatest of the first `count` values,
 * where k is the majority. 0 where nobody votes. Sorts `values` in place.
 */
export function reachedByMajority(values: number[], count: number): number {
  if (count === 0) return 0;
  for (let at = 1; at < count; at++) {
    const value = values[at]!;
    let hole = at;
    while (hole > 0 && values[hole - 1]! < value) {
      values[hole] = values[hole - 1]!;
      hole -= 1;
    }
    values[hole] = value;
  }
  return values[majority(count) - 1]!;
}

/** How an election stands. */
export type Verdict = 'won' | 'lost' | 'open';

/** The verdict when `granted` and `refused` of `voters` have answered. */
export function verdict(voters: number, granted: number, refused: number): Verdict {
  if (granted >= majority(voters)) return 'won';
  if (voters - refused < majority(voters)) return 'lost';
  return 'open';
}
