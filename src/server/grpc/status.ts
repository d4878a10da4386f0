/** gRPC statuses as the header blocks that carry them. */
import { GrpcCode, type GrpcStatus, statusOfError } from '../../proto/etcd-errors.ts';
import { type Field, type FieldBlock, fieldBlock } from '../http2/hpack-encoder.ts';

/** Statuses recur; this many different ones are kept laid out. */
const MAX_CACHED_STATUSES = 256;

const RESPONSE_FIELDS: readonly Field[] = [
  { name: ':status', value: '200' },
  { name: 'content-type', value: 'application/grpc', repeated: true },
];

/** Begins every response that has a message. */
export const RESPONSE_HEAD: FieldBlock = fieldBlock(RESPONSE_FIELDS);

/** Ends a call that succeeded. */
export const OK_TRAILERS: FieldBlock = fieldBlock([
  { name: 'grpc-status', value: '0', repeated: true },
]);

export const OK: GrpcStatus = { code: GrpcCode.ok, message: '' };

/** A failure that is a gRPC status by itself, and no error of Quorate's. */
export class GrpcFailure extends Error {
  readonly status: GrpcStatus;

  constructor(code: GrpcCode, message: string) {
    super(message);
    this.name = 'GrpcFailure';
    this.status = { code, message };
  }
}

/** The status that a failed call ends with. */
export function statusOf(error: unknown): GrpcStatus {
  return error instanceof GrpcFailure ? error.status : statusOfError(error);
}

const failures = new Map<string, { readonly only: FieldBlock; readonly trailers: FieldBlock }>();

/** The block that ends a call; `headSent` tells whether it also is the response's head. */
export function statusBlock(status: GrpcStatus, headSent: boolean): FieldBlock {
  if (status.code === GrpcCode.ok && headSent) return OK_TRAILERS;
  const key = `${status.code} ${status.message}`;
  let blocks = failures.get(key);
  if (blocks === undefined) {
    const fields = statusFields(status);
    blocks = { only: fieldBlock([...RESPONSE_FIELDS, ...fields]), trailers: fieldBlock(fields) };
    if (failures.size >= MAX_CACHED_STATUSES) failures.clear();
    failures.set(key, blocks);
  }
  return headSent ? blocks.trailers : blocks.only;
}

function statusFields(status: GrpcStatus): Field[] {
  const fields = [{ name: 'grpc-status', value: String(status.code) }];
  if (status.message !== '') {
    fields.push({ name: 'grpc-message', value: percentEncode(status.message) });
  }
  return fields;
}

/** Texts may quote what a client sent; this much of them is enough. */
const MAX_MESSAGE_BYTES = 4096;

/** As gRPC's protocol asks: bytes of UTF-8, those outside printable ASCII and `%` as `%XX`. */
export function percentEncode(text: string): string {
  if (text.length <= MAX_MESSAGE_BYTES && /^[ -$&-~]*$/.test(text)) return text;
  let encoded = '';
  for (const byte of Buffer.from(text, 'utf8').subarray(0, MAX_MESSAGE_BYTES)) {
    encoded +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}
