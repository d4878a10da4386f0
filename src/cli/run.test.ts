/** The command line as a function: help, usage errors, exit codes. Commands that need a cluster are tested in test/cli.test.ts. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { planCluster } from './commands/start.ts';
import { TOPICS } from './help.ts';
import type { Io } from './io.ts';
import { run } from './run.ts';

async function output(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const io: Io = {
    env: {},
    stdin: new PassThrough(),
    stdout,
    stderr,
    terminal: false,
    colour: false,
    interrupted: new AbortController().signal,
  };
  const code = await run(argv, io);
  return { code, out: String(stdout.read() ?? ''), err: String(stderr.read() ?? '') };
}

test('without a command, and for help, there is an overview of every command', async () => {
  for (const argv of [[], ['help'], ['--help']]) {
    const { code, out } = await output(...argv);
    assert.equal(code, 0);
    for (const topic of Object.keys(TOPICS)) assert.match(out, new RegExp(`^  ${topic} `, 'm'));
  }
});

test('every command has a page, which --help shows too, with an example', async () => {
  for (const topic of Object.keys(TOPICS)) {
    const { code, out } = await output('help', topic);
    assert.equal(code, 0);
    assert.match(out, /^Examples:/m, topic);
    assert.equal((await output(topic, '--help')).out, out, topic);
  }
});

test('what no cluster could ever answer is a wrong command line', async () => {
  const wrong: readonly (readonly [string[], RegExp])[] = [
    [['kv', 'get', 'a', '--endpoints', 'ftp://x'], /is no endpoint/],
    [['lock', 'a', '--ttl', '10ms', '--', 'true'], /at least one second/],
    [['lock', 'a', '--wait', '1s', '--no-wait'], /exclude each other/],
    [
      ['lock', 'a', '--driver', 'rdis'],
      /one of etcd, redis, redlock, postgres, consul, not 'rdis'/,
    ],
    [
      ['lock', 'a', '--redis-url', 'redis://b'],
      /--redis-url is for --driver redis or --driver redlock/,
    ],
    [['lock', 'a', '--driver', 'redis', '--endpoints', 'b'], /--endpoints is for --driver etcd/],
    [['lock', 'a', '--driver', 'redis', '--redis-url', 'b:6379'], /such as redis:\/\/HOST:6379/],
    [
      ['lock', 'a', '--driver', 'redis', '--redis-url', 'redis://b', '--redis-url', 'redis://c'],
      /--driver redlock/,
    ],
    [
      ['lock', 'a', '--driver', 'redlock', '--redis-url', 'redis://b'],
      /at least three.*\(1 given\)/,
    ],
    [['lock', 'a', '--driver', 'postgres', '--postgres-url', 'mysql://b'], /begins with postgres:/],
    [['lock', 'a', '--driver', 'postgres', '--ttl', '10ms'], /at least one second/],
    [
      ['lock', 'a', '--driver', 'consul', '--consul-url', 'consul://b'],
      /such as http:\/\/HOST:8500/,
    ],
    [['lock', 'a', '--driver', 'consul', '--ttl', '10ms'], /at least one second/],
    [['lock', 'a', '--consul-url', 'http://b:8500'], /--consul-url is for --driver consul/],
    [['lock', 'ls', '--driver', 'redis'], /needs a NAME .*: only etcd and the quorum can tell/],
    [['lock', 'ls', 'a', '--wait', '1s'], /lock ls takes no --wait/],
    [['lock', 'release', 'a'], /may still be at work under it: .* --force/],
    [['lock', 'a', '--force'], /lock NAME takes no --force/],
    [
      ['elect', 'a', '--driver', 'postgres'],
      /postgres has no elections: use --driver etcd, redis or consul/,
    ],
    [['elect', 'a', '--listen', '--', 'true'], /--listen only watches/],
    [['elect', 'a', 'value', '--listen'], /--listen only watches/],
  ];
  for (const [argv, message] of wrong) {
    const { code, err } = await output(...argv);
    assert.equal(code, 2, argv.join(' '));
    assert.match(err, message);
  }
});

test('a data folder that cannot be made is refused by its name', async () => {
  const { code, err } = await output('start', '--data-dir', 'package.json/x');
  assert.equal(code, 1);
  assert.match(err, /package\.json\/x cannot be made \(a file is in its place\); choose another/);
});

test('docs/command-line.md shows every page as it is', async () => {
  const pages = Object.entries(TOPICS).map(([topic, { text }]) => {
    return `\n## quorate ${topic}\n\n\`\`\`text\n${text}\n\`\`\`\n`;
  });
  const path = 'docs/command-line.md';
  const page = readFileSync(path, 'utf8');
  const introduction = page.slice(0, page.indexOf('\n## quorate '));
  const wanted = `${introduction}${pages.join('')}`;
  if (process.env['UPDATE'] === '1') writeFileSync(path, wanted);
  else assert.equal(page, wanted, 'run this test with UPDATE=1 and read the difference');
});

test('lines of help fit into 110 columns', async () => {
  for (const topic of Object.keys(TOPICS)) {
    const { out } = await output('help', topic);
    for (const text of out.split('\n')) assert.ok(text.length <= 110, text);
  }
});

test('the version line is the one that etcd test tools look for', async () => {
  const { code, out } = await output('--version');
  assert.equal(code, 0);
  assert.match(out, /^etcd Version: \d+\.\d+\.\d+$/m);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.match(out, new RegExp(`^Quorate Version: ${version}$`, 'm'));
  assert.equal((await output('serve', '--version')).out, out);
});

test('a wrong command line is one line, a pointer to help, and exit code 2', async () => {
  const cases: [string[], string][] = [
    [['stat'], "quorate: there is no command 'stat'; did you mean 'status'?\nsee: quorate help\n"],
    [['kv'], 'quorate: kv needs a word: get, put, del or watch\nsee: quorate help kv\n'],
    [['kv', 'get'], 'quorate: a KEY is missing\nsee: quorate help kv\n'],
    [
      ['kv', 'put', 'a'],
      'quorate: put needs a VALUE (- reads it from stdin)\nsee: quorate help kv\n',
    ],
    [
      ['kv', 'get', 'a', 'b', '--prefix'],
      'quorate: use one of END, --prefix and --from-key\nsee: quorate help kv\n',
    ],
    [
      ['start', '--nodes', '0'],
      "quorate: --nodes takes a whole number of at least 1, not '0'\nsee: quorate help start\n",
    ],
    [
      ['serve', 'now'],
      "quorate: 'now' is no flag; serve takes only flags\nsee: quorate help serve\n",
    ],
    [['help', 'me'], "quorate: there is no help about 'me'\nsee: quorate help\n"],
  ];
  for (const [argv, err] of cases) {
    assert.deepEqual(await output(...argv), { code: 2, out: '', err }, argv.join(' '));
  }
});

test('a stack is shown only with --debug', async () => {
  const { err } = await output('kv', 'get', '--debug');
  assert.match(err, /at .*kv\.ts/);
});

test('a user without a password is refused before anything is connected', async () => {
  const { code, err } = await output('kv', 'get', 'a', '--user', 'me');
  assert.equal(code, 2);
  assert.match(err, /--user needs a password/);
});

test('an endpoint that nobody listens on gives one line that names it', async () => {
  const { code, err } = await output(
    'kv',
    'get',
    'a',
    '--endpoints=127.0.0.1:1',
    '--command-timeout=300ms',
  );
  assert.equal(code, 1);
  assert.match(err, /^quorate: .*127\.0\.0\.1:1.*\n$/);
});

test("three nodes on etcd's local ports are the default of start", () => {
  const { nodes } = planCluster([]);
  assert.deepEqual(
    nodes.map(({ name, clientPort, peerPort }) => [name, clientPort, peerPort]),
    [
      ['n1', 2379, 2380],
      ['n2', 22379, 22380],
      ['n3', 32379, 32380],
    ],
  );
  assert.equal(
    nodes[0]!.cluster,
    'n1=http://127.0.0.1:2380,n2=http://127.0.0.1:22380,n3=http://127.0.0.1:32380',
  );
});

test('ports may be chosen, one a node, and none twice', () => {
  const { nodes } = planCluster(['--client-ports', '1001,1003', '--host', 'h']);
  assert.deepEqual(
    nodes.map(({ clientPort, peerPort }) => [clientPort, peerPort]),
    [
      [1001, 1002],
      [1003, 1004],
    ],
  );
  assert.throws(() => planCluster(['--client-ports', '1001,1002']), /one is given twice/);
  assert.throws(() => planCluster(['--client-ports', '1001', '--nodes', '2']), /2 nodes need 2/);
  assert.throws(() => planCluster(['--client-ports', '70000']), /is no port/);
  assert.throws(() => planCluster(['--nodes', '6']), /more than 5 nodes need --client-ports/);
});

test('all nodes of start run the same consensus', () => {
  const { nodes } = planCluster(['--consensus', 'paxos']);
  assert.deepEqual(
    nodes.map((node) => node.consensus),
    ['paxos', 'paxos', 'paxos'],
  );
  assert.throws(() => planCluster(['--consensus', 'zab']), /'zab' is not known; use raft or paxos/);
});
