import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Operation } from './history.ts';
import { whyNotLinearizable } from './linearizable.ts';

let order = 0;

/** An operation that began and ended before the next one. */
function operation(fields: Partial<Operation>): Operation {
  order += 2;
  return {
    id: order,
    client: 1,
    kind: 'get',
    key: 'k1',
    value: '',
    ifModRevision: -1,
    callMs: 0,
    callOrder: order,
    floor: 0,
    returnMs: 0,
    returnOrder: order + 1,
    outcome: 'ok',
    revision: 0,
    found: undefined,
    succeeded: true,
    modRevision: 0,
    ...fields,
  };
}

const written = operation({ kind: 'put', value: 'x', revision: 2, modRevision: 2 });

test('answers in an order that explains them are linearizable', () => {
  const history = [
    written,
    operation({ found: 'x', modRevision: 2 }),
    operation({ kind: 'compare-and-set', value: 'y', ifModRevision: 2, revision: 3 }),
    operation({ kind: 'compare-and-set', value: 'z', ifModRevision: 2, succeeded: false }),
    operation({ kind: 'put-two', key: 'k1,k2', value: 'w', revision: 4 }),
    operation({ key: 'k2', found: 'w', modRevision: 4 }),
    operation({ kind: 'delete', revision: 5, modRevision: 5 }),
    operation({ kind: 'delete' }),
    operation({}),
  ];
  assert.equal(whyNotLinearizable(history), undefined);
});

test('a read that does not see what was written before it is not', () => {
  assert.match(whyNotLinearizable([written, operation({})]) ?? '', /k1/);
});

test('a write of unknown outcome may be seen or not; one that did not happen may not', () => {
  const unknown = operation({ kind: 'put', value: 'u', outcome: 'unknown', returnMs: undefined });
  const seen = operation({ found: 'u', modRevision: 3 });
  assert.equal(whyNotLinearizable([unknown, operation({})]), undefined);
  assert.equal(whyNotLinearizable([unknown, seen]), undefined);
  const refused = operation({ kind: 'put', value: 'r', outcome: 'not-applied' });
  assert.match(whyNotLinearizable([refused, operation({ found: 'r' })]) ?? '', /k1/);
});

test('hundreds of writes of unknown outcome, any of which explains what was seen, are decided', () => {
  const lost = { kind: 'put', outcome: 'unknown', returnMs: undefined } as const;
  const history = Array.from({ length: 120 }, (_, i) => operation({ ...lost, value: `lost${i}` }));
  let revision = 200;
  for (let i = 0; i < 12; i++) {
    revision += 2;
    history.push(
      operation({ kind: 'put', value: `v${i}`, revision }),
      // One of those that were lost came in between: nobody knows which.
      operation({ kind: 'compare-and-set', ifModRevision: revision, succeeded: false }),
    );
  }
  const last = operation({ ...lost, value: 'last' });
  const read = operation({ found: 'last', modRevision: revision + 2 });
  const isUndecided = () => assert.fail('undecided');
  assert.equal(whyNotLinearizable([...history, last, read], isUndecided), undefined);
  const older = operation({ found: 'v11', modRevision: revision });
  assert.match(whyNotLinearizable([...history, last, read, older], isUndecided) ?? '', /v11/);
});
