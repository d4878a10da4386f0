import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closest, parse, splitProgram, wholeNumber } from './args.ts';
import { UsageError } from './io.ts';

const specs = {
  prefix: { type: 'boolean' },
  limit: { type: 'string' },
  endpoints: { type: 'string', multiple: true },
} as const;

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    return error.message;
  }
  assert.fail('it was not refused');
};

test('options and words come in any order, and options may repeat', () => {
  const argv = ['get', '--limit=3', 'key', '--prefix', '--endpoints', 'a', '--endpoints=b'];
  const { values, positionals } = parse('kv', specs, argv);
  assert.deepEqual({ ...values }, { limit: '3', prefix: true, endpoints: ['a', 'b'] });
  assert.deepEqual(positionals, ['get', 'key']);
});

test('a boolean takes =true and =false, as etcdctl writes it', () => {
  assert.equal(parse('kv', specs, ['--prefix=true']).values.prefix, true);
  assert.equal(parse('kv', specs, ['--prefix=false']).values.prefix, undefined);
});

test('an unknown option is refused with the one that was probably meant', () => {
  assert.equal(
    refusal(() => parse('kv', specs, ['--prefx'])),
    'there is no option --prefx; did you mean --prefix?',
  );
  assert.equal(
    refusal(() => parse('kv', specs, ['--colour'])),
    'there is no option --colour',
  );
});

test('an option without its value is refused', () => {
  assert.match(
    refusal(() => parse('kv', specs, ['--limit'])),
    /--limit/,
  );
});

test('a number is whole and not below its least', () => {
  assert.equal(wholeNumber('kv', '--limit', undefined), undefined);
  assert.equal(wholeNumber('kv', '--limit', '12'), 12);
  for (const text of ['', '-1', '1.5', 'x', '1e3', '9007199254740993', '0']) {
    assert.throws(() => wholeNumber('kv', '--limit', text, 1), UsageError, text);
  }
});

test('what follows the first -- is the program, its own dashes included', () => {
  assert.deepEqual(splitProgram(['a', '--ttl', '5s', '--', 'sh', '-c', 'x', '--', 'y']), {
    own: ['a', '--ttl', '5s'],
    program: ['sh', '-c', 'x', '--', 'y'],
  });
  assert.deepEqual(splitProgram(['a']), { own: ['a'], program: undefined });
});

test('the value that an option lacks, or that looks like an option, is spoken of by its name', () => {
  assert.equal(
    refusal(() => parse('kv', specs, ['--limit'])),
    '--limit needs a value',
  );
  assert.equal(
    refusal(() => parse('kv', specs, ['--limit', '-1'])),
    '--limit needs a value; one that starts with a dash is written --limit=-…',
  );
  assert.equal(
    refusal(() => parse('kv', specs, ['--prefix=maybe'])),
    '--prefix takes no value',
  );
});

test('the start of one word is close, a dash and a letter is not', () => {
  assert.equal(closest('stat', ['start', 'status']), 'status');
  assert.equal(closest('-x', ['kv', 'lock']), undefined);
  assert.equal(closest('kb', ['kv', 'lock']), 'kv');
});

test('a word is close when at most two letters differ', () => {
  assert.equal(closest('stats', ['start', 'status', 'kv']), 'status');
  assert.equal(closest('frobnicate', ['start', 'status']), undefined);
});
