/**
 * What a command sees of the process that runs it: arguments come as parameters, everything else
 * from here, so that tests can call a command like a function.
 */
import type { Readable, Writable } from 'node:stream';
import { styleText } from 'node:util';

/**
 * Exit codes. A command that runs another program (`lock`, `elect`) passes on that program's code,
 * or 128 plus the number of the signal that ended it.
 */
export const EXIT = {
  ok: 0,
  /** The operation failed, or its outcome is unknown; the message says which. */
  failed: 1,
  /** The command line makes no sense. */
  usage: 2,
  /** The key or the lock does not exist, or the cluster is not healthy. */
  notFound: 3,
  /** The lock or the leadership was lost while it was needed. */
  lost: 4,
} as const;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Io {
  readonly env: Environment;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Whether stdout is a terminal: live displays make sense. */
  readonly terminal: boolean;
  /** Whether stdout takes colours. */
  readonly colour: boolean;
  /** Aborted when the user asks to stop; the reason is an `Interrupted`. */
  readonly interrupted: AbortSignal;
}

/** The reason of `Io.interrupted`. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.name = 'Interrupted';
    this.signal = signal;
  }
}

/** The command line makes no sense: exit code 2, and where to read more. */
export class UsageError extends Error {
  /** The page that `quorate help` should show. */
  readonly topic: string;

  constructor(message: string, topic: string) {
    super(message);
    this.name = 'UsageError';
    this.topic = topic;
  }
}

/** An error whose message is for the user as it is. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failed, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CommandError';
    this.exitCode = exitCode;
  }
}

export type Colour = 'green' | 'yellow' | 'red' | 'cyan' | 'gray' | 'bold';

export function paint(io: Io, colour: Colour, text: string): string {
  return io.colour ? styleText(colour, text, { validateStream: false }) : text;
}

export function line(io: Io, text = ''): void {
  io.stdout.write(`${text}\n`);
}

/** One JSON object a line; revisions are numbers, 64-bit ids are text. */
export function jsonLine(io: Io, value: unknown): void {
  const text = JSON.stringify(value, (_, field) =>
    typeof field === 'bigint' ? field.toString() : field,
  );
  io.stdout.write(`${text}\n`);
}

/** Rows as columns, two spaces apart; numbers (as numbers) to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, String(cell).length);
    }
  }
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column]!;
        return typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1536` as `1.5 KiB`. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < SIZES.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${SIZES[unit]}`;
}
