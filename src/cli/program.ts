/**
 * Runs a program for as long as something is held (a lock, leadership), and ends it when that is
 * lost: it must not go on working beside the next holder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { type Clock, systemClock } from '../core/clock.ts';
import { CommandError, type Environment, Interrupted } from './io.ts';

export interface ProgramOptions {
  readonly command: readonly string[];
  /** Its whole environment. */
  readonly env: Environment;
  /** Aborted when what protects the program is lost. */
  readonly lost: AbortSignal;
  /** Aborted when the user asks to stop; the program then gets the same signal. */
  readonly interrupted: AbortSignal;
  /** From SIGTERM to SIGKILL. */
  readonly killAfterMs: number;
  readonly clock?: Clock;
}

export interface ProgramEnd {
  /** Its exit code, or 128 plus the number of the signal that ended it. */
  readonly code: number;
  /** Whether it was ended because the protection was lost. */
  readonly lost: boolean;
}

/**
 * Runs the program in a process group of its own, on this process's stdin, stdout and stderr.
 * Signals go to the whole group, so that what a shell started ends with the shell.
 *
 * @throws CommandError with code 127 or 126, as shells do, where it cannot be started
 */
export async function runProgram(options: ProgramOptions): Promise<ProgramEnd> {
  const [file, ...args] = options.command;
  const clock = options.clock ?? systemClock;
  if (options.lost.aborted) return { code: 0, lost: true };
  const child = spawn(file!, args, {
    env: options.env as NodeJS.ProcessEnv,
    stdio: 'inherit',
    detached: true,
  });
  let lost = false;
  let cancelKill: (() => void) | undefined;
  const onLost = (): void => {
    lost = true;
    signalGroup(child, 'SIGTERM');
    cancelKill ??= clock.after(options.killAfterMs, () => signalGroup(child, 'SIGKILL'));
  };
  const onInterrupt = (): void => {
    const { reason } = options.interrupted;
    signalGroup(child, reason instanceof Interrupted ? reason.signal : 'SIGTERM');
  };
  options.lost.addEventListener('abort', onLost, { once: true });
  if (options.interrupted.aborted) onInterrupt();
  else options.interrupted.addEventListener('abort', onInterrupt, { once: true });
  try {
    const code = await ended(child, file!);
    // Those of its group that outlive it are not protected either.
    if (lost) signalGroup(child, 'SIGKILL');
    return { code, lost };
  } finally {
    cancelKill?.();
    options.lost.removeEventListener('abort', onLost);
    options.interrupted.removeEventListener('abort', onInterrupt);
  }
}

const WHY_NOT_STARTED: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such program',
  EACCES: 'it is not executable',
};

function ended(child: ChildProcess, file: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      const why = WHY_NOT_STARTED[error.code ?? ''] ?? error.message;
      reject(new CommandError(`${file} could not be started: ${why}`, missing ? 127 : 126));
    });
    child.once('exit', (code, signal) => {
      resolve(signal === null ? code! : 128 + constants.signals[signal]);
    });
  });
}

/** The group's id is its first process's; where the group is gone there is nobody to tell. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') child.kill(signal);
  }
}
