/**
 * Random histories for checkers: ones that are linearizable because an object produced them, and the
 * same with one thing changed. Reproducible from the random source that is passed in.
 */
import type { Random } from '../../src/core/random.ts';
import type { Operation } from '../../src/testing/linearizability.ts';
import type { KvInput, KvOutput } from '../../src/testing/linearizability-kv.ts';
import type {
  ListInput,
  RegisterInput,
  RegisterOutput,
} from '../../src/testing/linearizability-models.ts';

export interface Shape {
  readonly clients: number;
  readonly operations: number;
  readonly keys: number;
  /** Of a hundred operations. */
  readonly unknownPercent: number;
  /** How long an operation takes at most, before and after its effect. */
  readonly spread: number;
}

/** What draws inputs and answers them, one at a time. */
interface Subject<Input, Output> {
  draw(key: string, value: string): Input;
  apply(input: Input): Output | undefined;
}

/** A history that an object produced which does one thing at a time. */
export function produce<Input, Output>(
  subject: Subject<Input, Output>,
  random: Random,
  shape: Shape,
): Operation<Input, Output>[] {
  const planned = [];
  const free = Array.from({ length: shape.clients }, () => random.below(5));
  for (let i = 0; i < shape.operations; i++) {
    const client = random.below(shape.clients);
    const callMs = free[client]! + 1 + random.below(5);
    const unknown = random.below(100) < shape.unknownPercent;
    const point = callMs + random.below(unknown ? shape.spread * 10 : shape.spread);
    const end = (unknown ? callMs : point) + random.below(shape.spread);
    free[client] = end;
    const key = `k${random.below(shape.keys)}`;
    const happens = !unknown || random.below(2) === 0;
    planned.push({ client, callMs, returnMs: unknown ? undefined : end, point, key, happens, i });
  }
  planned.sort((a, b) => a.point - b.point);
  return planned.map(({ client, callMs, returnMs, key, happens, i }) => {
    const input = subject.draw(key, `v${i}`);
    const output = happens ? subject.apply(input) : undefined;
    return { client, callMs, returnMs, input, output: returnMs === undefined ? undefined : output };
  });
}

/** The history with one thing changed; often it is not linearizable any more, sometimes it still is. */
export function mutate<Input, Output>(
  history: readonly Operation<Input, Output>[],
  random: Random,
): Operation<Input, Output>[] {
  const changed = [...history];
  const at = random.below(history.length);
  const operation = history[at]!;
  const other = history[random.below(history.length)]!;
  const { callMs, returnMs } = operation;
  switch (random.below(5)) {
    case 0: // Another answer, of the same kind of operation where one is found.
    case 1: {
      const same = (op: Operation<Input, Output>): boolean =>
        kindOf(op) === kindOf(operation) && op.output !== undefined && op !== operation;
      const others = history.filter(same);
      if (others.length > 0) {
        changed[at] = { ...operation, output: others[random.below(others.length)]!.output };
      }
      break;
    }
    case 2: // Another time.
      if (returnMs !== undefined) {
        const shift = Math.max(-callMs, random.below(60) - 30);
        const client = `${operation.client}'`;
        changed[at] = { ...operation, client, callMs: callMs + shift, returnMs: returnMs + shift };
      }
      break;
    case 3: // It did not happen.
      changed.splice(at, 1);
      break;
    default: // Something else was asked for, or of another key.
      if (kindOf(other) === kindOf(operation)) changed[at] = { ...operation, input: other.input };
  }
  return changed;
}

function kindOf({ input }: Operation<unknown, unknown>): unknown {
  return (input as { readonly op: string }).op;
}

/** Registers by key, with compare-and-set and delete. */
export function registers(random: Random): Subject<RegisterInput, RegisterOutput> {
  const values = new Map<string, string>();
  return {
    draw(key, value) {
      const current = values.get(key) ?? null;
      const kinds: RegisterInput[] = [
        { op: 'read', key },
        { op: 'read', key },
        { op: 'write', key, value },
        { op: 'cas', key, from: random.below(3) > 0 ? current : 'v0', value },
        { op: 'delete', key },
      ];
      return kinds[random.below(kinds.length)]!;
    },
    apply(input) {
      const key = input.key!;
      const value = values.get(key) ?? null;
      if (input.op === 'read') return value;
      if (input.op === 'cas' && value !== input.from) return false;
      if (input.op === 'delete') values.delete(key);
      else values.set(key, input.value);
      return input.op === 'cas' ? true : undefined;
    },
  };
}

/** Lists by key. */
export function lists(random: Random): Subject<ListInput, readonly string[]> {
  const values = new Map<string, readonly string[]>();
  return {
    draw: (key, value) =>
      random.below(2) === 0 ? { op: 'read', key } : { op: 'append', key, value },
    apply(input) {
      const list = values.get(input.key!) ?? [];
      if (input.op === 'read') return list;
      values.set(input.key!, [...list, input.value]);
      return undefined;
    },
  };
}

/** A key-value store with one revision for all keys. */
export function store(random: Random): Subject<KvInput, KvOutput> {
  let revision = 1;
  const keys = new Map<string, { value: string; modRevision: number }>();
  const found = (key: string) => keys.get(key) ?? { value: null, modRevision: 0 };
  const write = (key: string, value: string | null): number => {
    if (value === null && !keys.has(key)) return revision;
    revision++;
    if (value === null) keys.delete(key);
    else keys.set(key, { value, modRevision: revision });
    return revision;
  };
  return {
    draw(key, value) {
      const { modRevision } = found(key);
      const ifModRevision = random.below(3) > 0 ? modRevision : random.below(revision + 2);
      const written = random.below(4) === 0 ? null : value;
      const kinds: KvInput[] = [
        { op: 'get', key },
        { op: 'get', key },
        { op: 'put', key, value },
        { op: 'delete', key },
        { op: 'txn', key, ifModRevision, value: written },
      ];
      return kinds[random.below(kinds.length)]!;
    },
    apply(input) {
      const { key } = input;
      switch (input.op) {
        case 'get':
          return { found: found(key) };
        case 'put':
          return { revision: write(key, input.value) };
        case 'delete': {
          const deleted = keys.has(key);
          return { deleted, revision: write(key, null) };
        }
        case 'txn': {
          const now = found(key);
          if (now.modRevision !== input.ifModRevision) return { succeeded: false, found: now };
          return { succeeded: true, revision: write(key, input.value) };
        }
      }
    },
  };
}
