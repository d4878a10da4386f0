/** The one place that makes messages, so that all of them share one hidden class. */

import type { MessageType, PeerMessage } from '../messages.ts';
import type { Entry, NodeId } from '../types.ts';

/** A message that is still being filled in. */
export type Draft = { -readonly [Field in keyof PeerMessage]: PeerMessage[Field] };

const NO_ENTRIES: readonly Entry[] = Object.freeze([]);

/** A message whose optional fields are all zero, empty or false. */
export function draft(type: MessageType, from: NodeId, to: NodeId, term: number): Draft {
  return {
    type,
    from,
    to,
    term,
    index: 0,
    logTerm: 0,
    entries: NO_ENTRIES,
    commit: 0,
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context: 0,
    force: false,
  };
}

/** A reply that says no. */
export function refusal(type: MessageType, from: NodeId, to: NodeId, term: number): Draft {
  const reply = draft(type, from, to, term);
  reply.reject = true;
  return reply;
}
