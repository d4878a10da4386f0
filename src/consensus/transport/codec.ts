/**
 * The contents of frames as bytes: fixed layout, little endian. Numbers are unsigned 64 bits of
 * which 53 are used; node ids are 8 bytes.
 *
 * A message does not carry who it is from and to: the connection's hello has established both, so
 * no message can claim another sender.
 */
import { type ErrorCode, isQuorateError, QuorateError } from '../../core/errors.ts';
import type { PeerMessage } from '../messages.ts';
import { MessageType } from '../messages.ts';
import type { Consensus, Entry, NodeId, SnapshotMetadata } from '../types.ts';
import { EntryType, NO_NODE } from '../types.ts';

// type, flags, seven numbers, entry count
const MESSAGE_BYTES = 2 + 7 * 8 + 4;
// type, term, index, length of data
const ENTRY_BYTES = 1 + 8 + 8 + 4;
const REJECT = 1;
const FORCE = 2;
const TWO_32 = 0x1_0000_0000;
/** Above, a number would not be exact. */
const MAX_HIGH = 0x1f_ffff;
/** An error's text beyond this is cut: it is for people. */
const MAX_ERROR_TEXT_BYTES = 4096;
/** The hello must stay below what is read of a stranger. */
const MAX_HELLO_URLS_BYTES = 900;
const MAX_HELLO_LEASES_BYTES = 80;

/** The refusal that says it for good: everything else may be a passing state of one of the two. */
export const REMOVED = 'it was removed from the cluster';

/** The version of the protocol that this code speaks: the oldest and the newest. */
export const PROTOCOL_VERSION = { oldest: 1, newest: 1 } as const;

/**
 * What a connection is for. A large append or a snapshot must not delay a heartbeat, so each has a
 * connection of its own.
 */
export const Channel = { control: 1, bulk: 2, snapshot: 3 } as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

export interface Hello {
  readonly oldestVersion: number;
  readonly newestVersion: number;
  readonly clusterId: NodeId;
  readonly from: NodeId;
  readonly to: NodeId;
  /** Of the sender's process: a new one makes all connections of the old one void. */
  readonly incarnation: NodeId;
  readonly channel: Channel;
  /** Where the sender is reached, for those that do not know it as a member yet. May be empty. */
  readonly urls: readonly string[];
  /** The core that the sender runs: one does not understand the other. @defaultValue `'raft'` */
  readonly consensus?: Consensus | undefined;
  /** What the sender's cluster agrees on about leases, in words. @defaultValue `''`: there are none */
  readonly leases?: string | undefined;
}

/** The answer to a hello: `refused` says in words why not. */
export interface Welcome {
  readonly version: number;
  readonly clusterId: NodeId;
  readonly nodeId: NodeId;
  readonly refused: string;
}

function malformed(what: string): QuorateError {
  return new QuorateError('ERR_PROTOCOL', `a frame is malformed: ${what}`);
}

function writeNumber(out: Buffer, at: number, value: number): number {
  out.writeUInt32LE(value >>> 0, at);
  return out.writeUInt32LE((value / TWO_32) | 0, at + 4);
}

function readNumber(from: Buffer, at: number): number {
  const high = from.readUInt32LE(at + 4);
  if (high > MAX_HIGH) throw malformed('a number above 2^53');
  return high * TWO_32 + from.readUInt32LE(at);
}

function writeId(out: Buffer, at: number, id: NodeId): number {
  if (id === NO_NODE) return out.fill(0, at, at + 8) && at + 8;
  out.write(id, at, 8, 'hex');
  return at + 8;
}

function readId(from: Buffer, at: number): NodeId {
  if (at + 8 > from.length) throw malformed('cut off within a node id');
  const id = from.toString('hex', at, at + 8);
  return id === '0000000000000000' ? NO_NODE : id;
}

/** Bytes of `message` without the frame's header. */
export function messageBytes(message: PeerMessage): number {
  const entries = message.entries;
  let bytes = MESSAGE_BYTES + entries.length * ENTRY_BYTES;
  for (let i = 0; i < entries.length; i++) bytes += entries[i]!.data.length;
  return bytes;
}

