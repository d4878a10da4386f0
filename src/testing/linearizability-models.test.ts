import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkLinearizability, type Model, type Operation } from './linearizability.ts';
import { type KvInput, type KvOutput, kvModel } from './linearizability-kv.ts';
import {
  counterModel,
  fencedModel,
  type LockInput,
  type LockOutput,
  listModel,
  lockModel,
} from './linearizability-models.ts';

/** One after the other, each with its input and output; `'?'`: unknown outcome, and open to the end. */
function verdict<State, Input, Output>(
  model: Model<State, Input, Output>,
  steps: readonly (readonly [Input, (Output | '?')?])[],
): string {
  const history = steps.map(([input, output], i): Operation<Input, Output> => {
    const callMs = 10 * i;
    if (output === '?') return { client: i, callMs, returnMs: undefined, input };
    return { client: i, callMs, returnMs: callMs + 5, input, output };
  });
  return checkLinearizability(model, history).verdict;
}

test('a counter answers with the sum of what was added', () => {
  const add = { op: 'add', by: 2 } as const;
  const read = { op: 'read' } as const;
  assert.equal(verdict(counterModel(), [[add], [add, 4], [read, 4]]), 'linearizable');
  assert.equal(verdict(counterModel(), [[add], [add, 2]]), 'not-linearizable');
  assert.equal(
    verdict(counterModel(), [
      [add, '?'],
      [read, 0],
      [read, 2],
    ]),
    'linearizable',
  );
  assert.equal(
    verdict(counterModel(), [
      [add, '?'],
      [read, 4],
    ]),
    'not-linearizable',
  );
});

test('a list shows every append once, in one order', () => {
  const append = (value: string) => ({ op: 'append', value }) as const;
  const read = { op: 'read' } as const;
  const two = [[append('a')], [append('b')]] as const;
  assert.equal(verdict(listModel(), [...two, [read, ['a', 'b']]]), 'linearizable');
  assert.equal(verdict(listModel(), [...two, [read, ['b', 'a']]]), 'not-linearizable');
  assert.equal(verdict(listModel(), [...two, [read, ['a', 'b', 'b']]]), 'not-linearizable');
  assert.equal(verdict(listModel(), [...two, [read, ['ab']]]), 'not-linearizable');
});

describe('a lock', () => {
  const acquire = (owner: string): LockInput => ({ op: 'acquire', owner });
  const release = (owner: string): LockInput => ({ op: 'release', owner });
  const check = (...steps: readonly (readonly [LockInput, (LockOutput | '?')?])[]): string =>
    verdict(lockModel(), steps);

  test('has one holder at a time', () => {
    assert.equal(check([acquire('a'), 1n], [acquire('b'), null]), 'linearizable');
    assert.equal(check([acquire('a'), 1n], [acquire('b'), 2n]), 'not-linearizable');
    assert.equal(
      check([acquire('a'), 1n], [release('a'), true], [acquire('b'), 2n]),
      'linearizable',
    );
    assert.equal(check([acquire('a'), null]), 'not-linearizable');
  });

  test('is given back by its holder only', () => {
    assert.equal(check([acquire('a'), 1n], [release('b'), false]), 'linearizable');
    assert.equal(check([acquire('a'), 1n], [release('b'), true]), 'not-linearizable');
  });

  test('gives tokens that grow', () => {
    const first = [acquire('a'), 5n] as const;
    assert.equal(check(first, [release('a')], [acquire('b'), 5n]), 'not-linearizable');
    assert.equal(check(first, [release('a')], [acquire('b'), 4n]), 'not-linearizable');
  });

  test('may expire, which is a release of unknown outcome', () => {
    assert.equal(
      check([acquire('a'), 1n], [release('a'), '?'], [acquire('b'), 2n]),
      'linearizable',
    );
    assert.equal(
      check([acquire('a'), 1n], [release('a'), '?'], [acquire('b'), null]),
      'linearizable',
    );
  });
});

