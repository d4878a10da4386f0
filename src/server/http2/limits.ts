/** What a connection may ask of us. Each bound is generous for real clients and small for memory. */

/** Bounds of one HTTP/2 connection. The defaults are `DEFAULT_HTTP2_LIMITS` in this file. */
export interface Http2Limits {
  /** Streams open at once; etcd has no bound, real clients stay below a few thousand. */
  readonly maxConcurrentStreams: number;
  /** Calls in progress, those of reset streams included; beyond it the connection is not read. */
  readonly maxActiveCalls: number;
  /** Window we give each stream: what it may send ahead. */
  readonly streamWindowBytes: number;
  /** Window we give the connection as a whole. */
  readonly connectionWindowBytes: number;
  /** Header fields of a request, unpacked, counted as RFC 9113 §10.5.1 does. */
  readonly maxHeaderListBytes: number;
  /** A header block as sent, over all its CONTINUATION frames. */
  readonly maxHeaderBlockBytes: number;
  /** What a client may leave unread before its next response closes the connection. */
  readonly maxQueuedBytes: number;
  /** Unfinished messages of all streams together. */
  readonly maxHeldBytes: number;
  /** Frames a second that ask for nothing: pings, settings, resets, empty data, priorities. */
  readonly maxIdleFramesPerSecond: number;
}

export const DEFAULT_HTTP2_LIMITS: Http2Limits = {
  maxConcurrentStreams: 10_000,
  maxActiveCalls: 10_000,
  streamWindowBytes: 1024 * 1024,
  connectionWindowBytes: 16 * 1024 * 1024,
  maxHeaderListBytes: 64 * 1024,
  maxHeaderBlockBytes: 64 * 1024,
  maxQueuedBytes: 256 * 1024 * 1024,
  maxHeldBytes: 64 * 1024 * 1024,
  maxIdleFramesPerSecond: 20_000,
};
