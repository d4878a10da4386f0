/** Durations in public options: milliseconds as a number, or text such as `'30s'`. */
import { invalid } from './errors.ts';

/** Milliseconds, or text: a number with `ms`, `s`, `m`, `h` or `d`, also joined (`'1m30s'`). */
export type Duration = number | string;

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The milliseconds of `duration`; `name` is the option named in the error. */
export function durationMs(duration: Duration, name: string): number {
  if (typeof duration === 'number') {
    if (Number.isFinite(duration) && duration >= 0) return duration;
  } else if (/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(duration)) {
    let total = 0;
    for (const [, amount, unit] of duration.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
      total += Number(amount) * UNIT_MS[unit!]!;
    }
    return total;
  }
  const examples = "'500ms', '30s' or '1m30s'";
  // The text "10" may be meant as milliseconds or as seconds: on a command line all is text.
  const said =
    typeof duration === 'string'
      ? `${JSON.stringify(duration)} is no duration; use text with a unit, such as ${examples}`
      : `${String(duration)} is no duration; use milliseconds, or text such as ${examples}`;
  throw invalid(`${name}: ${said}`);
}

/** As `durationMs`, and no other than of `leastMs` to `mostMs`. */
export function durationWithin(
  duration: Duration,
  name: string,
  leastMs: number,
  mostMs: number,
): number {
  const ms = durationMs(duration, name);
  if (ms >= leastMs && ms <= mostMs) return ms;
  throw invalid(`${name}: ${ms} ms; ${leastMs} ms to ${mostMs} ms are possible`);
}
