/** From a command line to a command and an exit code; the one place where errors become text. */
import { isQuorateError } from '../core/errors.ts';
import { VERSION } from '../version.ts';
import { closest } from './args.ts';
import { CommandError, EXIT, Interrupted, type Io, paint, UsageError } from './io.ts';

type Command = (argv: readonly string[], io: Io) => Promise<number>;

/** Loaded when asked for: `quorate kv get` does not load the server. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./commands/start.ts')).start,
  serve: async () => (await import('./commands/serve.ts')).serve,
  kv: async () => (await import('./commands/kv.ts')).kv,
  lock: async () => (await import('./commands/lock.ts')).lock,
  elect: async () => (await import('./commands/elect.ts')).elect,
  status: async () => (await import('./commands/status.ts')).status,
  member: async () => (await import('./commands/member.ts')).member,
  'move-leader': async () => (await import('./commands/move-leader.ts')).moveLeader,
};

/** Runs one command line and returns the exit code; whatever goes wrong is one line on stderr. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const end = argv.indexOf('--');
  const own = end < 0 ? argv : argv.slice(0, end);
  try {
    return await dispatch(argv, own, io);
  } catch (error) {
    return explain(error, io, own.includes('--debug'));
  }
}

async function dispatch(argv: readonly string[], own: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    return printHelp(io, rest[0]);
  }
  if (name === 'version' || name === '--version' || name === '-v') {
    const { printVersion } = await import('./version-text.ts');
    return printVersion(io);
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    const near = closest(name, Object.keys(COMMANDS));
    const hint = near === undefined ? '' : `; did you mean '${near}'?`;
    throw new UsageError(`there is no command '${name}'${hint}`, '');
  }
  if (own.includes('--help') || own.includes('-h')) return printHelp(io, name);
  const command = await load();
  return command(rest, io);
}

async function printHelp(io: Io, topic: string | undefined): Promise<number> {
  const { helpPage, TOPICS } = await import('./help.ts');
  if (topic !== undefined && !Object.hasOwn(TOPICS, topic)) {
    throw new UsageError(`there is no help about '${topic}'`, '');
  }
  io.stdout.write(helpPage(io, topic));
  return EXIT.ok;
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

function explain(error: unknown, io: Io, debug: boolean): number {
  if (io.interrupted.aborted && (error === io.interrupted.reason || error instanceof Interrupted)) {
    return 128 + (SIGNAL_NUMBERS[(io.interrupted.reason as Interrupted).signal] ?? 0);
  }
  const label = paint(io, 'red', 'quorate:');
  const message = error instanceof Error ? error.message : String(error);
  io.stderr.write(`${label} ${message}\n`);
  if (error instanceof UsageError) {
    io.stderr.write(`see: quorate help${error.topic === '' ? '' : ` ${error.topic}`}\n`);
  }
  if (debug && error instanceof Error) io.stderr.write(`${stacks(error)}\n`);
  if (error instanceof UsageError || isQuorateError(error, 'ERR_INVALID_ARGUMENT'))
    return EXIT.usage;
  return error instanceof CommandError ? error.exitCode : EXIT.failed;
}

function stacks(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stacks(error.cause)}` : '';
  return `${VERSION} on Node ${process.version}: ${error.stack ?? error.message}${cause}`;
}
