import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type OpenReplicaOptions, openReplica } from './consensus/open-replica.ts';
import type { StateMachine } from './consensus/state-machine.ts';
import { type NodeOptions, openNode } from './node.ts';

const machine: StateMachine<void> = {
  apply: () => undefined,
  snapshot: () => [],
  restore: () => Promise.resolve(),
};

test('a node without name, folder or peers is refused by the name of what is missing', async () => {
  const whole = { name: 'a', dataDir: 'unused', peers: { a: 'http://127.0.0.1:1' } };
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /^name: /],
    [{}, /^name: /],
    [{ ...whole, name: '' }, /^name: text is needed, not empty text/],
    [{ ...whole, dataDir: undefined }, /^dataDir: a path is needed, not undefined/],
    [{ ...whole, peers: 'http://127.0.0.1:1' }, /^peers: .* is needed, not string/],
    [{ ...whole, peers: {} }, /^peers: name at least/],
    [{ ...whole, name: 'b' }, /^name: 'b' is not among peers \(a\)/],
    // A scheme's own port is a port as others are: what is wrong is the name.
    [{ ...whole, name: 'b', peers: { a: 'https://h:443', c: 'http://h:80' } }, /^name: 'b' is not/],
    [{ ...whole, peers: { a: 'http://h' } }, /^peers: 'http:\/\/h' of a is no peer URL/],
    [{ ...whole, peers: { a: '127.0.0.1:1' } }, /^peers: '127.0.0.1:1' of a is no peer URL/],
  ];
  for (const [options, message] of cases) {
    const refused = { code: 'ERR_INVALID_ARGUMENT', message };
    await assert.rejects(openNode(options as NodeOptions), refused);
    const withMachine = { ...(options as OpenReplicaOptions<void>), machine };
    await assert.rejects(openReplica(withMachine), refused);
  }
  for (const wrong of [undefined, null, {}, { apply: () => undefined }]) {
    await assert.rejects(openReplica({ ...whole, machine: wrong as unknown as typeof machine }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^machine: an object with apply, snapshot and restore is needed/,
    });
  }
});

test('a retention that cannot be meant is refused before anything is opened', async () => {
  const dataDir = join(tmpdir(), `quorate-never-made-${process.pid}`);
  const place = { name: 'a', dataDir, peers: { a: 'http://127.0.0.1:1' } };
  for (const autoCompaction of [
    { mode: 'periodic', retention: 'soon' },
    { mode: 'revision', retention: '1h' },
    { mode: 'revision', retention: '-1' },
  ] as const) {
    await assert.rejects(openNode({ ...place, autoCompaction }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^autoCompaction.retention: /,
    });
  }
  assert.equal(existsSync(dataDir), false);
});
