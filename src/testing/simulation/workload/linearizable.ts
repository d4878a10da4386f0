/**
 * The history of a run for the checker of linearizability, key by key: a second opinion, which knows
 * nothing of revisions' order or of what consensus chose, only of what clients asked and were told.
 */
import { type Operation as Checked, checkLinearizability } from '../../linearizability.ts';
import { type KvInput, type KvOutput, kvModel } from '../../linearizability-kv.ts';
import type { Operation } from './history.ts';

type Entry = Checked<KvInput, KvOutput>;

/** Instead of a value that nobody saw. No client writes it. */
const UNSEEN = '(unseen)';

/** Enough for any history of a run; a search that needs more says that it does not know. */
const MAX_STEPS = 300_000;

/**
 * Why no order of the operations explains the answers; `undefined` where one does, or, which `onUndecided`
 * is told, none was found in time.
 */
export function whyNotLinearizable(
  operations: readonly Operation[],
  onUndecided: () => void = () => undefined,
): string | undefined {
  const history = withoutUnseen(operations.flatMap(checked));
  const result = checkLinearizability(kvModel(), history, { maxSteps: MAX_STEPS });
  if (result.verdict === 'unknown') onUndecided();
  if (result.verdict !== 'not-linearizable') return undefined;
  return result.counterexample.message;
}

/**
 * What a write of unknown outcome wrote matters only where somebody saw it. All others get one value: then
 * any of them may stand for the rest, and the search does not try each of hundreds in turn.
 */
function withoutUnseen(history: readonly Entry[]): Entry[] {
  const seen = new Set(history.map(({ output }) => output?.found?.value));
  return history.map((entry) => {
    const { input, returnMs } = entry;
    if (returnMs !== undefined || (input.op !== 'put' && input.op !== 'txn')) return entry;
    if (input.value === null || seen.has(input.value)) return entry;
    return { ...entry, input: { ...input, value: UNSEEN } };
  });
}

/** One operation for each key that it touches; none for what surely did not happen or may be old. */
function checked(operation: Operation): Entry[] {
  const { kind, outcome, key, value, id, callOrder, returnOrder } = operation;
  if (outcome === 'not-applied') return [];
  const isAnswered = outcome === 'ok';
  const inputs = inputsOf(kind, key, value, operation.ifModRevision);
  return inputs.map((input) => ({
    client: id,
    callMs: callOrder,
    returnMs: isAnswered ? returnOrder : undefined,
    input,
    output: isAnswered ? outputOf(operation) : undefined,
  }));
}

function inputsOf(kind: string, key: string, value: string, ifModRevision: number): KvInput[] {
  switch (kind) {
    case 'put':
    case 'put-two':
      return key.split(',').map((each) => ({ op: 'put', key: each, value }));
    case 'get':
      return [{ op: 'get', key }];
    case 'delete':
      return [{ op: 'delete', key }];
    case 'compare-and-set':
      return [{ op: 'txn', key, value, ifModRevision }];
    default:
      return [];
  }
}

function outputOf({ kind, revision, modRevision, found, succeeded }: Operation): KvOutput {
  switch (kind) {
    case 'get':
      return { found: { value: found ?? null, modRevision } };
    case 'delete':
      return modRevision > 0 ? { deleted: true, revision } : { deleted: false };
    case 'compare-and-set':
      return succeeded ? { succeeded, revision } : { succeeded };
    default:
      return { revision };
  }
}
