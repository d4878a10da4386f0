import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateMachine } from '../../../consensus/state-machine.ts';
import { storyOf } from '../simulation.ts';
import type { SimulationResult } from '../types.ts';
import { type MachineSimulationOptions, simulateMachine } from './simulate-machine.ts';

/** Counts how often it was told each word. */
class Words implements StateMachine<number> {
  counts = new Map<string, number>();

  apply(data: Uint8Array, _index: number): number {
    const word = Buffer.from(data).toString();
    const count = (this.counts.get(word) ?? 0) + 1;
    this.counts.set(word, count);
    return count;
  }

  *snapshot(): Iterable<Uint8Array> {
    for (const each of [...this.counts]) yield Buffer.from(JSON.stringify(each));
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.counts = new Map();
    for await (const chunk of chunks) {
      const [word, count] = JSON.parse(Buffer.from(chunk).toString()) as [string, number];
      this.counts.set(word, count);
    }
  }
}

function play(seed: number, machine: () => Words): Promise<SimulationResult> {
  return simulateMachine(options(seed, machine));
}

/** The faults of the seed, with busy clients on a quiet network, slow disks, and snapshots all the time. */
function playWithSnapshots(seed: number, machine: () => Words): Promise<SimulationResult> {
  const story = storyOf({ seed });
  const weather = {
    ...{ electionMs: 500, heartbeatMs: 50, thinkMeanMs: 5, writeMeanMs: 5 },
    ...{ snapshotEntries: 5, keepEntries: 0 },
  };
  return simulateMachine({
    ...options(seed, machine),
    story: { ...story, nodes: 3, clients: 8, weather },
  });
}

function options(seed: number, machine: () => Words): MachineSimulationOptions<number, Words> {
  return {
    seed,
    machine,
    command: (random, number) => Buffer.from(`word-${random.below(5)}-${number % 7}`),
    digest: ({ counts }) => JSON.stringify([...counts].sort()),
  };
}

/** The first violation within some seeds. */
async function firstViolation(machine: () => Words): Promise<string | undefined> {
  for (let seed = 1; seed <= 20; seed++) {
    const { violation } = await playWithSnapshots(seed, machine);
    if (violation !== undefined) return `${violation.property}: ${violation.message}`;
  }
  return undefined;
}

test('a machine that keeps the contract goes through storms, equally for equal seeds', async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const result = await play(seed, () => new Words());
    assert.equal(result.violation, undefined, `seed ${seed}`);
    assert.ok(result.operations['propose ok']! > 10);
    assert.ok(result.operations['read ok']! > 3);
  }
  const first = await play(2, () => new Words());
  assert.equal((await play(2, () => new Words())).traceHash, first.traceHash);
});

test('a machine whose answers depend on more than its commands is found out', async () => {
  let others = 0;
  class Forgetful extends Words {
    readonly #number = others++;
    override apply(data: Uint8Array, index: number): number {
      return super.apply(data, index) + (index > 20 ? this.#number : 0);
    }
  }
  assert.match((await firstViolation(() => new Forgetful()))!, /^machine-determinism: entry 2\d:/);
});

test('a snapshot that leaves something out is found out', async () => {
  class Lossy extends Words {
    override *snapshot(): Iterable<Uint8Array> {
      for (const chunk of [...super.snapshot()].slice(1)) yield chunk;
    }
  }
  assert.match(
    (await firstViolation(() => new Lossy()))!,
    /^(machine-determinism|state-machine-safety): /,
  );
});

test('a machine that shows later commands in its snapshot is found out', async () => {
  class Unpinned extends Words {
    override *snapshot(): Iterable<Uint8Array> {
      yield Buffer.from(JSON.stringify(['pulled at once', 0]));
      for (const each of this.counts) yield Buffer.from(JSON.stringify(each));
    }
    override async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
      await super.restore(chunks);
      this.counts.delete('pulled at once');
    }
  }
  assert.match(
    (await firstViolation(() => new Unpinned()))!,
    /^(machine-determinism|state-machine-safety): /,
  );
});

test('a machine that throws, keeps or changes the data it is lent, is found out', async () => {
  class Thrower extends Words {
    override apply(data: Uint8Array, index: number): number {
      if (index === 30) throw new Error('not today');
      return super.apply(data, index);
    }
  }
  assert.match((await firstViolation(() => new Thrower()))!, /not today/);

  class Keeper extends Words {
    readonly kept: Uint8Array[] = [];
    override apply(data: Uint8Array, index: number): number {
      const before = this.kept.at(-1)?.[0] ?? 0;
      this.kept.push(data);
      return super.apply(data, index) + before;
    }
  }
  assert.match((await firstViolation(() => new Keeper()))!, /^machine-determinism/);

  class Scribbler extends Words {
    override apply(data: Uint8Array, index: number): number {
      const count = super.apply(data, index);
      data[0] = 0;
      return count;
    }
  }
  assert.match((await firstViolation(() => new Scribbler()))!, /apply has changed the data/);
});

test('what nothing could be checked with is refused', async () => {
  const good = options(1, () => new Words());
  const wrong: [object, RegExp][] = [
    [{ machine: new Words() }, /machine must be a function/],
    [{ machine: () => ({ apply: () => 1 }) }, /it has no snapshot\(\)/],
    [{ machine: () => undefined }, /it has no apply\(\)/],
    [{ command: undefined }, /command must be a function/],
    [{ digest: ({ counts }: Words) => counts }, /digest must return .* string, not as object/],
  ];
  for (const [fields, message] of wrong) {
    const call = simulateMachine({ ...good, ...fields } as typeof good);
    await assert.rejects(call, { code: 'ERR_INVALID_ARGUMENT', message });
  }
});

test('a command that no log would take is named, not the trouble that comes of it', async () => {
  for (const nothing of [new Uint8Array(), 'word' as unknown as Uint8Array]) {
    const { violation } = await simulateMachine({
      ...options(1, () => new Words()),
      command: (_random, number) => (number < 3 ? Uint8Array.of(65) : nothing),
    });
    assert.equal(violation?.property, 'bad-command');
    assert.equal(violation.message, 'command 3 is no Uint8Array with content');
  }
});
