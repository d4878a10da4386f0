/** The words of the linearizability checker: what clients did, and what they should have seen. */

/** One thing that one client did. */
export interface Operation<Input, Output> {
  /** Who did it. A client does one thing after the other. */
  readonly client: number | string;
  /** When it began, by one clock for all clients: milliseconds or anything else that grows. */
  readonly callMs: number;
  /**
   * When its answer came; `undefined` where the outcome is unknown: it may take effect at any time
   * after `callMs`, or never. Of two operations of different clients that touch at the same
   * millisecond neither counts as the earlier one; those of one client follow each other.
   */
  readonly returnMs: number | undefined;
  /** What was asked. */
  readonly input: Input;
  /** What was answered; of no meaning where the outcome is unknown. */
  readonly output?: Output | undefined;
}

/**
 * What the object does when operations come one at a time. Pure: states are never changed in place,
 * and one state and input have one next state.
 */
export interface Model<State, Input, Output> {
  /** The state before the first operation. */
  readonly init: State;
  /**
   * The state after `input` in `state`, or `undefined` where `output` is not what it would answer
   * there. Where `output` is `undefined` the answer is unknown, and any would do.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  /**
   * Whether an answered operation can be placed neither in `state` nor in any state that may follow: the
   * search gives up what leads there. Only saves time; when in doubt `false`. @defaultValue `false`
   */
  isPast?(state: State, input: Input, output: Output): boolean;
  /**
   * A text or number that is equal for equal states and for no others.
   * @defaultValue the state where it is a text or number, its JSON otherwise
   */
  identity?(state: State): string | number;
  /** Which independent object an operation is on: each is checked by itself. @defaultValue one object */
  partition?(input: Input): string;
  /** An operation for a reader. @defaultValue input and output as JSON */
  describe?(input: Input, output: Output | undefined): string;
}
