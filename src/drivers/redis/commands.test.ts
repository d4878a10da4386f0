import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import type { Connection } from './clients.ts';
import { Commands, script } from './commands.ts';

const CODE = script('return { tonumber(ARGV[#ARGV]), 1 }');

/** A connection whose replies the test gives. */
class Scripted implements Connection {
  epoch = 0;
  readonly sent: (readonly string[])[] = [];
  readonly #replies: ((args: readonly string[]) => unknown)[] = [];

  reply(...replies: ((args: readonly string[]) => unknown)[]): void {
    this.#replies.push(...replies);
  }
  isReady(): boolean {
    return true;
  }
  mayBecomeReady(): boolean {
    return true;
  }
  onReady(): () => void {
    return () => undefined;
  }
  async send(args: readonly string[]): Promise<unknown> {
    this.sent.push(args);
    const next = this.#replies.shift();
    return next === undefined ? new Promise(() => undefined) : next(args);
  }
  subscriber(): Promise<never> {
    return Promise.reject(new Error('not here'));
  }
}

const right = (args: readonly string[]): unknown => [Number(args.at(-1)), 1];

describe('commands', () => {
  test('a reply to another call is an error, and plain commands are not to be trusted any more', async () => {
    const connection = new Scripted();
    const commands = new Commands(connection, new VirtualClock(), 100);
    assert.equal(commands.isTrusted, false);
    let first: unknown;
    connection.reply((args) => {
      first = right(args);
      return first;
    });
    assert.deepEqual(await commands.ask(CODE, 'key', []), [1]);
    assert.equal(commands.isTrusted, true);
    connection.epoch += 1;
    assert.equal(commands.isTrusted, false);
    connection.reply(
      () => first,
      () => 'OK',
      () => null,
    );
    for (let i = 0; i < 3; i++) {
      await assert.rejects(commands.ask(CODE, 'key', []), {
        code: 'ERR_PROTOCOL',
        outcome: 'unknown',
      });
    }
    assert.equal(commands.isTrusted, false);
  });

  test('a script that has nothing to say replies with the number of its call alone', async () => {
    const connection = new Scripted();
    const commands = new Commands(connection, new VirtualClock(), 100);
    connection.reply(
      (args) => Number(args.at(-1)),
      (args) => Number(args.at(-1)) - 1,
      () => 'OK',
    );
    assert.deepEqual(await commands.ask(CODE, 'key', []), []);
    assert.equal(commands.isTrusted, true);
    for (const problem of [/gave the reply to another command/, /Redis answered "OK"/]) {
      const refused = { code: 'ERR_PROTOCOL', outcome: 'unknown', message: problem };
      await assert.rejects(commands.ask(CODE, 'key', []), refused);
    }
  });

  test('the reply to a plain command counts only on the connection on which it was sent', async () => {
    const connection = new Scripted();
    const commands = new Commands(connection, new VirtualClock(), 100);
    connection.reply(
      () => 'OK',
      () => {
        connection.epoch += 1;
        return 'OK';
      },
    );
    assert.equal(await commands.send(['SET']), 'OK');
    await assert.rejects(commands.send(['SET']), { code: 'ERR_UNAVAILABLE', outcome: 'unknown' });
  });

  test('a script that the server does not know is sent whole, once', async () => {
    const connection = new Scripted();
    const commands = new Commands(connection, new VirtualClock(), 100);
    connection.reply(() => Promise.reject(new Error('NOSCRIPT No matching script.')), right);
    assert.deepEqual(await commands.ask(CODE, 'key', ['a']), [1]);
    assert.deepEqual(
      connection.sent.map(([command, what]) => [command, what]),
      [
        ['EVALSHA', CODE.sha],
        ['EVAL', CODE.source],
      ],
    );
  });

  test('no answer in time is an error of unknown outcome, and nothing is sent again', async () => {
    const clock = new VirtualClock();
    const connection = new Scripted();
    const commands = new Commands(connection, clock, 100);
    const late = assert.rejects(commands.ask(CODE, 'key', []), {
      code: 'ERR_TIMEOUT',
      outcome: 'unknown',
    });
    await clock.advance(100);
    await late;
    assert.equal(connection.sent.length, 1);
  });
});
