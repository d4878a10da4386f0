import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { keyOf, prefixOf } from './keys.ts';

test('plain names stay as they are in keys', () => {
  for (const name of ['a', 'orders/42', 'a.b.c', 'A-b_c/0', 'a/b/c.d']) {
    assert.equal(keyOf('p/', name), `p/${name}`);
  }
});

test('what agents clean, decode or refuse is written in bytes', () => {
  const keys = {
    '/a': 'p/,2fa',
    'a/': 'p/a,2f',
    'a//b': 'p/a,2f,2fb',
    '..': 'p/,2e,2e',
    'a/../b': 'p/a,2f,2e,2e,2fb',
    'a/.b': 'p/a,2f,2eb',
    'a b': 'p/a,20b',
    'a,b': 'p/a,2cb',
    'a%2fb': 'p/a,252fb',
    ü: 'p/,c3,bc',
    '🔒': 'p/,f0,9f,94,92',
    '\0': 'p/,00',
  };
  for (const [name, key] of Object.entries(keys)) assert.equal(keyOf('p/', name), key, name);
});

test('different names have different keys, of letters, digits and , - _ . / alone', () => {
  const parts = ['a', '.', '/', ',', '2', 'f', 'e', '-', '%', 'é', ' '];
  let names = [''];
  const keys = new Map<string, string>();
  for (let length = 1; length <= 4; length++) {
    names = names.flatMap((name) => parts.map((part) => name + part));
    for (const name of names) {
      const key = keyOf('p/', name);
      assert.match(key, /^[\w./,-]+$/);
      assert.doesNotMatch(key, /\/\/|\.\.|\/\.|\.\/|[./]$/);
      assert.equal(keys.get(key), undefined, `${name} and ${keys.get(key)}`);
      keys.set(key, name);
    }
  }
});

test('a prefix is as plain as keys are', () => {
  assert.equal(prefixOf(undefined, 'usual/'), 'usual/');
  for (const good of ['a', 'a/', 'a/b/', 'a.b-c_d/e']) assert.equal(prefixOf(good, ''), good);
  for (const bad of ['', '/', '/a', 'a//', 'a..b', 'a b', 'ü', 'a%', 'x'.repeat(201), 7 as never]) {
    assert.throws(
      () => prefixOf(bad, ''),
      (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT'),
      String(bad),
    );
  }
});
