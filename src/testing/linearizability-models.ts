/**
 * Models that are ready to use: a register, one with compare-and-set and delete, a counter, a list, a
 * lock, and a key of the key-value store. Where an operation has a `key` each key is an object of its
 * own.
 *
 * An unknown outcome needs no care of its own: the checker may place such an operation or leave it
 * out, so a step says what happens *if* it happens, with an answer that nobody saw.
 */
import type { Model } from './linearizability-types.ts';

/** For operations that may name the object they are on. */
interface Keyed {
  /** The object. @defaultValue one object for all that name none */
  readonly key?: string;
}

const partition = ({ key }: Keyed): string => key ?? '';

/** `null` for a register that holds nothing. */
export type RegisterInput = Keyed &
  (
    | { readonly op: 'read' }
    | { readonly op: 'write'; readonly value: string }
    /** Writes `value` where the register holds `from`. */
    | { readonly op: 'cas'; readonly from: string | null; readonly value: string }
    | { readonly op: 'delete' }
  );

/** Of a read the value, of a compare-and-set whether it wrote; of the others nothing. */
export type RegisterOutput = string | null | boolean;

/**
 * A register: read, write, compare-and-set by value, and delete, after which it holds nothing.
 * Write values that are unique where you can: then every lost and every repeated write shows.
 */
export function registerModel(): Model<string | null, RegisterInput, RegisterOutput> {
  return {
    init: null,
    partition,
    identity: (state) => (state === null ? 'nothing' : `=${state}`),
    step(state, input, output) {
      switch (input.op) {
        case 'read':
          return output === undefined || output === state ? state : undefined;
        case 'write':
          return input.value;
        case 'delete':
          return null;
        case 'cas': {
          const succeeded = state === input.from;
          if (output !== undefined && output !== succeeded) return undefined;
          return succeeded ? input.value : state;
        }
      }
    },
  };
}

/** What is done to a counter. */
export type CounterInput = Keyed &
  ({ readonly op: 'read' } | { readonly op: 'add'; readonly by: number });

/** A counter that starts at zero; an addition may answer with the sum after it. */
export function counterModel(): Model<number, CounterInput, number> {
  return {
    init: 0,
    partition,
    step(state, input, output) {
      const next = input.op === 'add' ? state + input.by : state;
      return output === undefined || output === next ? next : undefined;
    },
  };
}

/** What is done to a list. */
export type ListInput = Keyed &
  ({ readonly op: 'read' } | { readonly op: 'append'; readonly value: string });

/** A list that is read as a whole and grows at its end: it shows every lost, repeated and swapped write. */
export function listModel(): Model<string, ListInput, readonly string[]> {
  return {
    init: '',
    partition,
    step(state, input, output) {
      if (input.op === 'append') return state + JSON.stringify(input.value);
      if (output === undefined) return state;
      return output.map((value) => JSON.stringify(value)).join('') === state ? state : undefined;
    },
  };
}

/** `owner` is unique to the attempt: a lock knows its holder by it. */
export type LockInput = Keyed &
  (
    | { readonly op: 'acquire'; readonly owner: string }
    /** Also what an expired lease does: then with unknown outcome. */
    | { readonly op: 'release'; readonly owner: string }
  );

/** Of an acquisition the fencing token, or `null` where another holds the lock; of a release whether it did. */
export type LockOutput = bigint | null | boolean;

/** Who holds the lock, and the largest token given out. */
export interface LockState {
  readonly owner: string | null;
  readonly token: bigint;
}

/** A lock that one owner holds at a time, with fencing tokens that grow from holder to holder. */
export function lockModel(): Model<LockState, LockInput, LockOutput> {
  return {
    init: { owner: null, token: -1n },
    partition,
    identity: ({ owner, token }) => `${token} ${owner === null ? 'free' : `held by ${owner}`}`,
    step(state, { op, owner }, output) {
      if (op === 'release') {
        const held = state.owner === owner;
        if (output !== undefined && output !== held) return undefined;
        return held ? { owner: null, token: state.token } : state;
      }
      if (state.owner !== null) return (output ?? null) === null ? state : undefined;
      if (output === undefined) return { owner, token: state.token };
      if (typeof output !== 'bigint' || output <= state.token) return undefined;
      return { owner, token: output };
    },
  };
}

/** A write to something that a lock guards, with the token of the lock. */
export type FencedInput = Keyed & { readonly token: bigint };

/** What a lock guards: it takes a write unless it has seen a larger token. Answers whether it did. */
export function fencedModel(): Model<bigint, FencedInput, boolean> {
  return {
    init: -1n,
    partition,
    identity: (largest) => `${largest}`,
    step(largest, { token }, output) {
      const taken = token >= largest;
      if (output !== undefined && output !== taken) return undefined;
      return taken ? token : largest;
    },
  };
}
