import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateMachine } from '../../../consensus/state-machine.ts';
import { entry, NotedWorld } from '../checks/testing.ts';
import { MachineHistory } from './machine-history.ts';

/** Answers with the place of the command. */
class Places implements StateMachine<number> {
  #count = 0;

  apply(): number {
    this.#count += 1;
    return this.#count;
  }

  snapshot(): Iterable<Uint8Array> {
    return [];
  }

  restore(): Promise<void> {
    return Promise.resolve();
  }
}

const ONE = Buffer.from('one');
const TWO = Buffer.from('two');

function chosen(...commands: Buffer[]) {
  const world = new NotedWorld();
  const history = new MachineHistory<number, Places>(new Places(), () => '');
  history.begin(world);
  for (const [at, data] of commands.entries()) {
    history.proposed(data);
    history.apply(entry(at + 1, 1, data.toString()));
  }
  return { history, violated: world.violated };
}

test("a client that is told the answer to another one's command is found out", () => {
  const { history, violated } = chosen(ONE, TWO);
  history.acknowledged(ONE, 1);
  assert.deepEqual(violated, []);
  history.acknowledged(TWO, 1);
  assert.deepEqual(violated, ['own-answer']);
});

test('a command that was proposed twice may be answered with either of its answers', () => {
  const { history, violated } = chosen(ONE, TWO, ONE);
  history.acknowledged(ONE, 3);
  history.acknowledged(ONE, 1);
  history.judge();
  assert.deepEqual(violated, []);
});

test('what was acknowledged and not chosen is lost, what was refused and chosen was applied', () => {
  const lost = chosen(ONE);
  lost.history.proposed(ONE);
  lost.history.acknowledged(ONE, 1);
  lost.history.acknowledged(ONE, 1);
  lost.history.judge();
  assert.deepEqual(lost.violated, ['nothing-lost']);

  const refused = chosen(ONE);
  refused.history.refused(ONE);
  refused.history.judge();
  assert.deepEqual(refused.violated, ['applied-once']);
});
