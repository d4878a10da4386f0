/** `quorate kv get|put|del|watch`: keys by hand and in scripts, printed as etcdctl prints them. */
import { isQuorateError } from '../../core/errors.ts';
import { etcdKv } from '../../drivers/etcd/index.ts';
import type { KeyRange, KeyValue, Kv, RangeOptions, WatchEvent } from '../../kv/kv.ts';
import { type Parsed, parse, wholeNumber } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import { CommandError, EXIT, type Io, jsonLine, UsageError } from '../io.ts';

const TOPIC = 'kv';

const options = {
  ...clientOptions,
  prefix: { type: 'boolean' },
  'from-key': { type: 'boolean' },
  limit: { type: 'string' },
  rev: { type: 'string' },
  'sort-by': { type: 'string' },
  order: { type: 'string' },
  'keys-only': { type: 'boolean' },
  'values-only': { type: 'boolean' },
  'print-value-only': { type: 'boolean' },
  'count-only': { type: 'boolean' },
  serializable: { type: 'boolean' },
  'prev-kv': { type: 'boolean' },
  lease: { type: 'string' },
  'ignore-value': { type: 'boolean' },
  'ignore-lease': { type: 'boolean' },
} as const;

type Given = Parsed<typeof options>;
type Action = (kv: Kv, given: Given, io: Io) => Promise<number>;

const ACTIONS: Readonly<Record<string, Action>> = { get, put, del, watch };

export async function kv(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parse(TOPIC, options, argv);
  const [name, ...rest] = positionals;
  const action = name !== undefined && Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    const what = name === undefined ? 'kv needs a word' : `kv has no '${name}'`;
    throw new UsageError(`${what}: get, put, del or watch`, TOPIC);
  }
  await using store = etcdKv(connection(TOPIC, values, io.env));
  return await action(store, { values, positionals: rest }, io);
}

function keyRange({ values, positionals }: Given): KeyRange {
  const [key, end, ...extra] = positionals;
  if (key === undefined) throw new UsageError('a KEY is missing', TOPIC);
  if (extra.length > 0) throw new UsageError(`'${extra[0]}' is one argument too many`, TOPIC);
  const ways = [end !== undefined, values.prefix, values['from-key']].filter(Boolean).length;
  if (ways > 1) throw new UsageError('use one of END, --prefix and --from-key', TOPIC);
  if (values.prefix) return { prefix: key };
  if (values['from-key']) return { from: key };
  return end === undefined ? key : { from: key, to: end };
}

async function get(store: Kv, given: Given, io: Io): Promise<number> {
  const { values } = given;
  const range = keyRange(given);
  const result = await store.range(range, rangeOptions(given, io));
  const valuesOnly = values['values-only'] ?? values['print-value-only'];
  if (values.json) {
    const { revision, count, more } = result;
    const kvs = result.kvs.map((entry) => shown(entry, values['keys-only'] === true));
    jsonLine(io, { revision, count, more, kvs });
  } else if (values['count-only']) io.stdout.write(`${result.count}\n`);
  else {
    for (const { key, value } of result.kvs) {
      if (!valuesOnly) write(io, key);
      if (!values['keys-only']) write(io, value);
    }
  }
  return result.count === 0 && typeof range === 'string' ? EXIT.notFound : EXIT.ok;
}

function rangeOptions({ values }: Given, io: Io): RangeOptions {
  const limit = wholeNumber(TOPIC, '--limit', values.limit);
  const revision = wholeNumber(TOPIC, '--rev', values.rev);
  const sortBy = oneOf('--sort-by', values['sort-by'], [
    'key',
    'version',
    'create',
    'mod',
    'value',
  ]);
  const order = oneOf('--order', values.order?.toLowerCase(), ['ascend', 'descend']);
  return {
    signal: io.interrupted,
    ...(limit === undefined ? {} : { limit }),
    ...(revision === undefined ? {} : { revision }),
    ...(sortBy === undefined ? {} : { sortBy }),
    ...(order === undefined ? {} : { order }),
    ...(values['keys-only'] ? { keysOnly: true } : {}),
    ...(values['count-only'] ? { countOnly: true } : {}),
    ...(values.serializable ? { serializable: true } : {}),
  };
}

function oneOf<const Choice extends string>(
  name: string,
  given: string | undefined,
  choices: readonly Choice[],
): Choice | undefined {
  if (given === undefined) return undefined;
  const found = choices.find((choice) => choice === given);
  if (found !== undefined) return found;
  throw new UsageError(`${name} is one of ${choices.join(', ')}, not '${given}'`, TOPIC);
}

