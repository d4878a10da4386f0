/** To listen to events, with their types. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { QuorateEvents } from './channels.ts';

/**
 * Listens to events of one kind, of everything in this process. The same as `subscribe` of `node:diagnostics_channel`, and
 * the event has its type.
 *
 * The listener is called at once, in the middle of what it is told of: it should be quick. What it throws is an uncaught
 * exception; the call goes on as if nothing had happened.
 *
 * @returns what ends it. Idempotent.
 * @example
 * ```ts
 * const stop = onEvent('quorate:breaker:change', ({ name, to }) => log.warn(`${name} is ${to}`));
 * ```
 */
export function onEvent<Name extends keyof QuorateEvents>(
  name: Name,
  listener: (event: QuorateEvents[Name]) => void,
): () => void {
  const onMessage = (message: unknown): void => listener(message as QuorateEvents[Name]);
  subscribe(name, onMessage);
  return () => void unsubscribe(name, onMessage);
}
