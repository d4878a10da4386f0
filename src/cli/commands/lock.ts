/** `quorate lock NAME -- COMMAND`: a lock for shell scripts, jobs and deployments. */
import { isQuorateError } from '../../core/errors.ts';
import type { Fencing, Lock, Locks } from '../../locks/index.ts';
import { durationOf, parse, splitProgram } from '../args.ts';
import { openLocks } from '../engines/open.ts';
import { holdWhile, lostError } from '../hold.ts';
import { CommandError, type Io, jsonLine, line, UsageError } from '../io.ts';
import { holdOptions, type LockCommand, options, TOPIC } from './lock-options.ts';

export async function lock(argv: readonly string[], io: Io): Promise<number> {
  const { own, program } = splitProgram(argv);
  const given = parse(TOPIC, options, own);
  const [first, ...rest] = given.positionals;
  // With a command after -- these are names like any other.
  if (program === undefined && (first === 'ls' || first === 'release')) {
    refuse(given, Object.keys(holdOptions), `lock ${first}`);
    refuse(given, [first === 'ls' ? 'force' : 'prefix'], `lock ${first}`);
    const { list, release } = await import('./lock-operate.ts');
    return await (first === 'ls' ? list : release)({ ...given, positionals: rest }, io);
  }
  refuse(given, ['prefix', 'force'], 'lock NAME');
  return await hold(given, program, io);
}

/** @throws UsageError where one of these options was given */
function refuse({ values }: LockCommand, names: readonly string[], command: string): void {
  const found = names.find((name) => values[name as keyof typeof options] !== undefined);
  if (found !== undefined) throw new UsageError(`${command} takes no --${found}`, TOPIC);
}

async function hold(
  { values, positionals }: LockCommand,
  program: readonly string[] | undefined,
  io: Io,
): Promise<number> {
  const [name, ...extra] = positionals;
  if (name === undefined || name === '') throw new UsageError('lock needs a NAME', TOPIC);
  if (extra.length > 0) {
    throw new UsageError(
      `put -- before the command: quorate lock ${name} -- ${extra.join(' ')}`,
      TOPIC,
    );
  }
  if (program?.length === 0) throw new UsageError('there is no command after --', TOPIC);
  const ttlMs = durationOf(TOPIC, '--ttl', values.ttl ?? '10s');
  const killAfterMs = durationOf(TOPIC, '--kill-after', values['kill-after'] ?? '5s');
  if (values['no-wait'] && values.wait !== undefined) {
    throw new UsageError('--wait and --no-wait exclude each other', TOPIC);
  }
  const wait = values['no-wait'] ? '0s' : values.wait;
  const waitMs = wait === undefined ? undefined : durationOf(TOPIC, '--wait', wait);
  await using locks = await openLocks(TOPIC, values, ttlMs, io);
  await using held = await acquire(locks.it, name, waitMs, io);
  if (program === undefined) announce(held, values.json === true, io);
  const end = await holdWhile({
    lost: held.lost,
    program,
    env: {
      ...io.env,
      QUORATE_LOCK_NAME: name,
      // Not that of a lock around this one, where there is none.
      QUORATE_LOCK_TOKEN: held.fencingToken?.toString(),
    },
    killAfterMs,
    io,
  });
  if (end.lost) throw lostError(held.lost, program !== undefined);
  return end.code;
}

/** @throws CommandError where it is not free in time */
async function acquire(
  locks: Locks<Fencing>,
  name: string,
  waitMs: number | undefined,
  io: Io,
): Promise<Lock<Fencing>> {
  const signal = io.interrupted;
  if (waitMs === undefined) return await locks.acquire(name, { signal });
  if (waitMs === 0) {
    const held = await locks.tryAcquire(name, { signal });
    if (held !== undefined) return held;
    throw new CommandError(`the lock '${name}' is not free`);
  }
  try {
    return await locks.acquire(name, { signal, wait: waitMs });
  } catch (error) {
    if (!isQuorateError(error, 'ERR_LOCK_BUSY')) throw error;
    throw new CommandError(`the lock '${name}' was not free within ${waitMs / 1000} s`);
  }
}

function announce(held: Lock<Fencing>, json: boolean, io: Io): void {
  const { name, holder, fencingToken } = held;
  if (json) jsonLine(io, { name, holder, token: fencingToken });
  else line(io, holder);
}
