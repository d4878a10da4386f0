/** Adds up runs, and says what they were like: also what never happened in any of them. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RARE_PATHS } from '../../src/testing/simulation/checks/rare-paths.ts';
import { FAULT_KINDS } from '../../src/testing/simulation/faults.ts';
import type { SimulationResult } from '../../src/testing/simulation/types.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** How rare paths are called that only runs aimed at locks can take. */
const OF_LOCKS = 'locks-';

type Counts = Record<string, number>;

export class Summary {
  runs = 0;
  violations = 0;
  events = 0;
  virtualMs = 0;
  cpuMs = 0;
  /** Faults of the stories, by kind. */
  readonly planned: Counts = {};
  /** What was done to the cluster, by the stories and by their weather. */
  readonly faults: Counts = {};
  readonly reached: Counts = {};
  readonly operations: Counts = {};

  /** Whether some run was aimed at locks, and whether some was not. */
  hasLocks = false;
  hasMixed = false;

  add(result: SimulationResult, cpuMs: number): void {
    this.runs++;
    this.events += result.events;
    this.virtualMs += result.virtualMs;
    this.cpuMs += cpuMs;
    if (result.violation !== undefined) this.violations++;
    for (const { kind, atMs } of result.story.faults) {
      if (atMs <= result.virtualMs) this.planned[kind] = (this.planned[kind] ?? 0) + 1;
    }
    if ('remoteRate' in result.story.weather) this.hasLocks = true;
    else this.hasMixed = true;
    addTo(this.faults, result.faults);
    addTo(this.reached, result.reached);
    addTo(this.operations, result.operations);
  }

  /** Rare paths that no run took. */
  neverReached(): string[] {
    const paths = rarePaths().filter((path) => this.reached[path] === undefined);
    return paths.filter((path) => (path.startsWith(OF_LOCKS) ? this.hasLocks : this.hasMixed));
  }

  /** Kinds of fault that no run played. */
  neverPlayed(): string[] {
    const kinds = Object.keys(FAULT_KINDS).filter((kind) => this.planned[kind] === undefined);
    return kinds.filter((kind) => {
      return FAULT_KINDS[kind]!.ofLocks === true ? this.hasLocks : this.hasMixed;
    });
  }

  /** Lines for a reader. */
  lines(realMs: number): string[] {
    const { runs, events, virtualMs, violations } = this;
    const speed = `${rounded(events / (realMs / 1000))} events/s, ${rounded(virtualMs / realMs)} x real time`;
    const lines = [
      `${runs === 1 ? '1 run' : `${runs} runs`}, ${violations === 0 ? 'no violation' : `${violations} with a violation`}`,
      `  ${rounded(events)} events, ${timeText(virtualMs)} virtual in ${timeText(realMs)} (${speed})`,
      ...table('operations', this.operations),
      ...table('planned faults', this.planned),
      ...table('injected', this.faults),
      ...table('rare paths', this.reached),
    ];
    // One run cannot reach everything.
    if (runs === 1) return lines;
    const missing = this.neverReached();
    if (missing.length > 0) lines.push(`NEVER REACHED: ${missing.join(', ')}`);
    const unplayed = this.neverPlayed();
    if (unplayed.length > 0) lines.push(`NEVER PLAYED: ${unplayed.join(', ')}`);
    return lines;
  }
}

function addTo(sums: Counts, counts: Readonly<Counts>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
}

function table(title: string, counts: Counts): string[] {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const cells = sorted.map(([name, count]) => `${name} ${count}`);
  if (cells.length === 0) return [`  ${title}: none`];
  const lines: string[] = [];
  let line = `  ${title}:`;
  for (const [i, cell] of cells.entries()) {
    const text = i === cells.length - 1 ? cell : `${cell},`;
    if (line.length + text.length > 98) {
      lines.push(line);
      line = `     `;
    }
    line += ` ${text}`;
  }
  return [...lines, line];
}

/** Those that must be taken, and whatever else the simulator's own sources report. */
function rarePaths(): string[] {
  const names = new Set<string>(RARE_PATHS);
  for (const file of globSync('src/testing/simulation/**/*.ts', { cwd: ROOT })) {
    if (file.endsWith('.test.ts')) continue;
    const source = readFileSync(join(ROOT, file), 'utf8');
    for (const [, name] of source.matchAll(/\breach\('([^']+)'\)/g)) names.add(name!);
  }
  return [...names].sort();
}

export function rounded(value: number): string {
  if (!Number.isFinite(value)) return '0';
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${Math.round(value / 1e3)}k`;
  return String(Math.round(value));
}

export function timeText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 100_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.round(ms / 60_000);
  return minutes < 100 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
