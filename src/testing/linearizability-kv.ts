/**
 * One key of the key-value store as a model: put, get, delete, and transactions that compare the mod
 * revision, with the revisions that etcd's rules give them (etcd api: KV). Keys are independent objects
 * here: what revisions say across keys is for others to check.
 */
import type { Model } from './linearizability-types.ts';

/** What is done to a key. */
export type KvInput =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'delete'; readonly key: string }
  /** Puts `value`, or deletes where that is `null`, if the key's mod revision is as given; 0: absent. */
  | {
      readonly op: 'txn';
      readonly key: string;
      readonly ifModRevision: number;
      readonly value: string | null;
    };

/** What a key holds; `null` and 0 where it does not exist. */
export interface KvFound {
  readonly value: string | null;
  readonly modRevision: number;
}

/** What was answered. */
export interface KvOutput {
  /** Of a write its revision; where nothing was written it says nothing. */
  readonly revision?: number;
  /** Of a get, and where a transaction's `else` read the key. */
  readonly found?: KvFound;
  /** Of a delete. */
  readonly deleted?: boolean;
  /** Of a transaction. */
  readonly succeeded?: boolean;
}

/** What the key holds, and what is known of its last change. */
export interface KvState {
  readonly value: string | null;
  /** Of the last change where that is exact; otherwise of one before it, or more. */
  readonly revision: number;
  /** `false` after a change whose answer nobody saw: it has a revision above `revision`. */
  readonly exact: boolean;
}

/**
 * The model of a key. Give every write a value of its own. Reads must be linearizable ones: a
 * serializable read is allowed to be old.
 */
export function kvModel(): Model<KvState, KvInput, KvOutput> {
  return {
    init: { value: null, revision: 0, exact: true },
    partition: ({ key }) => key,
    identity: ({ value, revision, exact }) =>
      `${value === null ? 'absent' : JSON.stringify(value)} ${exact ? '@' : '>'}${revision}`,
    isPast,
    step(state, input, output) {
      switch (input.op) {
        case 'get':
          return output?.found === undefined ? state : seen(state, output.found);
        case 'put':
          return changed(state, input.value, output);
        case 'delete': {
          const deleted = state.value !== null;
          if (output?.deleted !== undefined && output.deleted !== deleted) return undefined;
          return deleted ? changed(state, null, output) : state;
        }
        case 'txn':
          return transacted(state, input.ifModRevision, input.value, output);
      }
    },
  };
}

/** The smallest revision that the next change can have, less one. */
function floorOf({ revision, exact }: KvState): number {
  return exact ? revision : revision + 1;
}

function changed(
  state: KvState,
  value: string | null,
  output: KvOutput | undefined,
): KvState | undefined {
  const floor = floorOf(state);
  const revision = output?.revision;
  if (revision === undefined) return { value, revision: floor, exact: false };
  return revision > floor ? { value, revision, exact: true } : undefined;
}

/** Revisions only grow: what was answered with one that is behind cannot come any more. */
function isPast(state: KvState, input: KvInput, output: KvOutput): boolean {
  const { revision, found, deleted, succeeded } = output;
  const floor = floorOf(state);
  if (input.op === 'get') {
    const seenAt = found?.modRevision ?? 0;
    return seenAt > 0 && seenAt < floor;
  }
  if (revision === undefined || revision > floor) return false;
  if (input.op === 'put') return true;
  // A transaction that deletes may find nothing to delete, and then takes no revision.
  return input.op === 'delete' ? deleted === true : succeeded === true && input.value !== null;
}

/** A read tells which revision the last change had. */
function seen(state: KvState, { value, modRevision }: KvFound): KvState | undefined {
  if (value !== state.value) return undefined;
  if (value === null) return modRevision === 0 ? state : undefined;
  if (state.exact) return modRevision === state.revision ? state : undefined;
  return modRevision > state.revision ? { value, revision: modRevision, exact: true } : undefined;
}

function transacted(
  state: KvState,
  wanted: number,
  value: string | null,
  output: KvOutput | undefined,
): KvState | undefined {
  const present = state.value !== null;
  const known = !present || state.exact;
  const may = known ? wanted === (present ? state.revision : 0) : wanted > state.revision;
  const must = known && may;
  // Where both are possible and nobody saw which: that it did nothing is the same as leaving it out.
  const succeeded = output?.succeeded ?? may;
  if (succeeded ? !may : must) return undefined;
  if (!succeeded) return output?.found === undefined ? state : seen(state, output.found);
  const before = known ? state : { value: state.value, revision: wanted, exact: true };
  // The deletion of an absent key changes nothing.
  return value === null && !present ? before : changed(before, value, output);
}
