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
interface Tally {
  proposed: number;
  acknowledged: number;
  refused: number;
  applied: number;
}

export class MachineHistory<Result, Machine extends StateMachine<Result>> implements HistoryOracle {
  readonly #machine: Machine;
  readonly #digest: (machine: Machine) => string;
  /** Answers by index: those of entries that some node may still apply. */
  readonly #results: Map<number, Result>;
  readonly #tallies: Map<string, Tally>;
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
    this.#results.set(entry.index, this.#machine.apply(Buffer.from(entry.data), entry.index));
    this.#tally(entry.data).applied += 1;
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

  acknowledged(command: Uint8Array): void {
    this.#tally(command).acknowledged += 1;
  }

  refused(command: Uint8Array): void {
    this.#tally(command).refused += 1;
  }

  /** Everything is closed: what was acknowledged is in the history, what was refused is not. */
  judge(): void {
    for (const [command, { proposed, acknowledged, refused, applied }] of this.#tallies) {
      if (applied >= acknowledged && applied <= proposed - refused) continue;
      const said = `proposed ${proposed} times, acknowledged ${acknowledged}, refused ${refused}`;
      this.#world!.violate(
        applied < acknowledged ? 'nothing-lost' : 'applied-once',
        `the command ${JSON.stringify(command)}: ${said}, applied ${applied} times`,
      );
    }
  }

  #tally(command: Uint8Array): Tally {
    const key = Buffer.from(command).toString('latin1');
    let tally = this.#tallies.get(key);
    if (tally === undefined) {
      tally = { proposed: 0, acknowledged: 0, refused: 0, applied: 0 };
      this.#tallies.set(key, tally);
    }
    return tally;
  }
}

function text(value: unknown): string {
  return typeof value === 'bigint' ? `${value}` : (JSON.stringify(value) ?? String(value));
}
