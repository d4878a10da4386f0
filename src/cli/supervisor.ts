/**
 * The line between `quorate start` and the nodes it runs as child processes: nodes report over
 * Node's IPC channel, and stop when the parent is gone, however it ended.
 */

/** What a node tells. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'role'; readonly role: string; readonly term: number }
  | { readonly kind: 'failed'; readonly message: string; readonly code: string };

export interface SupervisorLink {
  readonly tell: (report: Report) => void;
  /** Aborted when the parent process is gone. */
  readonly gone: AbortSignal;
  /** Closes the channel, so that the process can end. */
  readonly release: () => void;
}

/** The link of this process to its parent; does nothing where it was not started by `start`. */
export function toSupervisor(): SupervisorLink {
  const gone = new AbortController();
  const { send } = process;
  if (send === undefined) {
    return { tell: () => undefined, gone: gone.signal, release: () => undefined };
  }
  const onDisconnect = (): void => gone.abort(new Error('the process that started it is gone'));
  process.once('disconnect', onDisconnect);
  return {
    // A report that cannot be sent any more concerns nobody.
    tell: (report) => void (process.connected && send.call(process, report, () => undefined)),
    gone: gone.signal,
    release: () => {
      process.removeListener('disconnect', onDisconnect);
      if (process.connected) process.disconnect();
    },
  };
}

export function isReport(message: unknown): message is Report {
  const kind = (message as { kind?: unknown } | null)?.kind;
  return kind === 'ready' || kind === 'role' || kind === 'failed';
}
