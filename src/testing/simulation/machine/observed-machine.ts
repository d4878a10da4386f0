/** A state machine that tells what it answers, and whose memory for commands is not its own. */

import type { StateMachine } from '../../../consensus/state-machine.ts';
import { QuorateError } from '../../../core/errors.ts';

export class ObservedMachine<Result, Machine extends StateMachine<Result>>
  implements StateMachine<Result>
{
  readonly inner: Machine;
  readonly #onAnswer: (index: number, result: Result) => void;

  constructor(inner: Machine, onAnswer: (index: number, result: Result) => void) {
    this.inner = inner;
    this.#onAnswer = onAnswer;
  }

  apply(data: Uint8Array, index: number): Result {
    // Overwritten afterwards: a machine that keeps it, against the contract, is found out.
    const lent = Buffer.from(data);
    const result = this.inner.apply(lent, index);
    if (!lent.equals(data)) {
      throw new QuorateError(
        'ERR_INTERNAL',
        `entry ${index}: apply has changed the data it was lent`,
      );
    }
    lent.fill(0xdb);
    this.#onAnswer(index, result);
    return result;
  }

  snapshot(): Iterable<Uint8Array> {
    return this.inner.snapshot();
  }

  restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.inner.restore(chunks);
  }
}
