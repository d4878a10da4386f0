/** What the model of a key knows to be past saves steps and changes no verdict. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { checkLinearizability } from './linearizability.ts';
import { type KvInput, type KvOutput, kvModel } from './linearizability-kv.ts';
import type { Operation } from './linearizability-types.ts';

type KvOperation = Operation<KvInput, KvOutput>;

/** The model without that knowledge. */
function patientModel(): ReturnType<typeof kvModel> {
  const { isPast: _, ...model } = kvModel();
  return model;
}

function randomOperation(random: Random, client: number): KvOperation {
  const callMs = random.below(12);
  const returnMs = random.below(4) === 0 ? undefined : callMs + random.below(8);
  const revision = 1 + random.below(5);
  const value = `v${random.below(3)}`;
  const found = random.below(3) === 0 ? { value: null, modRevision: 0 } : undefined;
  const swap = { op: 'txn', key: 'k', ifModRevision: random.below(4) } as const;
  const choices: readonly (readonly [KvInput, KvOutput])[] = [
    [{ op: 'put', key: 'k', value }, { revision }],
    [{ op: 'put', key: 'k', value }, { revision }],
    [{ op: 'get', key: 'k' }, { found: found ?? { value, modRevision: revision } }],
    [
      { op: 'delete', key: 'k' },
      found === undefined ? { deleted: true, revision } : { deleted: false },
    ],
    [
      { ...swap, value },
      { succeeded: true, revision },
    ],
    [
      { ...swap, value: null },
      { succeeded: true, revision },
    ],
    [{ ...swap, value }, { succeeded: false }],
  ];
  const [input, output] = choices[random.below(choices.length)]!;
  return { client, callMs, returnMs, input, output };
}

test('histories of a key get the verdict that they get without a look at what is past', () => {
  const random = seededRandom(3);
  const counts = { linearizable: 0, 'not-linearizable': 0, unknown: 0 };
  for (let round = 0; round < 3000; round++) {
    const length = 2 + random.below(5);
    const history = Array.from({ length }, (_, client) => randomOperation(random, client));
    const expected = checkLinearizability(patientModel(), history).verdict;
    assert.equal(
      checkLinearizability(kvModel(), history).verdict,
      expected,
      JSON.stringify(history),
    );
    counts[expected]++;
  }
  assert.ok(counts.linearizable > 300 && counts['not-linearizable'] > 300, JSON.stringify(counts));
});

test('the revisions of many writes at a time put them in order in few steps', () => {
  const history: KvOperation[] = Array.from({ length: 60 }, (_, i) => ({
    client: i,
    callMs: i,
    returnMs: 100,
    input: { op: 'put', key: 'k', value: `v${i}` },
    output: { revision: 61 - i },
  }));
  const get: KvInput = { op: 'get', key: 'k' };
  const read = (value: string, modRevision: number): KvOperation[] => [
    ...history,
    {
      client: 60,
      callMs: 200,
      returnMs: 201,
      input: get,
      output: { found: { value, modRevision } },
    },
  ];
  const maxSteps = 10_000;
  const good = checkLinearizability(kvModel(), read('v0', 61), { maxSteps });
  const bad = checkLinearizability(kvModel(), read('v1', 60), { maxSteps });
  assert.deepEqual([good.verdict, bad.verdict], ['linearizable', 'not-linearizable']);
});
