/** Runs what a phase of a shutdown consists of, all at once, and waits no longer than it may. */
import type { Clock } from '../core/clock.ts';
import type {
  ShutdownOutcome,
  ShutdownPhase,
  ShutdownPhaseReport,
  ShutdownStep,
} from './shutdown-report.ts';
import { worstOf } from './shutdown-report.ts';

/** What a function of a phase is given. */
export interface ShutdownContext {
  /** Aborted when the time of the phase is over, or a second signal came. */
  readonly signal: AbortSignal;
}

/** A function of a phase: it is done when what it returns has ended. */
export type ShutdownFunction = (context: ShutdownContext) => unknown;

/** What a step may return to have it in the report. */
export interface StepEnd {
  readonly outcome: ShutdownOutcome;
  readonly message?: string;
  readonly finished?: number;
  readonly abandoned?: number;
}

export interface NamedStep {
  readonly name: string;
  readonly run: (signal: AbortSignal) => Promise<StepEnd>;
}

export interface PhasePlan {
  readonly phase: ShutdownPhase;
  readonly withinMs: number;
  /**
   * Added to that for steps which end by themselves when the signal is aborted, and then say what they left behind.
   */
  readonly graceMs: number;
  readonly steps: readonly NamedStep[];
}

const HURRY_MS = 10;

/** Never rejects. `hurry` ends the phase at once; aborted before, nothing is begun. */
export async function runPhase(
  { phase, withinMs, graceMs, steps }: PhasePlan,
  clock: Clock,
  hurry: AbortSignal,
): Promise<ShutdownPhaseReport> {
  if (hurry.aborted) {
    const skipped = steps.map(({ name }) => ({ name, outcome: 'skipped', tookMs: 0 }) as const);
    return { phase, outcome: 'skipped', tookMs: 0, steps: skipped };
  }
  const startedMs = clock.now();
  const tookMs = (): number => clock.now() - startedMs;
  const time = new AbortController();
  const { promise: isOver, resolve: over } = Promise.withResolvers<'over'>();
  // While the last phases run nothing else may keep the process alive.
  const cancels = [
    clock.after(withinMs, () => time.abort(new Error(`${phase}: ${withinMs} ms are over`)), true),
    clock.after(withinMs + graceMs, () => over('over'), true),
  ];
  const onHurry = (): void => {
    time.abort(hurry.reason);
    // Time enough for what ends by itself to say what it left.
    cancels.push(clock.after(HURRY_MS, () => over('over'), true));
  };
  hurry.addEventListener('abort', onHurry, { once: true });
  const run = async ({ name, run: begin }: NamedStep): Promise<ShutdownStep> => {
    try {
      const end = await Promise.race([begin(time.signal), isOver]);
      if (end !== 'over') return { name, tookMs: tookMs(), ...end };
      const message = hurry.aborted ? 'a second signal came' : 'its time was over';
      return { name, outcome: 'abandoned', tookMs: tookMs(), message };
    } catch (error) {
      return { name, outcome: 'failed', tookMs: tookMs(), message: messageOf(error) };
    }
  };
  const done = await Promise.all(steps.map(run));
  for (const cancel of cancels) cancel();
  hurry.removeEventListener('abort', onHurry);
  return { phase, outcome: worstOf(done), tookMs: tookMs(), steps: done };
}

/** Whatever was thrown: some values have no text, and what reads them throws again. */
function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return 'what was thrown has no text';
  }
}

/** The functions of a phase that a user gave. */
export function stepsOf(given: Readonly<Record<string, ShutdownFunction>>): NamedStep[] {
  return Object.entries(given).map(([name, step]) => ({
    name,
    run: async (signal) => {
      await step({ signal });
      return { outcome: 'done' };
    },
  }));
}
