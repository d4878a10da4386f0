/** What a holder says of itself to those who look. */
import { hostname } from 'node:os';
import { invalid } from '../core/errors.ts';

const MAX_OWNER_BYTES = 1024;

/** The owner as given, or host name and process id. @throws ERR_INVALID_ARGUMENT */
export function ownerName(given: string | undefined): string {
  if (given === undefined) return `${hostname()}/${process.pid}`;
  if (typeof given === 'string' && Buffer.byteLength(given) <= MAX_OWNER_BYTES) return given;
  throw invalid(`owner: text of at most ${MAX_OWNER_BYTES} bytes is needed`);
}
