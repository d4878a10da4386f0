/** How far it is: one line that is written over on a terminal, a plain line now and then elsewhere. */
const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 10_000;

export class ProgressLine {
  readonly #terminal: boolean;
  readonly #intervalMs: number;
  #shownMs = Date.now();
  #width = 0;

  /** Where stdout is for programs, progress goes nowhere. */
  constructor(wanted: boolean) {
    this.#terminal = wanted && process.stdout.isTTY === true;
    const intervalMs = this.#terminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
    this.#intervalMs = wanted ? intervalMs : Number.POSITIVE_INFINITY;
  }

  show(text: string): void {
    if (Date.now() - this.#shownMs < this.#intervalMs) return;
    this.#shownMs = Date.now();
    if (!this.#terminal) return void process.stdout.write(`${text}\n`);
    const columns = process.stdout.columns || 80;
    const line = text.slice(0, columns - 1);
    process.stdout.write(`\r${line.padEnd(this.#width)}`);
    this.#width = line.length;
  }

  clear(): void {
    if (this.#width > 0) process.stdout.write(`\r${' '.repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
