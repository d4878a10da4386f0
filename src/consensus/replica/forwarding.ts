/** The payloads with which a follower hands proposals to the leader, and the leader's answer. */
import { QuorateError } from '../../core/errors.ts';
import type { Appended, Refusal } from '../core.ts';

/** What became of one forwarded proposal. `no-space`: the leader's disk is full. */
export type Placement = Appended | Refusal | 'no-space';

const REFUSALS: readonly (Refusal | 'no-space')[] = [
  'no-leader',
  'not-leader',
  'busy',
  'transferring',
  'changing',
  'no-space',
];

/** count, then length and bytes of each. */
export function encodeForward(proposals: readonly { readonly data: Uint8Array }[]): Buffer {
  let size = 4;
  for (const { data } of proposals) size += 4 + data.length;
  const out = Buffer.allocUnsafe(size);
  let at = out.writeUInt32LE(proposals.length, 0);
  for (const { data } of proposals) {
    at = out.writeUInt32LE(data.length, at);
    out.set(data, at);
    at += data.length;
  }
  return out;
}

export function decodeForward(payload: Uint8Array): Uint8Array[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const proposals: Uint8Array[] = [];
  let at = 4;
  const count = payload.length < 4 ? 0 : view.getUint32(0, true);
  for (let i = 0; i < count; i++) {
    const end = at + 4 <= payload.length ? at + 4 + view.getUint32(at, true) : payload.length + 1;
    if (end > payload.length) {
      throw new QuorateError('ERR_PROTOCOL', 'a forwarded batch of proposals is cut short');
    }
    // The log keeps entries for long: a copy of its own lets go of the received frame.
    proposals.push(Buffer.from(payload.subarray(at + 4, end)));
    at = end;
  }
  return proposals;
}

/** 17 bytes each: 0 and the place, or 1 + which refusal. */
export function encodePlacements(placements: readonly Placement[]): Buffer {
  const out = Buffer.alloc(placements.length * 17);
  placements.forEach((placement, i) => {
    if (typeof placement === 'string') {
      out.writeUInt8(1 + REFUSALS.indexOf(placement), i * 17);
    } else {
      out.writeDoubleLE(placement.index, i * 17 + 1);
      out.writeDoubleLE(placement.term, i * 17 + 9);
    }
  });
  return out;
}

export function decodePlacements(payload: Uint8Array): Placement[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const placements: Placement[] = [];
  for (let at = 0; at + 17 <= payload.length; at += 17) {
    const kind = view.getUint8(at);
    placements.push(
      kind === 0
        ? { index: view.getFloat64(at + 1, true), term: view.getFloat64(at + 9, true) }
        : (REFUSALS[kind - 1] ?? 'busy'),
    );
  }
  return placements;
}
