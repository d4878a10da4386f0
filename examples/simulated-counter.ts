// Your own state machine under faults: five clusters of it, each in a storm of its own, in virtual
// time. Equal seeds give equal runs, so what fails can be played again.
// Prints: 5 storms, nothing found

import type { StateMachine } from 'quorate/consensus';
import { simulateMachine } from 'quorate/testing';

class Counter implements StateMachine<number> {
  count = 0;

  apply(data: Uint8Array): number {
    this.count += data[0] ?? 0;
    return this.count;
  }

  snapshot(): Iterable<Uint8Array> {
    return [Buffer.from(String(this.count))];
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of chunks) this.count = Number(Buffer.from(chunk).toString());
  }
}

let found = 'nothing';
for (let seed = 1; seed <= 5; seed++) {
  const { violation } = await simulateMachine({
    seed,
    machine: () => new Counter(),
    command: (random) => Uint8Array.of(random.below(10)),
    digest: (counter) => String(counter.count),
  });
  if (violation !== undefined) found = `seed ${seed}: ${violation.property}: ${violation.message}`;
}
console.log(`5 storms, ${found} found`);
