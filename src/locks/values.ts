/** Values of claims, checked at the door. */
import type { BytesLike } from '../core/bytes.ts';
import { QuorateError } from '../core/errors.ts';

/** @throws ERR_REQUEST_TOO_LARGE for more than `most` bytes */
export function valueBytes(value: BytesLike, most: number): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  if (bytes.byteLength <= most) return bytes;
  throw new QuorateError(
    'ERR_REQUEST_TOO_LARGE',
    `value: ${bytes.byteLength} bytes, more than ${most}; store it elsewhere and say where`,
  );
}
