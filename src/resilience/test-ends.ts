/** For tests: what a gate is told. */
import type { End } from './call.ts';
import type { Gate } from './section.ts';

/** Notes how calls end. */
export class Ends implements Gate {
  readonly name = 'ends';
  readonly ends: End[] = [];

  enter(): number {
    return 0;
  }

  leave(_ticket: unknown, end: End): void {
    this.ends.push(end);
  }
}
