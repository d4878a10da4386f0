/** The only source of randomness, injected like the clock. */
import { randomBytes, randomInt } from 'node:crypto';

/** Where random numbers come from. */
export interface Random {
  /** A whole number in `[0, bound)`; `bound` is at most 2^32. */
  below(bound: number): number;
  /** An unsigned 63-bit number other than zero: lease ids, request ids. */
  id63(): bigint;
}

/** Random numbers of the operating system. */
export const systemRandom: Random = {
  below: (bound) => randomInt(bound),
  id63() {
    const id = randomBytes(8).readBigUInt64BE() >> 1n;
    return id === 0n ? 1n : id;
  },
};

/**
 * Random numbers that a seed determines (splitmix32): the same seed gives the same sequence on
 * every machine. For the simulator and tests.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  return {
    below: (bound) => Math.floor((next() / 0x1_0000_0000) * bound),
    id63() {
      const id = ((BigInt(next()) << 32n) | BigInt(next())) >> 1n;
      return id === 0n ? 1n : id;
    },
  };
}
