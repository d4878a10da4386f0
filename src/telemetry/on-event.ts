/** To listen to events, with their types. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { invalid } from '../core/errors.ts';
import * as channels from './channels.ts';

type QuorateEvents = channels.QuorateEvents;

const NAMES = Object.values(channels).map((one) => (one as unknown as { name: string }).name);

/**
 * Listens to events of one kind, of everything in this process. The same as `subscribe` of `node:diagnostics_channel`, and
 * the event has its type.
 *
 * The listener is called at once, in the middle of what it is told of: it should be quick. What it throws is an uncaught
 * exception; the call goes on as if nothing had happened.
 *
 * @returns what ends it. Idempotent.
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const stop = onEvent('quorate:breaker:change', ({ name, to }) => log.warn(`${name} is ${to}`));
 * ```
 */
export function onEvent<Name extends keyof QuorateEvents>(
  name: Name,
  listener: (event: QuorateEvents[Name]) => void,
): () => void {
  if (!NAMES.includes(name))
    throw invalid(`name: there is no event ${String(name)}; there are ${NAMES.join(', ')}`);
  if (typeof listener !== 'function') throw invalid('listener: a function is needed');
  const onMessage = (message: unknown): void => listener(message as QuorateEvents[Name]);
  subscribe(name, onMessage);
  return () => void unsubscribe(name, onMessage);
}
