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

export function lostError(what: string, hadProgram: boolean): CommandError {
  const done = hadProgram ? ', so the command was ended' : '';
  return new CommandError(
    `${what}${done}: the cluster was out of reach, or the key was deleted`,
    EXIT.lost,
  );
}
