/** `npm run sim`: what it prints, what it keeps, and with which status it ends. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readOptions, UsageError } from '../../scripts/sim/options.ts';
import { parseStory } from '../../src/testing/simulation/story.ts';
import type { Story } from '../../src/testing/simulation/types.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const folder = mkdtempSync(join(tmpdir(), 'quorate-sim-'));
after(() => rmSync(folder, { recursive: true }));

function sim(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  const command = [...flags, join(root, 'scripts/sim.ts'), ...args];
  return spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8', timeout: 60_000 });
}

const calm: Story = {
  version: 1,
  seed: 5,
  consensus: 'raft',
  nodes: 3,
  stormMs: 1000,
  clients: 1,
  weather: {},
  faults: [
    { atMs: 10, kind: 'kill', node: 1, forMs: 100 },
    { atMs: 400, kind: 'kill', node: 2, forMs: 100 },
  ],
};
/** No node starts with these settings: a violation at once. */
const broken: Story = { ...calm, weather: { electionMs: 1 } };

function storyFile(name: string, story: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(story));
  return path;
}

describe('options', () => {
  test('without any ask for a hundred seeds, the first of them drawn from the clock', () => {
    const options = readOptions([], 5_000);
    assert.ok(options !== 'help');
    assert.deepEqual([options.seeds, options.first, options.cores], [100, 5, ['raft']]);
    const timed = readOptions(['--for', '1m30s', '--first', '7', '--consensus', 'both'], 0);
    assert.ok(timed !== 'help');
    assert.deepEqual([timed.seeds, timed.forMs, timed.first], [Infinity, 90_000, 7]);
    assert.deepEqual(timed.cores, ['raft', 'paxos']);
    const ofLocks = readOptions(['--workload', 'locks'], 0);
    assert.ok(ofLocks !== 'help');
    assert.deepEqual([options.workload, ofLocks.workload], ['mixed', 'locks']);
  });

  test('that make no sense are refused with what is wrong', () => {
    const refused: [string, RegExp][] = [
      ['--seed -1', /--seed|ambiguous/],
      ['--seed 4294967296', /--seed 4294967296: it must be a whole number from 0 to 4294967295/],
      ['--seed 1.5', /--seed 1.5: it must be a whole number/],
      ['--seed all', /--seed all: it must be a whole number/],
      ['--seed', /--seed/],
      ['--seeds 0', /--seeds 0: it must be a whole number from 1/],
      ['--seeds x', /--seeds x/],
      ['--for soon', /--for: "soon" is no duration/],
      ['--for 0s', /--for 0s: it must be longer than nothing/],
      ['--jobs 0', /--jobs 0/],
      ['--consensus zab', /--consensus zab: there are raft, paxos and both/],
      ['--workload kv', /--workload kv: there are mixed and locks/],
      ['--story x --workload locks', /--workload: a story has it in it/],
      ['--seed 1 --seeds 2', /--seeds is for many runs/],
      ['--seed 1 --story x', /a story has its seed in it/],
      ['--story x --consensus paxos', /a story has it in it/],
      ['--trace', /--trace needs --seed or --story/],
      ['--colour', /Unknown option '--colour'/],
      ['7', /Unexpected argument '7'/],
    ];
    for (const [args, expected] of refused) {
      assert.throws(
        () => readOptions(args.split(' '), 0),
        (error) => error instanceof UsageError && expected.test(error.message),
        args,
      );
    }
  });
});

test('a mistake ends with status 2 and says what it is', () => {
  const mistakes: [string[], RegExp][] = [
    [['--seed', 'x'], /--seed x: it must be a whole number/],
    [['--story', join(folder, 'none.json')], /--story: ENOENT/],
    [['--story', storyFile('old.json', { ...calm, version: 0 })], /of version 0; this simulator/],
  ];
  for (const [args, expected] of mistakes) {
    const { status, stdout, stderr } = sim(...args);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, expected);
  }
});

test('a run that is aimed at locks has clients that take them', () => {
  const { status, stdout } = sim('--seed', '3', '--workload', 'locks');
  assert.equal(status, 0, stdout);
  assert.match(stdout, /"remoteRate": /);
  assert.match(stdout, /locks-granted \d/);
});

test('one run prints its story, a summary and a hash that is the same every time', () => {
  const path = storyFile('calm.json', calm);
  const { status, stdout } = sim('--story', path, '--twice', '--trace');
  assert.equal(status, 0, stdout);
  assert.match(stdout, /"kind": "kill", "node": 2/);
  assert.match(stdout, /last of the trace:\n.+/);
  assert.match(stdout, /1 run, no violation/);
  const hash = /trace hash ([0-9a-f]{16})/.exec(stdout)![1];
  const json = JSON.parse(sim('--story', path, '--json').stdout);
  assert.equal(json.traceHash, hash);
  assert.deepEqual(json.story, calm);
});

test('a violation ends with status 1 and says how to play it again', () => {
  const path = storyFile('broken.json', broken);
  const { status, stdout } = sim('--story', path);
  assert.equal(status, 1, stdout);
  assert.match(stdout, /VIOLATION of node-failed after event \d+/);
  assert.ok(stdout.includes(`Play it again: npm run sim -- --story ${path}`), stdout);
});

test('many runs are told a line each, with what they add up to at the end', () => {
  const keep = join(folder, 'kept');
  const { status, stdout, stderr } = sim(
    ...['--seeds', '2', '--first', '1', '--json', '--keep', keep, '--shrink-runs', '3'],
  );
  const lines = stdout.trim().split('\n');
  const runs = lines.slice(0, -1).map((line) => JSON.parse(line));
  const { summary } = JSON.parse(lines.at(-1)!);
  assert.deepEqual(runs.map(({ seed }) => seed).sort(), [1, 2]);
  assert.equal(summary.runs, 2);
  assert.equal(summary.events, runs[0].events + runs[1].events);
  // A seed that fails is for test/simulation/seeds.test.ts: here, what is then kept must be a story.
  if (status === 0) return;
  assert.match(stderr, /Play it again: npm run sim -- --seed \d/);
  for (const name of readdirSync(keep)) parseStory(readFileSync(join(keep, name), 'utf8'));
});

test('Ctrl-C ends many runs with what they were like so far', async () => {
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  const args = ['--seeds', '1000000', '--first', '1', '--jobs', '1', '--json'];
  const child = spawn(process.execPath, [...flags, join(root, 'scripts/sim.ts'), ...args], {
    cwd: root,
  });
  const ended = once(child, 'exit');
  let out = '';
  for await (const text of child.stdout.setEncoding('utf8')) {
    if (out === '') child.kill('SIGINT');
    out += text;
  }
  assert.deepEqual(await ended, [0, null]);
  const last = JSON.parse(out.trimEnd().split('\n').at(-1)!) as { summary: { runs: number } };
  assert.ok(last.summary.runs >= 1);
});