/** Encodes `message` at `at`; returns where it ends. */
export function writeMessage(out: Buffer, at: number, message: PeerMessage): number {
  out[at] = message.type;
  out[at + 1] = (message.reject ? REJECT : 0) | (message.force ? FORCE : 0);
  let position = writeNumber(out, at + 2, message.term);
  position = writeNumber(out, position, message.index);
  position = writeNumber(out, position, message.logTerm);
  position = writeNumber(out, position, message.commit);
  position = writeNumber(out, position, message.hintIndex);
  position = writeNumber(out, position, message.hintTerm);
  position = writeNumber(out, position, message.context);
  const entries = message.entries;
  position = out.writeUInt32LE(entries.length, position);
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    out[position] = entry.type;
    position = writeNumber(out, position + 1, entry.term);
    position = writeNumber(out, position, entry.index);
    position = out.writeUInt32LE(entry.data.length, position);
    out.set(entry.data, position);
    position += entry.data.length;
  }
  return position;
}

/** Whether the message at `at` carries entries, whose data will point into the frame's memory. */
export function carriesEntries(from: Buffer, at: number): boolean {
  return from.length > at + MESSAGE_BYTES;
}

/**
 * Decodes the message that fills `content` from `at` on. The entries' data are views of `content`,
 * which must be memory of its own: nothing is copied here.
 */
export function readMessage(content: Buffer, at: number, from: NodeId, to: NodeId): PeerMessage {
  if (content.length < at + MESSAGE_BYTES) throw malformed('cut off within a message');
  const type = content[at]!;
  const flags = content[at + 1]!;
  if (type < MessageType.append || type > MessageType.accepted) throw malformed('message type');
  if (flags > (REJECT | FORCE)) throw malformed('message flags');
  const entries: Entry[] = [];
  const end = readEntries(content, at + MESSAGE_BYTES - 4, entries);
  if (end !== content.length) throw malformed('bytes follow the message');
  return {
    type: type as MessageType,
    from,
    to,
    term: readNumber(content, at + 2),
    index: readNumber(content, at + 10),
    logTerm: readNumber(content, at + 18),
    entries,
    commit: readNumber(content, at + 26),
    reject: (flags & REJECT) !== 0,
    hintIndex: readNumber(content, at + 34),
    hintTerm: readNumber(content, at + 42),
    context: readNumber(content, at + 50),
    force: (flags & FORCE) !== 0,
  };
}

function readEntries(content: Buffer, at: number, entries: Entry[]): number {
  const count = content.readUInt32LE(at);
  let position = at + 4;
  if (count > (content.length - position) / ENTRY_BYTES) throw malformed('entry count');
  for (let i = 0; i < count; i++) {
    if (content.length - position < ENTRY_BYTES) throw malformed('cut off within an entry');
    const type = content[position]!;
    if (type > EntryType.adopted) throw malformed('entry type');
    const term = readNumber(content, position + 1);
    const index = readNumber(content, position + 9);
    const length = content.readUInt32LE(position + 17);
    position += ENTRY_BYTES;
    if (length > content.length - position) throw malformed('length of an entry');
    entries.push({
      type: type as EntryType,
      term,
      index,
      data: content.subarray(position, position + length),
    });
    position += length;
  }
  return position;
}

export function encodeHello(hello: Hello): Buffer {
  const text = Buffer.from(hello.urls.join(' '), 'utf8');
  // Not cut: half a URL is none. Whoever has more is known to its peers by the log alone.
  const urls = text.length > MAX_HELLO_URLS_BYTES ? text.subarray(0, 0) : text;
  const leases = Buffer.from(hello.leases ?? '', 'utf8').subarray(0, MAX_HELLO_LEASES_BYTES);
  const out = Buffer.alloc(41 + urls.length + leases.length);
  let at = out.writeUInt16LE(hello.oldestVersion, 0);
  at = out.writeUInt16LE(hello.newestVersion, at);
  at = writeId(out, at, hello.clusterId);
  at = writeId(out, at, hello.from);
  at = writeId(out, at, hello.to);
  at = writeId(out, at, hello.incarnation);
  out[at] = hello.channel;
  out.writeUInt16LE(urls.length, 37);
  urls.copy(out, 39);
  out[39 + urls.length] = hello.consensus === 'paxos' ? 1 : 0;
  out[40 + urls.length] = leases.length;
  leases.copy(out, 41 + urls.length);
  return out;
}

