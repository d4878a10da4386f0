/** The log of a node: one line an event, as JSON or for people. */
import type { Writable } from 'node:stream';
import type { Clock } from '../core/clock.ts';
import { LOG_LEVELS, type LogLevel } from './serve-settings.ts';

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: 'json' | 'console';
  readonly output: Writable;
  readonly clock: Clock;
}

export type Log = (
  level: LogLevel,
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

export function openLog(options: LogOptions): Log {
  const lowest = LOG_LEVELS.indexOf(options.level);
  return (level, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(level) < lowest) return;
    const ts = new Date(options.clock.wallNow()).toISOString();
    if (options.format === 'json') {
      options.output.write(`${JSON.stringify({ level, ts, msg: message, ...fields })}\n`);
      return;
    }
    const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
    options.output.write(`${ts} ${level.padEnd(5)} ${message}${rest.join('')}\n`);
  };
}