test('what a lock guards takes no write with a token that is behind', () => {
  const write = (token: bigint) => ({ token });
  assert.equal(
    verdict(fencedModel(), [
      [write(2n), true],
      [write(1n), false],
    ]),
    'linearizable',
  );
  assert.equal(
    verdict(fencedModel(), [
      [write(2n), true],
      [write(1n), true],
    ]),
    'not-linearizable',
  );
  assert.equal(
    verdict(fencedModel(), [
      [write(2n), true],
      [write(2n), false],
    ]),
    'not-linearizable',
  );
});

describe('a key', () => {
  const get: KvInput = { op: 'get', key: 'k' };
  const put = (value: string): KvInput => ({ op: 'put', key: 'k', value });
  const remove: KvInput = { op: 'delete', key: 'k' };
  const swap = (ifModRevision: number, value: string | null): KvInput => ({
    op: 'txn',
    key: 'k',
    ifModRevision,
    value,
  });
  const holds = (value: string | null, modRevision: number): KvOutput => ({
    found: { value, modRevision },
  });
  const check = (...steps: readonly (readonly [KvInput, (KvOutput | '?')?])[]): string =>
    verdict(kvModel(), steps);

  test('holds what was put last, with the revision of that put', () => {
    assert.equal(check([put('a'), { revision: 2 }], [get, holds('a', 2)]), 'linearizable');
    assert.equal(check([put('a'), { revision: 2 }], [get, holds('a', 3)]), 'not-linearizable');
    assert.equal(check([put('a'), { revision: 2 }], [get, holds(null, 0)]), 'not-linearizable');
    assert.equal(check([get, holds(null, 1)]), 'not-linearizable');
  });

  test('is written with revisions that grow', () => {
    const first = [put('a'), { revision: 5 }] as const;
    assert.equal(check(first, [put('b'), { revision: 5 }]), 'not-linearizable');
    assert.equal(check(first, [remove, { deleted: true, revision: 4 }]), 'not-linearizable');
    assert.equal(check(first, [remove, { deleted: true, revision: 6 }]), 'linearizable');
  });

  test('is deleted once', () => {
    const first = [put('a'), { revision: 2 }] as const;
    const gone = [remove, { deleted: true, revision: 3 }] as const;
    assert.equal(check(first, gone, [remove, { deleted: false }]), 'linearizable');
    assert.equal(check(first, gone, [remove, { deleted: true, revision: 4 }]), 'not-linearizable');
    assert.equal(check(first, [remove, { deleted: false }]), 'not-linearizable');
  });

  test('changes in a transaction if its mod revision is the one given', () => {
    const first = [put('a'), { revision: 2 }] as const;
    const done = { succeeded: true, revision: 3 };
    assert.equal(check(first, [swap(2, 'b'), done], [get, holds('b', 3)]), 'linearizable');
    assert.equal(check(first, [swap(0, 'b'), done]), 'not-linearizable');
    assert.equal(check(first, [swap(2, 'b'), { succeeded: false }]), 'not-linearizable');
    assert.equal(
      check(first, [swap(7, 'b'), { succeeded: false }], [get, holds('a', 2)]),
      'linearizable',
    );
    assert.equal(check([swap(0, 'b'), { succeeded: true, revision: 2 }]), 'linearizable');
    assert.equal(check(first, [swap(2, null), done], [get, holds(null, 0)]), 'linearizable');
  });

  test('has a revision to be found out after a put of unknown outcome', () => {
    const lost = [put('a'), '?'] as const;
    assert.equal(check(lost, [get, holds('a', 4)], [get, holds('a', 4)]), 'linearizable');
    assert.equal(check(lost, [get, holds('a', 4)], [get, holds('a', 5)]), 'not-linearizable');
    const next = [put('b'), { revision: 4 }] as const;
    assert.equal(check(lost, [get, holds('a', 3)], next), 'linearizable');
    assert.equal(check(lost, [get, holds('a', 4)], next), 'not-linearizable');
    const swapped = [swap(3, 'c'), { succeeded: true, revision: 4 }] as const;
    assert.equal(check(lost, swapped, [get, holds('c', 4)]), 'linearizable');
    assert.equal(check(lost, swapped, [get, holds('a', 3)]), 'not-linearizable');
    assert.equal(check(lost, [swap(3, 'c'), '?'], [get, holds('c', 9)]), 'linearizable');
  });
});