/** A newer version may append fields; those are not looked at. */
export function decodeHello(content: Buffer, at: number): Hello {
  if (content.length < at + 37) throw malformed('cut off within the hello');
  const channel = content[at + 36]!;
  if (channel < Channel.control || channel > Channel.snapshot) throw malformed('channel');
  return {
    oldestVersion: content.readUInt16LE(at),
    newestVersion: content.readUInt16LE(at + 2),
    clusterId: readId(content, at + 4),
    from: readId(content, at + 12),
    to: readId(content, at + 20),
    incarnation: readId(content, at + 28),
    channel: channel as Channel,
    ...readAppended(content, at + 37),
  };
}

/** What was appended to the hello over time; absent from an older sender. */
function readAppended(
  content: Buffer,
  at: number,
): {
  readonly urls: readonly string[];
  readonly consensus: Consensus;
  readonly leases: string;
} {
  if (content.length < at + 2) return { urls: [], consensus: 'raft', leases: '' };
  const end = at + 2 + content.readUInt16LE(at);
  if (end > content.length) throw malformed('URLs of the hello');
  const text = content.toString('utf8', at + 2, end);
  const urls = text.split(' ').filter((url) => url !== '');
  const leasesEnd = end + 2 + (content[end + 1] ?? 0);
  if (leasesEnd > Math.max(content.length, end + 2)) throw malformed('leases of the hello');
  const leases = content.toString('utf8', end + 2, leasesEnd);
  return { urls, consensus: content[end] === 1 ? 'paxos' : 'raft', leases };
}

export function encodeWelcome(welcome: Welcome): Buffer {
  const text = Buffer.from(welcome.refused, 'utf8').subarray(0, 512);
  const out = Buffer.alloc(20);
  let at = out.writeUInt16LE(welcome.version, 0);
  at = writeId(out, at, welcome.clusterId);
  at = writeId(out, at, welcome.nodeId);
  out.writeUInt16LE(text.length, at);
  return Buffer.concat([out, text]);
}

export function decodeWelcome(content: Buffer, at: number): Welcome {
  if (content.length < at + 20) throw malformed('cut off within the welcome');
  const length = content.readUInt16LE(at + 18);
  if (length > content.length - at - 20) throw malformed('text of the welcome');
  return {
    version: content.readUInt16LE(at),
    clusterId: readId(content, at + 2),
    nodeId: readId(content, at + 10),
    refused: content.toString('utf8', at + 20, at + 20 + length),
  };
}

/** What precedes the payload of a call. */
export function encodeCallHead(callId: number, method: string): Buffer {
  const length = Buffer.byteLength(method, 'utf8');
  if (length > 255) throw new QuorateError('ERR_INVALID_ARGUMENT', 'method: over 255 bytes');
  const out = Buffer.allocUnsafe(5 + length);
  out.writeUInt32LE(callId, 0);
  out[4] = length;
  out.write(method, 5, 'utf8');
  return out;
}

export function decodeCall(
  content: Buffer,
  at: number,
): { readonly callId: number; readonly method: string; readonly payload: Buffer } {
  if (content.length < at + 5) throw malformed('cut off within a call');
  const callId = content.readUInt32LE(at);
  const start = at + 5;
  const end = start + content[at + 4]!;
  if (end > content.length) throw malformed('method of a call');
  const method = content.toString('utf8', start, end);
  return { callId, method, payload: content.subarray(end) };
}

export function encodeCallId(callId: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32LE(callId, 0);
  return out;
}

