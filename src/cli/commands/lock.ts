/** `quorate lock NAME -- COMMAND`: a lock for shell scripts, jobs and deployments. */
import { isQuorateError } from '../../core/errors.ts';
import { etcdKv } from '../../drivers/etcd/index.ts';
import { kvLocks, type Lock, type Locks } from '../../locks/index.ts';
import { durationOf, parse, splitProgram } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import { holdWhile, lostError } from '../hold.ts';
import { CommandError, type Io, jsonLine, line, UsageError } from '../io.ts';

const TOPIC = 'lock';

const options = {
  ...clientOptions,
  ttl: { type: 'string' },
  wait: { type: 'string' },
  'no-wait': { type: 'boolean' },
  'kill-after': { type: 'string' },
} as const;

export async function lock(argv: readonly string[], io: Io): Promise<number> {
  const { own, program } = splitProgram(argv);
  const { values, positionals } = parse(TOPIC, options, own);
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
  const given = values['no-wait'] ? '0s' : values.wait;
  const waitMs = given === undefined ? undefined : durationOf(TOPIC, '--wait', given);
  await using kv = etcdKv(connection(TOPIC, values, io.env));
  await using locks = kvLocks(kv, { ttl: ttlMs });
  await using held = await acquire(locks, name, waitMs, io);
  if (program === undefined) announce(held, values.json === true, io);
  const end = await holdWhile({
    lost: held.lost,
    program,
    env: {
      ...io.env,
      QUORATE_LOCK_NAME: name,
      QUORATE_LOCK_TOKEN: held.fencingToken.toString(),
    },
    killAfterMs,
    io,
  });
  if (end.lost) throw lostError(`the lock '${name}' was lost`, program !== undefined);
  return end.code;
}

/** @throws CommandError where it is not free in time */
async function acquire(
  locks: Locks,
  name: string,
  waitMs: number | undefined,
  io: Io,
): Promise<Lock> {
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

function announce(held: Lock, json: boolean, io: Io): void {
  const { name, holder, fencingToken } = held;
  if (json) jsonLine(io, { name, holder, token: fencingToken });
  else line(io, holder);
}
