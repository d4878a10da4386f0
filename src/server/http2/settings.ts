/** What a SETTINGS frame says, checked (RFC 9113, section 6.5.2). */
import { flowControlError, protocolError } from './errors.ts';
import { DEFAULT_MAX_FRAME_BYTES, MAX_WINDOW_BYTES, Setting } from './frames.ts';

const MAX_FRAME_SIZE_LIMIT = 0xff_ffff;

/** The settings that concern what we send; of a repeated one the last value counts. */
export interface PeerSettings {
  readonly headerTableBytes: number | undefined;
  readonly initialWindowBytes: number | undefined;
}

export function readSettings(buffer: Buffer, start: number, end: number): PeerSettings {
  let headerTableBytes: number | undefined;
  let initialWindowBytes: number | undefined;
  for (let at = start; at < end; at += 6) {
    const value = buffer.readUInt32BE(at + 2);
    switch (buffer.readUInt16BE(at)) {
      case Setting.headerTableSize:
        // The smallest of several must be signalled to the peer's decoder.
        headerTableBytes = Math.min(headerTableBytes ?? value, value);
        break;
      case Setting.enablePush:
        if (value > 1) throw protocolError('ENABLE_PUSH is 0 or 1');
        break;
      case Setting.maxFrameSize:
        if (value < DEFAULT_MAX_FRAME_BYTES || value > MAX_FRAME_SIZE_LIMIT) {
          throw protocolError('MAX_FRAME_SIZE out of range');
        }
        break;
      case Setting.initialWindowSize:
        if (value > MAX_WINDOW_BYTES) throw flowControlError('INITIAL_WINDOW_SIZE too large');
        initialWindowBytes = value;
        break;
    }
  }
  return { headerTableBytes, initialWindowBytes };
}
