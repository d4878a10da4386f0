/**
 * The clients for Redis that users bring: node-redis (`redis`) and `ioredis`, behind one small interface.
 *
 * Both are known by their shape, not imported. What they send must not wait in an offline queue: it would
 * arrive when nobody knows of it any more. So a client that is not ready is waited for, and then refused.
 */
import type { Cancel, Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';

/** A listener's arguments are those of Node's `EventEmitter`. */
interface Emitter {
  on(event: string, listener: (...args: unknown[]) => void): unknown;
}

/** What is used of a client of node-redis: `createClient()` of the package `redis`, 5 or later. */
export interface NodeRedisClient extends Emitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  sendCommand(args: readonly string[]): Promise<unknown>;
  duplicate(overrides?: { readonly disableClientInfo: true }): NodeRedisClient;
  connect(): Promise<unknown>;
  subscribe(channel: string, listener: (message: string, channel: string) => void): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  destroy(): void;
}

/** What is used of a client of the package `ioredis`, 5 or later. */
export interface IoRedisClient extends Emitter {
  readonly status: string;
  call(command: string, ...args: string[]): Promise<unknown>;
  duplicate(overrides?: { readonly autoResubscribe: false }): IoRedisClient;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  disconnect(): void;
}

/** A client that the user made and connected, and closes: of `redis` (node-redis) or of `ioredis`. */
export type RedisClient = NodeRedisClient | IoRedisClient;

/** What arrives on a channel. */
export type OnMessage = (message: string, channel: string) => void;

/** A connection for subscriptions. */
export interface SubscriberConnection {
  /** Rejects where that cannot be: the connection is closed then. */
  subscribe(channel: string): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  close(): void;
}

/** A client, whichever it is. */
export interface Connection {
  /** Whether what is sent goes out at once. */
  isReady(): boolean;
  /** Whether it may become ready without anybody's doing. */
  mayBecomeReady(): boolean;
  onReady(listener: () => void): () => void;
  send(args: readonly string[]): Promise<unknown>;
  /** Another number whenever the connection was lost or made. */
  readonly epoch: number;
  /** `onReady` is called whenever it connected anew: messages may have been missed. */
  subscriber(onMessage: OnMessage, onReady: () => void): Promise<SubscriberConnection>;
}

/** @throws `ERR_INVALID_ARGUMENT` for what is no client, `ERR_UNSUPPORTED` for one that will not do */
export function connectionOf(client: unknown): Connection {
  if (typeof client !== 'object' || client === null) throw noClient(`not ${typeof client}`);
  const it = client as Partial<NodeRedisClient & IoRedisClient> & Record<string, unknown>;
  if (it['isCluster'] === true || 'slots' in it || 'nodeClients' in it) {
    throw new QuorateError(
      'ERR_UNSUPPORTED',
      'client: a cluster client; scripts and wakes here are for one server, use a client of one',
    );
  }
  const canDuplicate = typeof it.duplicate === 'function' && typeof it.on === 'function';
  if (canDuplicate && typeof it.call === 'function' && typeof it.status === 'string') {
    const { keyPrefix } = (it['options'] ?? {}) as { keyPrefix?: string };
    if (keyPrefix) throw noClient('not one with a keyPrefix: use the option prefix instead');
    return new IoRedis(client as IoRedisClient);
  }
  if (canDuplicate && typeof it.sendCommand === 'function' && typeof it.isReady === 'boolean') {
    return new NodeRedis(client as NodeRedisClient);
  }
  throw noClient('not an object without their methods');
}

function noClient(but: string): QuorateError {
  return new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `client: a connected client of 'redis' (5 or later) or 'ioredis' is needed, ${but}`,
  );
}

/** Resolves when a command can be sent; rejects, with nothing sent, where that takes too long. */
export function whenReady(connection: Connection, clock: Clock, limitMs: number): Promise<void> {
  if (connection.isReady()) return Promise.resolve();
  if (!connection.mayBecomeReady()) {
    return Promise.reject(offline('is closed, or was never connected: connect it'));
  }
  return new Promise((resolve, reject) => {
    let cancel: Cancel = () => undefined;
    const off = connection.onReady(() => {
      off();
      cancel();
      resolve();
    });
    cancel = clock.after(limitMs, () => {
      off();
      reject(offline(`had no connection for ${Math.round(limitMs)} ms`));
    });
  });
}

