import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { defaultParts } from './default-parts.ts';
import type { SimulationParts } from './parts.ts';
import { simulate, storyOf } from './simulation.ts';
import type { SimulationProgress, Story } from './types.ts';

const SEED = 4;

/** Short runs: what is tested here is how a run goes, not what it finds. */
function short(changes: Partial<SimulationParts> = {}): SimulationParts {
  return {
    ...defaultParts,
    drawStory: (seed, consensus) => ({
      ...defaultParts.drawStory(seed, consensus),
      nodes: 3,
      clients: 1,
      stormMs: 3000,
      weather: {},
      faults: [],
    }),
    ...changes,
  };
}

/** Runs `script`, which has `simulate` and `defaultParts`, in a process of its own; resolves with what it prints. */
async function inFreshProcess(script: string): Promise<string> {
  const imports = ['simulation', 'default-parts'].map((name) => {
    const names = name === 'simulation' ? 'simulate' : 'defaultParts';
    return `const { ${names} } = await import(${JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)});`;
  });
  const whole = `${imports.join('\n')}\n${script}`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...process.execArgv, '--input-type=module', '--eval', whole],
    { env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
  );
  return stdout.trim();
}

test('equal seeds give equal runs, in this process and in a fresh one; others differ', async () => {
  const first = await simulate({ seed: SEED });
  const second = await simulate({ seed: SEED });
  assert.deepEqual(second, first);
  const other = await simulate({ seed: SEED + 1 });
  assert.notEqual(other.traceHash, first.traceHash);
  const fresh =
    await inFreshProcess(`const { traceHash, events } = await simulate({ seed: ${SEED} });
    console.log(traceHash, events);`);
  assert.equal(fresh, `${first.traceHash} ${first.events}`);
});

test('runs beside each other in one process do not touch each other', async () => {
  const alone = await simulate({ seed: SEED }, short());
  const [one, two] = await Promise.all([
    simulate({ seed: SEED }, short()),
    simulate({ seed: SEED }, short()),
  ]);
  assert.equal(one.traceHash, alone.traceHash);
  assert.equal(two.traceHash, alone.traceHash);
});

test('keeping the trace does not change the run', async () => {
  const plain = await simulate({ seed: SEED }, short());
  const traced = await simulate({ seed: SEED, keepTrace: true }, short());
  assert.equal(traced.traceHash, plain.traceHash);
  assert.deepEqual(plain.trace, []);
  assert.match(traced.trace[0]!, /^0\.000 start a 1$/);
  assert.match(traced.trace.at(-1)!, /stopped/);
});

test('a story is JSON, and playing it is the run it was drawn for', async () => {
  const drawn = await simulate({ seed: SEED }, short());
  const story = JSON.parse(JSON.stringify(storyOf({ seed: SEED }, short()))) as Story;
  const played = await simulate({ seed: 0, story }, short());
  assert.equal(played.traceHash, drawn.traceHash);
  assert.equal(played.seed, SEED);
});

test('a seed or a version that is none is refused', async () => {
  for (const seed of [-1, 1.5, 2 ** 32, Number.NaN]) {
    await assert.rejects(simulate({ seed }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^seed: .* is no whole number from 0 to 4294967295$/,
    });
  }
  const story = { ...storyOf({ seed: SEED }), version: 0 };
  await assert.rejects(simulate({ seed: SEED, story }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /^story: of version 0; this simulator plays version/,
  });
});

test('faults are played at their times, in an event of their own', async () => {
  const played: string[] = [];
  const parts = short({
    playFault: ({ world }, { kind, atMs }) => played.push(`${kind} ${atMs} ${world.nowMs}`),
  });
  const story: Story = {
    ...storyOf({ seed: SEED }, parts),
    faults: [
      { atMs: 2000, kind: 'second' },
      { atMs: 1000.5, kind: 'first', node: 1 },
    ],
  };
  await simulate({ seed: SEED, story }, parts);
  assert.deepEqual(played, ['first 1000.5 1000.5', 'second 2000 2000']);
});

test('a violation ends the run and says where; so does a cluster that does not heal', async () => {
  const parts = short({
    playFault: () => {
      throw new Error('seen');
    },
  });
  const story: Story = {
    ...storyOf({ seed: SEED }, parts),
    faults: [{ atMs: 1000, kind: 'any' }],
  };
  const broken = await simulate({ seed: SEED, story }, parts);
  assert.equal(broken.violation?.property, 'uncaught-error');
  assert.match(broken.violation.message, /seen/);
  assert.equal(broken.virtualMs, 1000);
  assert.equal(broken.violation.event, broken.events);

  const sick = await simulate(
    { seed: SEED },
    short({ healed: () => new Promise<void>(() => undefined), healMs: () => 500 }),
  );
  assert.equal(sick.violation?.property, 'liveness');
  assert.equal(sick.virtualMs, 3500);
});

test('a rejection that nobody handles is a violation', async () => {
  // In a process of its own: the test runner takes such a rejection for its own failure.
  const script = `const parts = {
      ...defaultParts,
      playFault: async () => { throw new Error('nobody handles this'); },
      drawStory: (seed, consensus) => ({
        ...defaultParts.drawStory(seed, consensus),
        faults: [{ atMs: 100, kind: 'any' }],
      }),
    };
    const { violation } = await simulate({ seed: ${SEED} }, parts);
    console.log(violation.property, violation.atMs, violation.message.split('\\n')[0]);`;
  assert.equal(await inFreshProcess(script), 'unhandled-rejection 100 Error: nobody handles this');
});

test('progress is told while a run goes on, and does not change it', async () => {
  const told: SimulationProgress[] = [];
  const watched = await simulate({ seed: SEED, onProgress: (at) => told.push(at) }, short());
  assert.ok(told.length >= 1);
  assert.ok(told[0]!.events > 0 && told[0]!.virtualMs <= watched.virtualMs);
  assert.equal(watched.traceHash, (await simulate({ seed: SEED }, short())).traceHash);
});
