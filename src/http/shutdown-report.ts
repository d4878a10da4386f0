/** What became of a shutdown, phase by phase: as data and as text. */

/** In the order in which they run. */
export type ShutdownPhase =
  | 'unready'
  | 'leave'
  | 'wait'
  | 'stop'
  | 'finish'
  | 'pools'
  | 'release'
  | 'flush';

/**
 * `done`: all of it. `failed`: something threw. `abandoned`: something had not ended when its time was over.
 * `skipped`: a second signal came before.
 */
export type ShutdownOutcome = 'done' | 'failed' | 'abandoned' | 'skipped';

/** One function, server or pool of a phase. */
export interface ShutdownStep {
  readonly name: string;
  readonly outcome: ShutdownOutcome;
  readonly tookMs: number;
  /** What was thrown, or what was left behind. */
  readonly message?: string;
  /** Requests or tasks that ended in time. */
  readonly finished?: number;
  /** Requests or tasks that were given up. */
  readonly abandoned?: number;
}

/** One phase. */
export interface ShutdownPhaseReport {
  readonly phase: ShutdownPhase;
  /** The worst of its steps. */
  readonly outcome: ShutdownOutcome;
  readonly tookMs: number;
  readonly steps: readonly ShutdownStep[];
}

/** What became of a shutdown. */
export interface ShutdownReport {
  /** The signal, or what `run` was given. */
  readonly reason: string;
  /** 0 where all was done; 1 where something failed, was abandoned or skipped. */
  readonly exitCode: 0 | 1;
  readonly tookMs: number;
  /** All eight, in order. */
  readonly phases: readonly ShutdownPhaseReport[];
}

const WORST_FIRST: readonly ShutdownOutcome[] = ['failed', 'abandoned', 'skipped'];

export function worstOf(steps: readonly Pick<ShutdownStep, 'outcome'>[]): ShutdownOutcome {
  return WORST_FIRST.find((bad) => steps.some(({ outcome }) => outcome === bad)) ?? 'done';
}

/** The report as lines of text: the phases that had something to do, and what did not go well with its reason. */
export function shutdownText(report: ShutdownReport): string {
  const { reason, exitCode, tookMs, phases } = report;
  const told = phases.filter(({ outcome, steps, tookMs: took }) => {
    return outcome !== 'done' || steps.length > 0 || took >= 1;
  });
  const lines = told.flatMap((phase) => [
    line(2, phase.phase, phase),
    ...phase.steps.map((step) => line(4, step.name, step)),
  ]);
  return [
    `shut down (${reason}) in ${Math.round(tookMs)} ms, exit code ${exitCode}`,
    ...lines,
  ].join('\n');
}

type Told = Pick<ShutdownStep, 'outcome' | 'tookMs' | 'message' | 'finished' | 'abandoned'>;

function line(indent: number, name: string, told: Told): string {
  const { outcome, tookMs, message, finished, abandoned } = told;
  const counts = finished === undefined ? '' : `, ${finished} finished, ${abandoned} abandoned`;
  const said = message === undefined ? '' : `: ${message}`;
  return `${' '.repeat(indent)}${name} ${outcome} after ${Math.round(tookMs)} ms${counts}${said}`;
}
