import assert from 'node:assert/strict';
import test from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { testAuthority } from '../../testing/certificates.ts';
import { type EtcdOptions, resolveOptions } from './options.ts';

const shown = (endpoints: string | string[], tls?: EtcdOptions['tls']): string[] =>
  resolveOptions({ endpoints, ...(tls === undefined ? {} : { tls }) }).targets.map(
    (target) => `${target.tls === undefined ? 'tcp' : 'tls'} ${target.host} ${target.port}`,
  );

test('endpoints come as text, as URLs, in lists and with commas', () => {
  assert.deepEqual(shown('127.0.0.1:2379, host:1 ,http://other:80'), [
    'tcp 127.0.0.1 2379',
    'tcp host 1',
    'tcp other 80',
  ]);
  assert.deepEqual(shown(['https://h', 'http://h:443/', '[::1]:5', 'h2']), [
    'tls h 2379',
    'tcp h 443',
    'tcp ::1 5',
    'tcp h2 2379',
  ]);
});

test('certificates switch TLS on where no scheme says otherwise', () => {
  const { cert } = testAuthority();
  assert.deepEqual(shown(['a:1', 'http://b:1', 'https://c:443'], { ca: cert }), [
    'tls a 1',
    'tcp b 1',
    'tls c 443',
  ]);
});

test('an endpoint given twice is one', () => {
  assert.deepEqual(shown(['a:1', 'http://a:1']), ['tcp a 1']);
});

test('options that cannot be are refused with their name', () => {
  const cases: [EtcdOptions, RegExp][] = [
    [{ endpoints: '' }, /^endpoints: none given/],
    [{ endpoints: [] }, /^endpoints: none given/],
    [{} as EtcdOptions, /^endpoints: none given/],
    [undefined as unknown as EtcdOptions, /^endpoints: none given/],
    [{ endpoints: 'unix:///tmp/etcd' }, /^endpoints: "unix:/],
    [{ endpoints: 'a:b:c' }, /^endpoints: "a:b:c" is no endpoint/],
    [{ endpoints: 'http://a:1/path' }, /^endpoints: .* is no endpoint/],
    [{ endpoints: 'http://user@a:1' }, /^endpoints: .* is no endpoint/],
    [{ endpoints: 'a:0' }, /^endpoints: .* port 0/],
    [{ endpoints: 'a:70000' }, /^endpoints: .* is no endpoint/],
    [{ endpoints: 'a', keepaliveMs: 1000 }, /^keepaliveMs: 1000 is below 5000/],
    [{ endpoints: 'a', timeoutMs: 0 }, /^timeoutMs: must be above zero/],
    [{ endpoints: 'a', timeoutMs: 'soon' }, /^timeoutMs: "soon" is no duration/],
    [{ endpoints: 'a', maxMessageBytes: 1.5 }, /^maxMessageBytes: 1.5/],
  ];
  for (const [options, message] of cases) {
    assert.throws(
      () => resolveOptions(options),
      (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && message.test(error.message),
      JSON.stringify(options),
    );
  }
});