async function put(store: Kv, { values, positionals }: Given, io: Io): Promise<number> {
  const [key, text, ...extra] = positionals;
  if (key === undefined) throw new UsageError('put needs KEY and VALUE', TOPIC);
  if (text === undefined && !values['ignore-value']) {
    throw new UsageError('put needs a VALUE (- reads it from stdin)', TOPIC);
  }
  if (extra.length > 0) throw new UsageError('put takes one VALUE; put it in quotes', TOPIC);
  const value = text === '-' ? await readAll(io) : (text ?? '');
  const lease = values.lease === undefined ? undefined : leaseId(values.lease);
  const { revision, previous } = await store.put(key, value, {
    signal: io.interrupted,
    ...(lease === undefined ? {} : { lease }),
    ...(values['prev-kv'] ? { previous: true } : {}),
    ...(values['ignore-value'] ? { ignoreValue: true } : {}),
    ...(values['ignore-lease'] ? { ignoreLease: true } : {}),
  });
  if (values.json) {
    jsonLine(io, { revision, ...(previous === undefined ? {} : { previous: shown(previous) }) });
    return EXIT.ok;
  }
  io.stdout.write('OK\n');
  if (previous !== undefined) writePair(io, previous);
  return EXIT.ok;
}

async function readAll(io: Io): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of io.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function leaseId(text: string): bigint {
  if (/^[0-9a-fA-F]{1,16}$/.test(text)) return BigInt.asIntN(64, BigInt(`0x${text}`));
  throw new UsageError(`--lease takes a hexadecimal lease id, not '${text}'`, TOPIC);
}

async function del(store: Kv, given: Given, io: Io): Promise<number> {
  const { values } = given;
  const { revision, deleted, previous } = await store.delete(keyRange(given), {
    signal: io.interrupted,
    ...(values['prev-kv'] ? { previous: true } : {}),
  });
  if (values.json) {
    const before = values['prev-kv'] ? { previous: previous.map((entry) => shown(entry)) } : {};
    jsonLine(io, { revision, deleted, ...before });
    return EXIT.ok;
  }
  io.stdout.write(`${deleted}\n`);
  for (const entry of previous) writePair(io, entry);
  return EXIT.ok;
}

async function watch(store: Kv, given: Given, io: Io): Promise<number> {
  const { values } = given;
  const fromRevision = wholeNumber(TOPIC, '--rev', values.rev, 1);
  await using changes = store.watch(keyRange(given), {
    signal: io.interrupted,
    ...(fromRevision === undefined ? {} : { fromRevision }),
    ...(values['prev-kv'] ? { previous: true } : {}),
  });
  try {
    for await (const batch of changes) {
      for (const event of batch.events) {
        if (values.json) jsonLine(io, { revision: event.kv.modRevision, ...shownEvent(event) });
        else writeEvent(io, event);
      }
    }
  } catch (error) {
    if (!isQuorateError(error, 'ERR_COMPACTED')) throw error;
    throw new CommandError(
      `revision ${fromRevision} is compacted; the oldest that can be watched is ${error.compactRevision}`,
      EXIT.failed,
      { cause: error },
    );
  }
  return EXIT.ok;
}

function writeEvent(io: Io, event: WatchEvent): void {
  io.stdout.write(event.type === 'put' ? 'PUT\n' : 'DELETE\n');
  if (event.previous !== undefined) writePair(io, event.previous);
  writePair(io, event.kv);
}

/** As bytes: a value need not be text. */
function write(io: Io, bytes: Buffer): void {
  io.stdout.write(bytes);
  io.stdout.write('\n');
}

function writePair(io: Io, { key, value }: KeyValue): void {
  write(io, key);
  write(io, value);
}

function shownEvent({ type, kv: entry, previous }: WatchEvent): object {
  if (type === 'delete') {
    const before = previous === undefined ? {} : { previous: shown(previous) };
    return { type, ...text('key', entry.key), ...before };
  }
  const before = previous === undefined ? {} : { previous: shown(previous) };
  return { type, ...shown(entry), ...before };
}

function shown(entry: KeyValue, keyOnly = false): object {
  const { createRevision, modRevision, version, lease } = entry;
  return {
    ...text('key', entry.key),
    ...(keyOnly ? {} : text('value', entry.value)),
    createRevision,
    modRevision,
    version,
    ...(lease === 0n ? {} : { lease: BigInt.asUintN(64, lease).toString(16) }),
  };
}

/** Bytes as text where they are UTF-8, otherwise as base64 under another name. */
function text(name: 'key' | 'value', bytes: Buffer): Record<string, string> {
  const string = bytes.toString();
  if (Buffer.from(string).equals(bytes)) return { [name]: string };
  return { [`${name}Base64`]: bytes.toString('base64') };
}
