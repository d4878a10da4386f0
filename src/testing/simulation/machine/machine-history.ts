/**
 * What must come of the chosen history: a machine of its own is fed with it, entry by entry. Every
 * node's answers and states are held against it, and what clients were told against what was chosen.
 */
import { isDeepStrictEqual } from 'node:util';
import type { StateMachine } from '../../../consensus/state-machine.ts';
import { type Entry, EntryType } from '../../../consensus/types.ts';
import type { HistoryOracle } from '../checks/oracle.ts';
import { textHash } from '../trace.ts';
import type { World } from '../types.ts';

/** How often a command was proposed, and how it went. */
interface Tally<Result> {
  proposed: number;
  acknowledged: number;
  refused: number;
  /** The machine's answer each time it was applied. */
  readonly applied: Result[];
}

export class MachineHistory<Result, Machine extends StateMachine<Result>> implements HistoryOracle {
  readonly #machine: Machine;
  readonly #digest: (machine: Machine) => string;
  /** Answers by index. */
  readonly #results: Map<number, Result>;
  readonly #tallies: Map<string, Tally<Result>>;
  #world: World | undefined;

  constructor(machine: Machine, digest: (machine: Machine) => string) {
    this.#machine = machine;
    this.#digest = digest;
    this.#results = new Map();
    this.#tallies = new Map();
    this.#world = undefined;
  }

  begin(world: World): void {
    this.#world = world;
  }

  apply(entry: Entry): void {
    if (entry.type !== EntryType.normal || entry.data.length === 0) return;
    const result = this.#machine.apply(Buffer.from(entry.data), entry.index);
    this.#results.set(entry.index, result);
    this.#tally(entry.data).applied.push(result);
  }

  hash(): number {
    return textHash(this.#digest(this.#machine));
  }

  hashOf(machine: Machine): number {
    return textHash(this.#digest(machine));
  }

  /** A node has applied the entry at `index`, and its machine answers `result`. */
  answered(node: string, index: number, result: Result): void {
    const expected = this.#results.get(index);
    if (isDeepStrictEqual(result, expected)) return;
    this.#world!.violate(
      'machine-determinism',
      `entry ${index}: the machine of ${node} answers ${text(result)}, another one ${text(expected)}`,
    );
  }

  proposed(command: Uint8Array): void {
    this.#tally(command).proposed += 1;
  }

  /** Whoever proposed it was answered: with what the machine said to this very command. */
  acknowledged(command: Uint8Array, result: Result): void {
    const tally = this.#tally(command);
    tally.acknowledged += 1;
    if (tally.applied.findLastIndex((each) => isDeepStrictEqual(each, result)) >= 0) return;
    this.#world!.violate(
      'own-answer',
      `the command ${text(keyOf(command))} was answered ${text(result)}, which the machine never said to it`,
    );
  }

  refused(command: Uint8Array): void {
    this.#tally(command).refused += 1;
  }

  /** Everything is closed: what was acknowledged is in the history, what was refused is not. */
  judge(): void {
    for (const [command, tally] of this.#tallies) {
      const { proposed, acknowledged, refused } = tally;
      const applied = tally.applied.length;
      if (applied >= acknowledged && applied <= proposed - refused) continue;
      const said = `proposed ${proposed} times, acknowledged ${acknowledged}, refused ${refused}`;
      this.#world!.violate(
        applied < acknowledged ? 'nothing-lost' : 'applied-once',
        `the command ${JSON.stringify(command)}: ${said}, applied ${applied} times`,
      );
    }
  }

  #tally(command: Uint8Array): Tally<Result> {
    const key = keyOf(command);
    let tally = this.#tallies.get(key);
    if (tally === undefined) {
      tally = { proposed: 0, acknowledged: 0, refused: 0, applied: [] };
      this.#tallies.set(key, tally);
    }
    return tally;
  }
}

function keyOf(command: Uint8Array): string {
  return Buffer.from(command).toString('latin1');
}

function text(value: unknown): string {
  return typeof value === 'bigint' ? `${value}` : (JSON.stringify(value) ?? String(value));
}
