/** `quorate lock ls` and `quorate lock release`: for operators who want to know who holds a lock, and to end that. */
import type { WaitOptions } from '../../core/abort.ts';
import { etcdKv } from '../../drivers/etcd/index.ts';
import type { KeyValue, Kv } from '../../kv/kv.ts';
import { type Fencing, kvLocks, type LockHolder, type Locks } from '../../locks/index.ts';
import { connection } from '../client.ts';
import { openLocks } from '../engines/open.ts';
import { driverOf } from '../engines/options.ts';
import { CommandError, EXIT, type Io, jsonLine, line, table, UsageError } from '../io.ts';
import { type LockCommand, TOPIC } from './lock-options.ts';

/** Nothing is held: no driver minds how long it would be. */
const TTL_MS = 10_000;
/** Keys that are read at a time: with names of the usual length well below what a message may have. */
const PAGE = 1000;

interface Listed {
  readonly name: string;
  readonly holders: readonly LockHolder[];
}

export async function list({ values, positionals }: LockCommand, io: Io): Promise<number> {
  const [name, ...extra] = positionals;
  if (extra.length > 0) throw new UsageError(`'${extra[0]}' is one argument too many`, TOPIC);
  const locks = await listed(name, values.prefix === true || name === undefined);
  if (values.json) jsonLine(io, { locks: locks.map(shown) });
  else if (locks.length > 0) for (const row of table(rowsOf(locks))) line(io, row);
  else io.stderr.write(`quorate: ${noneOf(name, values.prefix)}\n`);
  return EXIT.ok;

  async function listed(given: string | undefined, all: boolean): Promise<readonly Listed[]> {
    const driver = driverOf(TOPIC, values, io.env);
    if (all) {
      if (driver !== 'etcd') {
        const why = 'only etcd and the quorum can tell which locks there are';
        throw new UsageError(`lock ls needs a NAME with --driver ${driver}: ${why}`, TOPIC);
      }
      await using kv = etcdKv(connection(TOPIC, values, io.env));
      return await allLocks(kv, given ?? '', { signal: io.interrupted });
    }
    await using locks = await openLocks(TOPIC, values, TTL_MS, io);
    const holders = await locks.it.holders(given!, { signal: io.interrupted });
    return holders.length === 0 ? [] : [{ name: given!, holders }];
  }
}

function noneOf(name: string | undefined, prefix: boolean | undefined): string {
  if (name === undefined) return 'nobody holds a lock, or waits for one';
  const it = prefix ? `a lock whose name begins with '${name}'` : `the lock '${name}'`;
  return `nobody holds ${it}, or waits for it`;
}

export async function release({ values, positionals }: LockCommand, io: Io): Promise<number> {
  const [name, ...extra] = positionals;
  if (name === undefined || name === '') throw new UsageError('lock release needs a NAME', TOPIC);
  if (extra.length > 0) throw new UsageError(`'${extra[0]}' is one argument too many`, TOPIC);
  if (!values.force) {
    throw new UsageError(
      `whoever holds '${name}' may still be at work under it: release takes it away with --force`,
      TOPIC,
    );
  }
  await using locks = await openLocks(TOPIC, values, TTL_MS, io);
  const holders = await locks.it.forceRelease(name, { signal: io.interrupted });
  if (values.json) jsonLine(io, shown({ name, holders }));
  else if (holders.length > 0) {
    for (const row of table(rowsOf([{ name, holders }]))) line(io, row);
  }
  if (holders.length > 0) return EXIT.ok;
  throw new CommandError(`nobody holds the lock '${name}'`, EXIT.notFound);
}

/** The name of the lock or election that a key is a claim of: it ends with the lease it lives on. */
export function claimedName({ key, lease }: Pick<KeyValue, 'key' | 'lease'>): string | undefined {
  if (lease === 0n) return undefined;
  const [, name, id] =
    /^(.+)\/([0-9a-f]+)(?:-\d+)?(?:~(?:\d+|shared))?$/s.exec(key.toString()) ?? [];
  return id === BigInt.asUintN(64, lease).toString(16) ? name : undefined;
}

/** Every name below a prefix under which somebody stands in a queue: that is how locks look in a store. */
export async function allLocks(
  kv: Kv,
  prefix: string,
  { signal, page = PAGE }: WaitOptions & { readonly page?: number } = {},
): Promise<readonly Listed[]> {
  const names = new Set<string>();
  const { revision } = await kv.range({ prefix }, { countOnly: true, signal });
  let range: { prefix: string } | { from: Buffer; to?: Buffer } = { prefix };
  for (;;) {
    const options = { limit: page, keysOnly: true, revision, signal };
    const { kvs, more } = await kv.range(range, options);
    for (const entry of kvs) {
      const name = claimedName(entry);
      if (name !== undefined) names.add(name);
    }
    if (!more) break;
    range = restOf(prefix, kvs.at(-1)!.key);
  }
  await using locks: Locks<Fencing> = kvLocks(kv, { ttl: TTL_MS });
  const found: Listed[] = [];
  for (const name of names) {
    const holders = await locks.holders(name, { signal });
    if (holders.length > 0) found.push({ name, holders });
  }
  return found;
}

/** The keys with the prefix that come after one of them. */
function restOf(prefix: string, key: Buffer): { from: Buffer; to?: Buffer } {
  const from = Buffer.concat([key, Buffer.of(0)]);
  const bytes = Buffer.from(prefix);
  const at = bytes.findLastIndex((byte) => byte < 0xff);
  if (at < 0) return { from };
  const to = bytes.subarray(0, at + 1);
  to[at]! += 1;
  return { from, to };
}

function rowsOf(locks: readonly Listed[]): string[][] {
  const rows = locks.flatMap(({ name, holders }) =>
    holders.map(({ waiting, fencingToken, owner, holder }) => {
      return [name, waiting ? 'waits' : 'holds', String(fencingToken ?? '-'), owner, holder];
    }),
  );
  return [['NAME', 'STATE', 'TOKEN', 'OWNER', 'HOLDER'], ...rows];
}

function shown({ name, holders }: Listed): object {
  const all = holders.map(({ waiting, fencingToken, owner, holder }) => {
    return { waiting, token: fencingToken ?? null, owner, holder };
  });
  return { name, holders: all };
}
