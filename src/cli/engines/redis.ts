/** `--driver redis` and `redlock`, over the `redis` or `ioredis` of the project that the command runs in. */
import { orAborted } from '../../core/abort.ts';
import { systemClock } from '../../core/clock.ts';
import {
  type IoRedisClient,
  type NodeRedisClient,
  type RedisClient,
  redisElections,
  redisLocks,
  redlock,
} from '../../drivers/redis/index.ts';
import type { Elections, Fencing, Locks } from '../../locks/index.ts';
import { timeoutMs, tlsOf } from '../client.ts';
import { CommandError, type Io, UsageError } from '../io.ts';
import { type Loaded, loadPackage } from '../packages.ts';
import { type Opened, opened } from './opened.ts';
import type { EngineValues } from './options.ts';

const DEFAULT_URL = 'redis://127.0.0.1:6379';

interface Connecting {
  readonly client: RedisClient;
  /** Settles with the first attempt; after a failure it is tried again all the same. */
  readonly connected: Promise<void>;
  close(): void;
}

/** How to connect, the same for all servers. */
interface Settings {
  readonly connectTimeoutMs: number;
  readonly tls: object | undefined;
}

interface NodeRedisPackage {
  createClient(options: object): NodeRedisClient;
}
interface IoRedisPackage {
  readonly Redis: new (
    url: string,
    options: object,
  ) => IoRedisClient & { connect(): Promise<void> };
}