function offline(what: string): QuorateError {
  return new QuorateError('ERR_UNAVAILABLE', `the Redis client ${what}`, { retryable: true });
}

const ignore = (): void => {
  // An emitter without a listener for 'error' ends the process; what failed is told by the call.
};

/** What the events of a client said. */
interface Seen {
  epoch: number;
  /** They wait until it is ready. */
  readonly waiting: Set<() => void>;
}

/** One for each client, for as long as there is the client: it takes few listeners without complaint. */
const seen = new WeakMap<Emitter, Seen>();

function seenOf(client: Emitter): Seen {
  const known = seen.get(client);
  if (known !== undefined) return known;
  const it: Seen = { epoch: 0, waiting: new Set() };
  seen.set(client, it);
  for (const event of ['reconnecting', 'connect', 'ready']) {
    client.on(event, () => {
      it.epoch += 1;
    });
  }
  client.on('ready', () => {
    for (const listener of [...it.waiting]) listener();
  });
  return it;
}

function onReady({ waiting }: Seen, listener: () => void): () => void {
  waiting.add(listener);
  return () => void waiting.delete(listener);
}

class NodeRedis implements Connection {
  readonly #client: NodeRedisClient;
  readonly #seen: Seen;

  constructor(client: NodeRedisClient) {
    this.#client = client;
    this.#seen = seenOf(client);
  }

  get epoch(): number {
    return this.#seen.epoch;
  }

  isReady(): boolean {
    return this.#client.isReady;
  }
  mayBecomeReady(): boolean {
    return this.#client.isOpen;
  }
  onReady(listener: () => void): () => void {
    return onReady(this.#seen, listener);
  }
  send(args: readonly string[]): Promise<unknown> {
    return this.#client.sendCommand(args);
  }

  async subscriber(onMessage: OnMessage, onReady: () => void): Promise<SubscriberConnection> {
    // Where a connection breaks while it says who it is versions before 5.11 take it for a good one, for ever
    // (redis/node-redis#3104).
    const client = this.#client.duplicate({ disableClientInfo: true });
    client.on('error', ignore);
    const close = (): void => {
      // It throws where it is closed already.
      if (client.isOpen) client.destroy();
    };
    try {
      await client.connect();
    } catch (error) {
      close();
      throw error;
    }
    client.on('ready', onReady);
    return {
      subscribe: (channel) => client.subscribe(channel, onMessage),
      unsubscribe: (channel) => client.unsubscribe(channel),
      close,
    };
  }
}

class IoRedis implements Connection {
  readonly #client: IoRedisClient;
  readonly #seen: Seen;

  constructor(client: IoRedisClient) {
    this.#client = client;
    this.#seen = seenOf(client);
  }

  get epoch(): number {
    return this.#seen.epoch;
  }

  isReady(): boolean {
    return this.#client.status === 'ready';
  }
  mayBecomeReady(): boolean {
    return ['connecting', 'connect', 'reconnecting', 'close'].includes(this.#client.status);
  }
  onReady(listener: () => void): () => void {
    return onReady(this.#seen, listener);
  }
  send(args: readonly string[]): Promise<unknown> {
    return this.#client.call(...(args as [string, ...string[]]));
  }

  async subscriber(onMessage: OnMessage, onReady: () => void): Promise<SubscriberConnection> {
    // Where a connection breaks while it subscribes again by itself, nobody handles the rejection.
    const client = this.#client.duplicate({ autoResubscribe: false });
    const channels = new Set<string>();
    client.on('error', ignore);
    client.on('message', (channel, message) => onMessage(String(message), String(channel)));
    client.on('ready', () => {
      const again = [...channels].map((channel) => client.subscribe(channel));
      // Where that fails it is not ready any more, and will be again.
      void Promise.allSettled(again).then(onReady);
    });
    return {
      async subscribe(channel) {
        await client.subscribe(channel);
        channels.add(channel);
      },
      async unsubscribe(channel) {
        channels.delete(channel);
        await client.unsubscribe(channel);
      },
      close: () => client.disconnect(),
    };
  }
}
