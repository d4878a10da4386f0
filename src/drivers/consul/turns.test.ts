import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from './turns.ts';

const never = new AbortController().signal;

/** Notes when a turn comes. */
function entering(turns: Turns, order: string[], label: string, signal = never): Promise<void> {
  return turns.enter('n', signal).then(() => void order.push(label));
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('one is in a name at a time, the others follow in order, names do not mind each other', async () => {
  const turns = new Turns();
  const order: string[] = [];
  await turns.enter('n', never);
  await turns.enter('other', never);
  const all = ['a', 'b', 'c'].map((label) => entering(turns, order, label));
  await settled();
  assert.deepEqual(order, []);
  turns.leave('n');
  await settled();
  assert.deepEqual(order, ['a']);
  turns.leave('n');
  turns.leave('n');
  await Promise.all(all);
  assert.deepEqual(order, ['a', 'b', 'c']);
  turns.leave('n');
  assert.equal(await turns.tryEnter('n', never), true);
});

test('who gives up leaves the line, also at the moment at which its turn comes', async () => {
  const turns = new Turns();
  const order: string[] = [];
  const stop = new AbortController();
  const late = new AbortController();
  await turns.enter('n', never);
  const given = entering(turns, order, 'a', stop.signal);
  const passed = entering(turns, order, 'b', late.signal);
  const last = entering(turns, order, 'c');
  stop.abort(new Error('enough'));
  await assert.rejects(given, /enough/);
  turns.leave('n');
  late.abort(new Error('too late'));
  await Promise.allSettled([passed]);
  if (order.includes('b')) turns.leave('n');
  await last;
  assert.equal(order.at(-1), 'c');
});

test('a try finds it busy, but waits for one that is leaving', async () => {
  const turns = new Turns();
  await turns.enter('n', never);
  assert.equal(await turns.tryEnter('n', never), false);
  let gone!: () => void;
  const left = new Promise<void>((resolve) => {
    gone = resolve;
  });
  turns.leaveAfter('n', left);
  const trying = turns.tryEnter('n', never);
  await settled();
  gone();
  assert.equal(await trying, true);
  turns.leaveAfter('n', Promise.reject(new Error('failed')));
  assert.equal(await turns.tryEnter('n', never), true);
});