export function decodeCallId(content: Buffer, at: number): number {
  if (content.length < at + 4) throw malformed('cut off within a reply');
  return content.readUInt32LE(at);
}

/** An error so that the caller sees its code, outcome and text; any other thing thrown is internal. */
export function encodeError(error: unknown): Buffer {
  const known: QuorateError = isQuorateError(error)
    ? error
    : new QuorateError('ERR_INTERNAL', `the peer failed: ${String(error)}`, { outcome: 'unknown' });
  const code = Buffer.from(known.code, 'latin1');
  const text = Buffer.from(known.message, 'utf8').subarray(0, MAX_ERROR_TEXT_BYTES);
  const out = Buffer.alloc(12);
  out[0] = known.outcome === 'unknown' ? 1 : 0;
  out[1] = known.retryable ? 1 : 0;
  out[2] = known.compactRevision === undefined ? 0 : 1;
  writeNumber(out, 3, known.compactRevision ?? 0);
  out[11] = code.length;
  return Buffer.concat([out, code, text]);
}

export function decodeError(content: Buffer, at: number): QuorateError {
  if (content.length < at + 12) throw malformed('cut off within an error');
  const codeEnd = at + 12 + content[at + 11]!;
  const code = content.toString('latin1', at + 12, codeEnd);
  if (codeEnd > content.length || !/^ERR_[A-Z_]+$/.test(code)) throw malformed('code of an error');
  const compactRevision = readNumber(content, at + 3);
  return new QuorateError(code as ErrorCode, content.toString('utf8', codeEnd), {
    outcome: content[at] === 0 ? 'not-applied' : 'unknown',
    retryable: content[at + 1] !== 0,
    ...(content[at + 2] === 0 ? {} : { compactRevision }),
  });
}

export function encodeSnapshotBegin(message: PeerMessage, metadata: SnapshotMetadata): Buffer {
  const { voters, learners, joint } = metadata.configuration;
  const lists = [voters, learners, joint?.outgoing ?? [], joint?.learnersNext ?? []];
  const size = 16 + 1 + lists.reduce((sum, ids) => sum + 2 + 8 * ids.length, 0);
  const out = Buffer.alloc(size + messageBytes(message));
  let at = writeNumber(out, 0, metadata.index);
  at = writeNumber(out, at, metadata.term);
  for (const ids of lists) {
    at = out.writeUInt16LE(ids.length, at);
    for (const id of ids) at = writeId(out, at, id);
  }
  // 0: not joint; 1: joint; 2: joint, and left by the leader itself.
  at = out.writeUInt8(joint === undefined ? 0 : joint.autoLeave ? 2 : 1, at);
  writeMessage(out, at, message);
  return out;
}

export function decodeSnapshotBegin(
  content: Buffer,
  at: number,
  from: NodeId,
  to: NodeId,
): { readonly message: PeerMessage; readonly metadata: SnapshotMetadata } {
  if (content.length < at + 20) throw malformed('cut off within the begin of a snapshot');
  const index = readNumber(content, at);
  const term = readNumber(content, at + 8);
  let position = at + 16;
  const lists: NodeId[][] = [];
  for (let list = 0; list < 4; list++) {
    if (content.length < position + 2) throw malformed('configuration of a snapshot');
    const count = content.readUInt16LE(position);
    position += 2;
    if (content.length < position + 8 * count) throw malformed('configuration of a snapshot');
    const ids: NodeId[] = [];
    for (let i = 0; i < count; i++, position += 8) ids.push(readId(content, position));
    lists.push(ids);
  }
  const kind = content[position] ?? 3;
  if (kind > 2) throw malformed('configuration of a snapshot');
  const plain = { voters: lists[0]!, learners: lists[1]! };
  const joint = { outgoing: lists[2]!, learnersNext: lists[3]!, autoLeave: kind === 2 };
  const configuration = kind === 0 ? plain : { ...plain, joint };
  const message = readMessage(content, position + 1, from, to);
  return { message, metadata: { index, term, configuration } };
}
