import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import { checkLinearizability, type Model, type Operation } from './linearizability.ts';
import {
  type RegisterInput,
  type RegisterOutput,
  registerModel,
} from './linearizability-models.ts';

type Entry = Operation<RegisterInput, RegisterOutput>;

const write = (
  client: number,
  callMs: number,
  returnMs: number | undefined,
  value: string,
): Entry => ({
  client,
  callMs,
  returnMs,
  input: { op: 'write', value },
});
const read = (client: number, callMs: number, returnMs: number, output: string | null): Entry => ({
  client,
  callMs,
  returnMs,
  input: { op: 'read' },
  output,
});

function verdict(history: readonly Entry[]): string {
  return checkLinearizability(registerModel(), history).verdict;
}

describe('a history is linearizable', () => {
  test('when it is empty', () => assert.equal(verdict([]), 'linearizable'));

  test('when concurrent reads see a write early and late, in an order that fits', () => {
    const history = [write(1, 0, 10, 'a'), read(2, 1, 3, null), read(3, 4, 6, 'a')];
    assert.equal(verdict(history), 'linearizable');
  });

  test('when operations of two clients touch at one time, in either order', () => {
    assert.equal(verdict([write(1, 0, 5, 'a'), read(2, 5, 6, null)]), 'linearizable');
    assert.equal(verdict([write(1, 0, 5, 'a'), read(2, 5, 6, 'a')]), 'linearizable');
  });

  test('when a write of unknown outcome takes effect late, or never', () => {
    const unknown = write(1, 0, undefined, 'a');
    assert.equal(verdict([unknown, read(2, 50, 60, null), read(2, 70, 80, 'a')]), 'linearizable');
    assert.equal(verdict([unknown, read(2, 50, 60, null)]), 'linearizable');
  });

  test('when the answer came in another order than the calls', () => {
    const history = [read(2, 1, 9, 'b'), write(1, 0, 4, 'a'), write(3, 2, 8, 'b')];
    assert.equal(verdict(history), 'linearizable');
  });
});

describe('a history is not linearizable', () => {
  test('when a read misses a write that was answered before', () => {
    assert.equal(verdict([write(1, 0, 5, 'a'), read(2, 6, 7, null)]), 'not-linearizable');
  });

  test('when two reads see two writes in different orders', () => {
    const writes = [write(1, 0, 100, 'a'), write(2, 0, 100, 'b')];
    const reads = [read(3, 1, 2, 'a'), read(3, 3, 4, 'b'), read(4, 5, 6, 'a')];
    assert.equal(verdict([...writes, ...reads]), 'not-linearizable');
  });

  test('when a read returns what was never written', () => {
    assert.equal(verdict([write(1, 0, 5, 'a'), read(2, 1, 9, 'x')]), 'not-linearizable');
  });

  test('when a write of unknown outcome takes effect, is undone and takes effect again', () => {
    const history = [write(1, 0, undefined, 'a'), read(2, 1, 2, 'a'), write(2, 3, 4, 'b')];
    history.push(read(2, 5, 6, 'b'), read(2, 7, 8, 'a'));
    assert.equal(verdict(history), 'not-linearizable');
  });

  test('when a write of unknown outcome is seen before it was called', () => {
    assert.equal(verdict([read(2, 1, 2, 'a'), write(1, 3, undefined, 'a')]), 'not-linearizable');
  });

  test('when a client does not see its own write that returned at the time of the read', () => {
    assert.equal(verdict([write(1, 0, 5, 'a'), read(1, 5, 6, null)]), 'not-linearizable');
    assert.equal(verdict([write(1, 5, 5, 'a'), read(1, 5, 5, null)]), 'not-linearizable');
  });

  test('for one of many objects', () => {
    const on = (key: string, entry: Entry): Entry => ({ ...entry, input: { ...entry.input, key } });
    const history = ['x', 'y', 'z'].flatMap((key) => [
      on(key, write(1, 0, 5, key)),
      on(key, read(2, 6, 7, key === 'y' ? null : key)),
    ]);
    const result = checkLinearizability(registerModel(), history);
    assert.ok(result.verdict === 'not-linearizable');
    assert.equal(result.counterexample.partition, 'y');
  });
});

test('the explanation names the operation that does not fit and what came before', () => {
  const history = [
    write(1, 0, 5, 'a'),
    write(1, 6, 9, 'b'),
    read(2, 10, 14, 'a'),
    read(3, 11, 20, 'c'),
    read(3, 21, 24, 'b'),
  ];
  const result = checkLinearizability(registerModel(), history);
  assert.ok(result.verdict === 'not-linearizable');
  const { blocked, prefix, concurrent, state, message } = result.counterexample;
  assert.equal(blocked, history[2]);
  assert.deepEqual(prefix, [history[0], history[1]]);
  assert.deepEqual(concurrent, [history[3]]);
  assert.equal(state, '"=b"');
  assert.equal(
    message,
    [
      'the history is not linearizable: no order explains',
      '    client 2 [10, 14] {"op":"read"} → "a"',
      '  in state "=b", the last one reached, after',
      '    client 1 [0, 5] {"op":"write","value":"a"} → nothing',
      '    client 1 [6, 9] {"op":"write","value":"b"} → nothing',
      '  nor do these fit next',
      '    client 3 [11, 20] {"op":"read"} → "c"',
    ].join('\n'),
  );
});

