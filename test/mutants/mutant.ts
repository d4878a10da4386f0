/**
 * Bugs that others had, or that the papers warn of, each as one change to our sources. `npm run mutants`
 * puts them in, one at a time, and has the simulator find them: evidence that it would have found ours.
 *
 * To add one: a text that occurs once in the file (whole lines, with what is around where they are
 * common), and what takes its place. The code must still run: the simulator is to find it, not Node.
 */

/** One place that is changed. */
export interface Change {
  readonly file: string;
  /** Occurs once in the file. */
  readonly find: string;
  readonly replace: string;
}

/** A bug, and the change that brings it back. */
export interface Mutant extends Change {
  /** Short, stable, in kebab-case. */
  readonly id: string;
  /** What the code does wrong now, in a sentence. */
  readonly bug: string;
  /** Who had it, or who says why not. */
  readonly source: string;
  readonly consensus: 'raft' | 'paxos' | 'both';
  /** Seeds aimed at locks (`--workload`). @defaultValue a bit of everything */
  readonly workload?: 'locks';
  /** Faults or weather without which it cannot show (`--having` of the simulator): other seeds are passed over. */
  readonly having?: string;
  /** Second lines of defence that are taken away with it, where one place alone does no harm. */
  readonly also?: readonly Change[];
}
