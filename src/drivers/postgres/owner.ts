/** The owner as PostgreSQL can show it: `application_name` has room for 63 characters of ASCII. */
import { QuorateError } from '../../core/errors.ts';
import { ownerName } from '../../locks/owner.ts';

const MAX_LENGTH = 63;

/** @throws ERR_INVALID_ARGUMENT */
export function visibleOwner(given: string | undefined): string {
  if (given === undefined) return fitted(ownerName(undefined));
  if (typeof given === 'string' && given.length <= MAX_LENGTH && /^[ -~]*$/.test(given))
    return given;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `owner: at most ${MAX_LENGTH} characters of printable ASCII are needed, more PostgreSQL does not show`,
  );
}

/** Its end tells processes of one host apart. */
function fitted(owner: string): string {
  return owner.replace(/[^ -~]/g, '?').slice(-MAX_LENGTH);
}
