/** The kinds of log: what their records mean depends on the core that wrote them. */
import type { Identity } from '../storage.ts';
import { LogImage, type RecordImage } from './log-image.ts';
import { NewestSlot, SlotImage } from './slot-image.ts';
import { TermRuns } from './term-runs.ts';

/** What the writer must know of the log's end. */
export type LogTail = Pick<TermRuns, 'last' | 'append' | 'snapshot'>;

/** As `LogImage`'s constructor. */
export function newImage({ consensus }: Identity, start: number, firstIndex: number): RecordImage {
  return consensus === 'paxos' ? new SlotImage(start, firstIndex) : new LogImage(start, firstIndex);
}

/** The log follows the snapshot at `index` and `term`; 0 and 0 for none. */
export function newTail({ consensus }: Identity, index: number, term: number): LogTail {
  return consensus === 'paxos' ? new NewestSlot(index) : new TermRuns(index, term);
}