export async function openRedis(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Locks<Fencing>>> {
  const connection = await connectOne(topic, values, io);
  return onConnections([connection], () => {
    return redisLocks(connection.client, { ttl: ttlMs }) as Locks<Fencing>;
  });
}

export async function openRedisElections(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Elections>> {
  const connection = await connectOne(topic, values, io);
  return onConnections([connection], () => redisElections(connection.client, { ttl: ttlMs }));
}

export async function openRedlock(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Locks<Fencing>>> {
  const given = values['redis-url'] ?? io.env['QUORATE_REDIS_URL']?.split(/[\s,]+/) ?? [];
  const urls = given.filter((url) => url !== '');
  if (urls.length < 3 || urls.length % 2 === 0 || new Set(urls).size < urls.length) {
    throw new UsageError(
      `redlock needs an odd number of different servers, at least three: give --redis-url for each (${urls.length} given)`,
      topic,
    );
  }
  const connections = await connectTo(topic, urls, values, io);
  return onConnections(connections, async () => {
    await majority(connections, io.interrupted);
    return redlock(
      connections.map(({ client }) => client),
      { ttl: ttlMs },
    ) as Locks<Fencing>;
  });
}

async function onConnections<T extends AsyncDisposable>(
  connections: readonly Connecting[],
  open: () => T | Promise<T>,
): Promise<Opened<T>> {
  const close = (): undefined => {
    for (const connection of connections) connection.close();
  };
  try {
    return opened(await open(), close);
  } catch (error) {
    close();
    throw error;
  }
}

async function connectOne(topic: string, values: EngineValues, io: Io): Promise<Connecting> {
  const given = values['redis-url'] ?? [io.env['QUORATE_REDIS_URL'] || DEFAULT_URL];
  if (given.length > 1) {
    throw new UsageError('several --redis-url are for --driver redlock; redis is one', topic);
  }
  const [connection] = await connectTo(topic, given, values, io);
  try {
    await orAborted(connection!.connected, io.interrupted);
    return connection!;
  } catch (error) {
    connection!.close();
    throw error;
  }
}

async function connectTo(
  topic: string,
  urls: readonly string[],
  values: EngineValues,
  io: Io,
): Promise<readonly Connecting[]> {
  for (const url of urls) requireUrl(topic, url);
  const settings = {
    connectTimeoutMs: timeoutMs(topic, values, io.env),
    tls: tlsOptions(values),
  };
  const driver = `--driver ${values.driver ?? io.env['QUORATE_DRIVER']}`;
  const client = await loadPackage(['redis', 'ioredis'], driver);
  return urls.map((url) => connect(client, url, settings));
}

function requireUrl(topic: string, url: string): void {
  if (/^rediss?:\/\/[^/]/.test(url) && URL.canParse(url)) return;
  // What was given may hold a password.
  throw new UsageError('--redis-url is such as redis://HOST:6379, or rediss:// for TLS', topic);
}

function tlsOptions(values: EngineValues): object | undefined {
  const { insecureSkipVerify, ...files } = tlsOf(values, {}) ?? {};
  if (insecureSkipVerify === undefined && Object.keys(files).length === 0) return undefined;
  return { ...files, rejectUnauthorized: insecureSkipVerify !== true };
}

function connect({ name, exports }: Loaded, url: string, settings: Settings): Connecting {
  const backOff = (attempts: number): number => Math.min(50 * 2 ** attempts, 1000);
  const { connectTimeoutMs: connectTimeout } = settings;
  const tls = url.startsWith('rediss:') ? settings.tls : undefined;
  if (name === 'redis') {
    const { createClient } = exports as unknown as NodeRedisPackage;
    const socket = { connectTimeout, reconnectStrategy: backOff, ...tls };
    // Less is sent while it connects: it gets stuck less often where that breaks (docs/redis.md).
    const client = createClient({ url, socket, disableClientInfo: true });
    if (typeof client.destroy !== 'function') {
      throw new CommandError("the package 'redis' is too old: npm install redis@5");
    }
    const close = (): void => {
      if (client.isOpen) client.destroy();
    };
    const ping = (): Promise<unknown> => client.sendCommand(['PING']);
    return started(client, url, settings, { connect: () => client.connect(), ping, close });
  }
  const { Redis } = exports as unknown as IoRedisPackage;
  const client = new Redis(url, {
    connectTimeout,
    retryStrategy: backOff,
    lazyConnect: true,
    ...(tls === undefined ? {} : { tls }),
  });
  return started(client, url, settings, {
    connect: () => client.connect(),
    ping: () => client.call('PING'),
    close: () => client.disconnect(),
  });
}

interface Doing {
  connect(): Promise<unknown>;
  /** A server that wants a password lets anybody connect, and then refuses this. */
  ping(): Promise<unknown>;
  close(): void;
}

function started(client: RedisClient, url: string, settings: Settings, doing: Doing): Connecting {
  const connected = new Promise<void>((resolve, reject) => {
    const failed = (why: unknown): void => reject(unreachable(url, why));
    const cancel = systemClock.after(settings.connectTimeoutMs, () =>
      failed(new Error(`no answer within ${settings.connectTimeoutMs / 1000} s`)),
    );
    const done = (): void => {
      cancel();
      resolve();
    };
    client.on('ready', () => void doing.ping().then(done, failed));
    client.on('error', failed);
    doing.connect().catch(failed);
  });
  connected.catch(() => undefined);
  return { client, connected, close: doing.close };
}

function unreachable(url: string, why: unknown): CommandError {
  const { protocol, host } = new URL(url);
  const cause = why instanceof Error ? why : new Error(String(why));
  // Node says nothing of its own where it tried several addresses.
  const said = cause.message || ((cause as NodeJS.ErrnoException).code ?? cause.name);
  return new CommandError(`Redis at ${protocol}//${host}: ${said}`, undefined, { cause });
}

/** Until more than half are connected; the others may come later. */
async function majority(connections: readonly Connecting[], signal: AbortSignal): Promise<void> {
  const needed = Math.floor(connections.length / 2) + 1;
  const why: string[] = [];
  let count = 0;
  const decided = new Promise<void>((resolve, reject) => {
    for (const { connected } of connections) {
      connected.then(
        () => ++count === needed && resolve(),
        (error: Error) => {
          why.push(error.message);
          if (why.length <= connections.length - needed) return;
          const got = `only ${connections.length - why.length} of ${connections.length}`;
          reject(
            new CommandError(`${got} servers answer, ${needed} are needed: ${why.join('; ')}`),
          );
        },
      );
    }
  });
  await orAborted(decided, signal);
}
