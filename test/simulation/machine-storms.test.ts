/**
 * Storms over a state machine that keeps every command it is told, in order: so what is lost, doubled
 * or out of order shows in the state itself. On both cores, and with members that change all the time.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateMachine } from '../../src/consensus/state-machine.ts';
import { simulateMachine } from '../../src/testing/simulation/machine/simulate-machine.ts';
import { storyOf } from '../../src/testing/simulation/simulation.ts';
import type { PlannedFault, SimulationOptions, Story } from '../../src/testing/simulation/types.ts';

const COMMANDS_PER_CHUNK = 7;

class Journal implements StateMachine<number> {
  commands: string[] = [];

  apply(data: Uint8Array): number {
    return this.commands.push(Buffer.from(data).toString());
  }

  *snapshot(): Generator<Uint8Array> {
    const pinned = this.commands.slice();
    for (let from = 0; from < pinned.length; from += COMMANDS_PER_CHUNK) {
      yield Buffer.from(JSON.stringify(pinned.slice(from, from + COMMANDS_PER_CHUNK)));
    }
    yield Buffer.alloc(0);
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const commands: string[] = [];
    let isWhole = false;
    for await (const chunk of chunks) {
      if (chunk.length === 0) isWhole = true;
      else commands.push(...(JSON.parse(Buffer.from(chunk).toString()) as string[]));
    }
    assert.ok(isWhole, 'a snapshot is restored only as a whole');
    this.commands = commands;
  }
}

async function storm(options: SimulationOptions): Promise<void> {
  const { violation, operations } = await simulateMachine({
    ...options,
    machine: () => new Journal(),
    // Each its own: a command that is applied twice, or after it was refused, is found out.
    command: (random, number) => Buffer.from(`c${number}`.padEnd(6 + random.below(300))),
    digest: ({ commands }) => commands.join('\n'),
  });
  assert.equal(violation, undefined, `${violation?.property}: ${violation?.message}`);
  assert.ok(operations['propose ok']! > 5);
}

for (const consensus of ['raft', 'paxos'] as const) {
  for (let seed = 1; seed <= 6; seed++) {
    test(
      `in storm ${seed} on ${consensus} a journal loses, doubles and reorders nothing`,
      {
        timeout: 60_000,
      },
      () => storm({ seed, consensus }),
    );
  }
}

const CHANGES = ['member-add', 'member-promote', 'member-remove', 'member-swap'] as const;

/** The story of a seed with a change of the members every third of a second. */
function restless(seed: number): Story {
  const story = storyOf({ seed });
  const changes: PlannedFault[] = [];
  for (let atMs = 2000; atMs < story.stormMs; atMs += 333) {
    changes.push({ atMs, kind: CHANGES[changes.length % CHANGES.length]!, amount: 1 });
  }
  const faults = [...story.faults, ...changes].sort((a, b) => a.atMs - b.atMs);
  return { ...story, faults };
}

for (let seed = 21; seed <= 24; seed++) {
  test(
    `in storm ${seed} the members change all the time, and all of that holds`,
    {
      timeout: 60_000,
    },
    () => storm({ seed, story: restless(seed) }),
  );
}
