import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEtcdFlags } from './etcd-flags.ts';
import { UsageError } from './io.ts';

const values = (argv: string[], env: Record<string, string> = {}): Record<string, string> =>
  Object.fromEntries(parseEtcdFlags(argv, env).values);

test('a flag has one or two dashes, and its value after a space or an equals sign', () => {
  assert.deepEqual(values(['--name', 'a', '-data-dir=b', '--log-level=warn']), {
    name: 'a',
    'data-dir': 'b',
    'log-level': 'warn',
  });
});

test('the last of several counts', () => {
  assert.deepEqual(values(['--name=a', '--name', 'b']), { name: 'b' });
});

test('a value may be empty or hold an equals sign', () => {
  assert.deepEqual(values(['--initial-cluster=a=http://h:1', '--name=']), {
    'initial-cluster': 'a=http://h:1',
    name: '',
  });
});

test('the environment counts below the command line', () => {
  const env = { ETCD_NAME: 'env', ETCD_DATA_DIR: 'dir', ETCD_VERIFY: 'all', HOME: '/x' };
  assert.deepEqual(values(['--name=flag'], env), { name: 'flag', 'data-dir': 'dir' });
});

test('an experimental twin means the same', () => {
  assert.deepEqual(values(['--experimental-watch-progress-notify-interval=1s']), {
    'watch-progress-notify-interval': '1s',
  });
});

test('a boolean takes no separate value', () => {
  assert.deepEqual(values(['--client-cert-auth', '--name', 'a']), {
    'client-cert-auth': 'true',
    name: 'a',
  });
  assert.deepEqual(values(['--client-cert-auth=F']), { 'client-cert-auth': 'false' });
  assert.throws(() => values(['--client-cert-auth=maybe']), /true or false/);
});

test('a flag without effect is a warning, with its value skipped', () => {
  const flags = parseEtcdFlags(
    ['--strict-reconfig-check=false', '--max-wals', '5', '--no-such-thing', '--name', 'a'],
    { ETCD_LISTEN_METRICS_URLS: 'http://x:1' },
  );
  assert.deepEqual(Object.fromEntries(flags.values), { name: 'a' });
  assert.deepEqual(flags.warnings, [
    'ETCD_LISTEN_METRICS_URLS=http://x:1 has no effect in Quorate',
    '--strict-reconfig-check=false has no effect in Quorate',
    '--max-wals=5 has no effect in Quorate',
    '--no-such-thing=true has no effect in Quorate',
  ]);
});

test('a misspelt flag is refused with the one that was probably meant', () => {
  assert.throws(() => values(['--dat-dir', 'x']), /no flag --dat-dir; did you mean --data-dir\?/);
  assert.throws(() => values(['-nmae=x']), /did you mean --name\?/);
  // etcd's own flags that have no effect here stay warnings.
  for (const flag of ['max-wals', 'logger', 'listen-metrics-urls', 'client-cert-file', 'cors']) {
    assert.deepEqual(values([`--${flag}=x`]), {}, flag);
  }
});

test('what is so anyway gives no warning', () => {
  assert.deepEqual(parseEtcdFlags(['--pre-vote', '--logger=zap'], {}).warnings, []);
});

test('a promise that would not be kept is refused with what to do instead', () => {
  assert.throws(() => values(['--auto-tls']), /--auto-tls is not supported: give --cert-file/);
  assert.throws(() => values(['--config-file', 'x.yml']), /configuration files are not read/);
  assert.throws(() => values([], { ETCD_PEER_CRL_FILE: 'x' }), /ETCD_PEER_CRL_FILE is not/);
  assert.deepEqual(values(['--auto-tls=false', '--discovery=']), {});
});

test('a word that is no flag, and a flag without its value, are refused', () => {
  assert.throws(() => values(['gateway']), UsageError);
  assert.throws(() => values(['--name']), /--name needs a value/);
});
