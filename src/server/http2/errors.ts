/** Error codes of HTTP/2 (RFC 9113, section 7) and the errors that end a connection or a stream. */

export const Http2Code = {
  noError: 0x0,
  protocolError: 0x1,
  internalError: 0x2,
  flowControlError: 0x3,
  settingsTimeout: 0x4,
  streamClosed: 0x5,
  frameSizeError: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compressionError: 0x9,
  connectError: 0xa,
  enhanceYourCalm: 0xb,
  inadequateSecurity: 0xc,
  http11Required: 0xd,
} as const;
export type Http2Code = (typeof Http2Code)[keyof typeof Http2Code];

/** What the peer did breaks the whole connection: it gets a GOAWAY with this code and text. */
export class ConnectionError extends Error {
  readonly code: Http2Code;

  constructor(code: Http2Code, message: string) {
    super(message);
    this.name = 'ConnectionError';
    this.code = code;
  }
}

/** The peer broke the rules of the protocol. */
export function protocolError(message: string): ConnectionError {
  return new ConnectionError(Http2Code.protocolError, message);
}

/** A frame has a length that its type cannot have. */
export function frameSizeError(frame: string): ConnectionError {
  return new ConnectionError(Http2Code.frameSizeError, `${frame} of a wrong length`);
}

/** A window was overrun, or opened further than a window can be. */
export function flowControlError(message: string): ConnectionError {
  return new ConnectionError(Http2Code.flowControlError, message);
}

/** The peer asks for more than we give anyone. */
export function enhanceYourCalm(message: string): ConnectionError {
  return new ConnectionError(Http2Code.enhanceYourCalm, message);
}
