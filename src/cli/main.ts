#!/usr/bin/env node
/** The `quorate` executable: wires the process to a command line's run, and ends with its exit code. */
import { constants } from 'node:os';
import { systemClock } from '../core/clock.ts';
import { Interrupted, type Io } from './io.ts';
import { run } from './run.ts';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  process.stderr.write(`quorate: needs Node 22.18 or newer, this is ${process.version}\n`);
  process.exit(1);
}

/** Ctrl-C may arrive twice at once: from the terminal and from the process that started this one. */
const SAME_SIGNAL_MS = 1_000;

const interruption = new AbortController();
let interruptedAt = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interruption.signal.aborted) {
      // Asked a second time: whoever asks does not want to wait.
      if (systemClock.now() - interruptedAt < SAME_SIGNAL_MS) return;
      process.exit(128 + constants.signals[signal]);
    }
    interruptedAt = systemClock.now();
    interruption.abort(new Interrupted(signal));
  });
}
// `quorate kv watch … | head -1`: who read has enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const { env, stdin, stdout, stderr } = process;
const terminal = stdout.isTTY === true;
const io: Io = {
  env,
  stdin,
  stdout,
  stderr,
  terminal,
  colour: terminal && !env['NO_COLOR'] && env['TERM'] !== 'dumb',
  interrupted: interruption.signal,
};

// Clocks and idle connections do not keep a process alive; a command that still runs does.
const running = new MessageChannel().port1;
running.ref();
const code = await run(process.argv.slice(2), io);
running.close();
process.exitCode = code;
// Output to a pipe is written before the process ends; a handle left open does not hold it back.
stdout.write('', () => stderr.write('', () => process.exit(code)));
