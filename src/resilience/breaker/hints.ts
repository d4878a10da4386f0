/**
 * What circuit breakers of several instances tell each other. Each decides by itself; that others have broken is a hint,
 * so nothing is lost but the hint where it is not told.
 */
import type { Cancel } from '../../core/clock.ts';

/** How instances tell each other which circuits they have broken: over a store, a bus, or within a test. */
export interface BreakerHints {
  /**
   * Tells the others that this instance has broken a circuit by its own evidence, or that it uses it again. Returns at
   * once and does not throw; it is told as well as can be.
   */
  tell(circuit: string, isBroken: boolean): void;
  /**
   * Calls `onBroken` each time that another instance is heard to have broken this circuit, with how many others have by
   * now; not when one uses it again, and not for what this instance tells.
   */
  listen(circuit: string, onBroken: (others: number) => void): Cancel;
}
