/** `quorate lock NAME -- COMMAND`: a lock for shell scripts, jobs and deployments. */
import { durationMs } from '../../core/duration.ts';
import { etcdKv } from '../../drivers/etcd/index.ts';
import { kvLocks, type Lock, type Locks } from '../../locks/index.ts';
import { parse, splitProgram } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import { holdWhile, lostError } from '../hold.ts';
import { CommandError, type Io, jsonLine, line, UsageError } from '../io.ts';
import { giveUpAfter } from '../timeout.ts';

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
  const ttlMs = time('--ttl', values.ttl ?? '10s');
  const killAfterMs = time('--kill-after', values['kill-after'] ?? '5s');
  const waitMs = values['no-wait'] ? 0 : values.wait && time('--wait', values.wait);
  await using kv = etcdKv(connection(TOPIC, values, io.env));
  await using locks = kvLocks(kv, { ttl: ttlMs });
  const held = await acquire(locks, name, waitMs === '' ? undefined : waitMs, io);
  try {
    if (program === undefined) announce(held, name, values.json === true, io);
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
  } finally {
    await held.release();
  }
}

function time(name: string, text: string): number {
  try {
    return durationMs(text, name);
  } catch (error) {
    throw new UsageError((error as Error).message, TOPIC);
  }
}

async function acquire(
  locks: Locks,
  name: string,
  waitMs: number | undefined,
  io: Io,
): Promise<Lock> {
  if (waitMs === 0) {
    const held = await locks.tryAcquire(name, { signal: io.interrupted });
    if (held !== undefined) return held;
    throw new CommandError(`the lock '${name}' is not free`);
  }
  if (waitMs === undefined) return await locks.acquire(name, { signal: io.interrupted });
  const limit = giveUpAfter(waitMs, io.interrupted, () => {
    return new CommandError(`the lock '${name}' was not free within ${waitMs / 1000} s`);
  });
  try {
    return await locks.acquire(name, { signal: limit.signal });
  } finally {
    limit.cancel();
  }
}

function announce(held: Lock, name: string, json: boolean, io: Io): void {
  if (json) jsonLine(io, { name, key: held.key, token: held.fencingToken });
  else line(io, held.key);
}