test('an operation that returns before its call is refused', () => {
  for (const bad of [
    read(1, 5, 4, null),
    read(1, Number.NaN, 4, null),
    read(1, 0, Infinity, null),
  ]) {
    assert.throws(
      () => verdict([bad]),
      (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT'),
    );
  }
});

test('a search that needs more steps than allowed says that it does not know', () => {
  const writes = Array.from({ length: 12 }, (_, i) => write(i, 0, 100, `v${i}`));
  const history = [...writes, read(20, 101, 102, 'none')];
  const result = checkLinearizability(registerModel(), history, { maxSteps: 1000 });
  assert.equal(result.verdict, 'unknown');
  assert.ok(result.steps >= 1000 && result.steps < 1010, `${result.steps} steps`);
  const whole = checkLinearizability(registerModel(), history);
  assert.equal(whole.verdict, 'not-linearizable');
});

test('many writes of unknown outcome that nobody saw do not multiply the work', () => {
  const history = Array.from({ length: 40 }, (_, i) => write(i, 0, undefined, `lost${i}`));
  for (let i = 0; i < 30; i++) {
    history.push(
      write(100, 10 * i + 1, 10 * i + 2, `v${i}`),
      read(100, 10 * i + 3, 10 * i + 4, `v${i}`),
    );
  }
  assert.equal(verdict(history), 'linearizable');
  const bad = checkLinearizability(registerModel(), [...history, read(100, 999, 1000, 'v3')]);
  assert.equal(bad.verdict, 'not-linearizable');
  assert.ok(bad.steps < 200_000, `${bad.steps} steps`);
});

test('writes of unknown outcome that ask for the same stand for each other', () => {
  const history = Array.from({ length: 100 }, (_, i) => write(i, 0, undefined, 'again'));
  for (let at = 10; at < 200; at += 10) {
    history.push(write(100, at, at + 1, `v${at}`), read(101, at + 2, at + 3, 'again'));
  }
  const maxSteps = 1000;
  const good = checkLinearizability(registerModel(), history, { maxSteps });
  assert.equal(good.verdict, 'linearizable');
  const isPast = [...history, read(101, 200, 201, 'v10')];
  const bad = checkLinearizability(registerModel(), isPast, { maxSteps });
  assert.equal(bad.verdict, 'not-linearizable');
});

test('what many configurations cost that cannot take each other’s place counts as steps', () => {
  // The next read needs one write more, and each set of so many is as good as the others.
  let modelSteps = 0;
  const model: Model<number, RegisterInput, RegisterOutput> = {
    init: 0,
    step: (sum, { op }, output) => {
      modelSteps++;
      if (op === 'write') return sum + 1;
      return sum >= Number(output) ? sum : undefined;
    },
  };
  const history = Array.from({ length: 40 }, (_, i) => write(i, 0, undefined, `lost${i}`));
  for (let i = 1; i <= 4; i++) history.push(read(100, 10 * i, 10 * i + 1, String(i)));
  history.push(read(100, 50, 51, 'no number'));
  const { verdict, steps } = checkLinearizability(model, history, { maxSteps: 30_000 });
  assert.equal(verdict, 'unknown');
  assert.ok(modelSteps < steps / 2, `${steps} steps, ${modelSteps} of them of the model`);
});

/** Every order of every subset of the unknown ones: slow, and plainly right. */
function byTrial<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  state = model.init,
): boolean {
  if (history.every(({ returnMs }) => returnMs === undefined)) return true;
  const first = Math.min(...history.map(({ returnMs }) => returnMs ?? Infinity));
  return history.some((operation) => {
    if (operation.callMs > first) return false;
    const { returnMs, input, output } = operation;
    const next = model.step(state, input, returnMs === undefined ? undefined : output);
    if (next === undefined) return false;
    return byTrial(
      model,
      history.filter((other) => other !== operation),
      next,
    );
  });
}

test('small random histories get the verdict of trying every order', () => {
  const random = seededRandom(7);
  const counts = { good: 0, bad: 0 };
  for (let round = 0; round < 3000; round++) {
    const history: Entry[] = [];
    const length = 2 + random.below(6);
    for (let i = 0; i < length; i++) {
      const callMs = random.below(12);
      const returnMs = random.below(5) === 0 ? undefined : callMs + random.below(8);
      const value = `v${random.below(3)}`;
      const from = random.below(2) === 0 ? null : `v${random.below(3)}`;
      const choices: readonly [RegisterInput, RegisterOutput | undefined][] = [
        [{ op: 'read' }, from],
        [{ op: 'write', value }, undefined],
        [{ op: 'cas', from, value }, random.below(2) === 0],
        [{ op: 'delete' }, undefined],
      ];
      const [input, output] = choices[random.below(choices.length)]!;
      history.push({ client: i, callMs, returnMs, input, output });
    }
    const expected = byTrial(registerModel(), history);
    counts[expected ? 'good' : 'bad']++;
    assert.equal(verdict(history) === 'linearizable', expected, JSON.stringify(history));
  }
  assert.ok(counts.good > 500 && counts.bad > 500, JSON.stringify(counts));
});

test('ten thousand operations of eight clients on ten keys take few steps', () => {
  const random = seededRandom(8);
  const values = new Map<string, string>();
  const free = new Array<number>(8).fill(0);
  const history: Entry[] = [];
  for (let point = 0; history.length < 10_000; point++) {
    const client = point % 8;
    const key = `k${random.below(10)}`;
    const [callMs, returnMs] = [Math.max(free[client]!, point - random.below(8)), point + 1];
    free[client] = returnMs;
    if (random.below(2) === 0) {
      const output = values.get(key) ?? null;
      history.push({ client, callMs, returnMs, input: { op: 'read', key }, output });
    } else {
      values.set(key, `v${point}`);
      history.push({ client, callMs, returnMs, input: { op: 'write', key, value: `v${point}` } });
    }
  }
  const result = checkLinearizability(registerModel(), history);
  assert.equal(result.verdict, 'linearizable');
  assert.ok(result.steps < 30_000, `${result.steps} steps`);
});
