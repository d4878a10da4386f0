/**
 * Our checker for linearizability beside Porcupine (main.go): the same verdict on every history, good,
 * bad and almost good. Porcupine is built by scripts/engines/install.sh.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type Random, seededRandom } from '../../src/core/random.ts';
import {
  checkLinearizability,
  type Model,
  type Operation,
} from '../../src/testing/linearizability.ts';
import { kvModel } from '../../src/testing/linearizability-kv.ts';
import { listModel, registerModel } from '../../src/testing/linearizability-models.ts';
import { engine, missingEtcd } from '../support/etcd.ts';
import { lists, mutate, produce, registers, type Shape, store } from './histories.ts';

const HISTORIES = 2000;

/** Of each model: how its histories come about, and how Porcupine's program wants their answers. */
interface Case {
  readonly name: string;
  /** One history with our verdict, as a line for the program. */
  next(random: Random, shape: Shape, mutations: number): { ours: string; line: string };
}

function caseOf<State, Input, Output>(
  name: string,
  model: Model<State, Input, Output>,
  subject: (random: Random) => Parameters<typeof produce<Input, Output>>[0],
  answer: (output: Output) => object,
): Case {
  return {
    name,
    next(random, shape, mutations) {
      let history = produce(subject(random), random, shape);
      for (let i = 0; i < mutations; i++) history = mutate(history, random);
      const ours = checkLinearizability(model, history).verdict;
      if (mutations === 0) assert.equal(ours, 'linearizable', 'what an object produced is');
      const toLine = ({ client, callMs, returnMs, input, output }: Operation<Input, Output>) => ({
        client: Number.parseInt(`${client}`, 10),
        call: callMs,
        return: returnMs,
        input,
        output: output === undefined ? undefined : answer(output),
      });
      return { ours, line: JSON.stringify({ model: name, history: history.map(toLine) }) };
    },
  };
}

const cases: readonly Case[] = [
  caseOf('register', registerModel(), registers, (output) =>
    typeof output === 'boolean' ? { succeeded: output } : { value: output },
  ),
  caseOf('list', listModel(), lists, (values) => ({ values })),
  caseOf('kv', kvModel(), store, (output) => output),
];

function porcupine(lines: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(engine('porcupine-check'), {
    input: lines.join('\n'),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n');
}

for (const each of cases) {
  const name = `Porcupine gives the verdicts of our checker on ${HISTORIES} histories of a ${each.name}`;
  test(name, { skip: missingEtcd('porcupine-check'), timeout: 120_000 }, () => {
    const random = seededRandom(2017);
    const counts: Record<string, number> = {
      linearizable: 0,
      'not-linearizable': 0,
      undecided: 0,
    };
    const all = Array.from({ length: HISTORIES }, (_, i) => {
      const shape = {
        clients: 2 + random.below(5),
        operations: 3 + random.below(18),
        keys: 1 + random.below(2),
        unknownPercent: random.below(3) * 8,
        spread: 1 + random.below(15),
      };
      return each.next(random, shape, [0, 1, 1, 3][i % 4]!);
    });
    const theirs = porcupine(all.map(({ line }) => line));
    assert.equal(theirs.length, all.length);
    for (const [i, { ours, line }] of all.entries()) {
      counts[ours]!++;
      if (theirs[i] === 'unknown') counts['undecided']!++;
      else assert.equal(ours, theirs[i], line);
    }
    const { undecided, ...decided } = counts;
    assert.ok(Math.min(...Object.values(decided)) > HISTORIES / 10, JSON.stringify(counts));
    // Its time is bounded, and many writes of unknown outcome can take it long.
    assert.ok(undecided! < HISTORIES / 100, JSON.stringify(counts));
  });
}
