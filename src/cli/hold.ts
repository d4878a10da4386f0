/** What `lock` and `elect` do once they have it: run the program, or wait for Ctrl-C. */
import { CommandError, type Environment, EXIT, type Io } from './io.ts';
import { type ProgramEnd, runProgram } from './program.ts';

export interface HoldOptions {
  readonly lost: AbortSignal;
  /** Absent: hold until Ctrl-C. */
  readonly program: readonly string[] | undefined;
  readonly env: Environment;
  readonly killAfterMs: number;
  readonly io: Io;
}

export async function holdWhile(options: HoldOptions): Promise<ProgramEnd> {
  const { lost, program, env, killAfterMs, io } = options;
  if (program !== undefined) {
    return await runProgram({
      command: program,
      env,
      lost,
      interrupted: io.interrupted,
      killAfterMs,
    });
  }
  await new Promise<void>((resolve) => {
    for (const signal of [lost, io.interrupted]) {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    }
  });
  return { code: EXIT.ok, lost: lost.aborted };
}

/** @param lost - whose reason says what was lost, and why */
export function lostError(lost: AbortSignal, hadProgram: boolean): CommandError {
  const { message } = lost.reason as Error;
  return new CommandError(hadProgram ? `${message}; the command was ended` : message, EXIT.lost);
}
