/**
 * Fencing in Redis: a command runs only while no higher token has been seen of what it writes to. Check and
 * command are one script, so nothing comes between. The token may come from a lock on any engine.
 */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { staleToken, type TokenSource, tokenOf } from '../../locks/fencing.ts';
import { requireBytes } from '../../locks/names.ts';
import { connectionOf, type RedisClient } from './clients.ts';
import { Commands, script } from './commands.ts';
import { keyOf, prefixOf } from './names.ts';
import { fromClient, tokenOf as seenToken } from './replies.ts';

/** How a fence in Redis behaves. */
export interface RedisFenceOptions {
  /** What the keys of the tokens begin with. @defaultValue `'quorate:fence:'` */
  readonly prefix?: string | undefined;
  /**
   * How long a token is remembered after its last write. A holder that was stopped for longer is not refused
   * any more. @defaultValue `'30d'`
   */
  readonly keep?: Duration | undefined;
  /** How long a command may take. @defaultValue `'5s'` */
  readonly timeout?: Duration | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** Lets commands pass whose token is not lower than the highest it has seen of a resource. */
export interface RedisFence {
  /**
   * Runs one command of Redis and resolves with its reply. `resource` is what the tokens are compared for: the
   * key that is written, or a name that several keys share.
   *
   * Rejects with `ERR_LOCK_LOST` (not applied) where a higher token has been there, with `outcome: 'unknown'`
   * where the reply was lost. `ioredis` sends again what had no reply: the command should bear that.
   */
  run(resource: string, token: TokenSource, command: readonly string[]): Promise<unknown>;
  /** Raises the highest token, and runs nothing. Rejects as `run`. */
  check(resource: string, token: TokenSource): Promise<void>;
}

/**
 * Lua's numbers are exact up to 2^53 only: digits are compared, by length first. The last of ARGV names the
 * call, and is the first value of the reply.
 */
const RUN = script(`local call = tonumber(ARGV[#ARGV])
local seen = redis.call('GET', KEYS[1])
local token = ARGV[1]
if seen and (#seen > #token or (#seen == #token and seen > token)) then return {call, 'stale', seen} end
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
if #ARGV == 3 then return {call, 'done'} end
local reply = redis.pcall(unpack(ARGV, 3, #ARGV - 1))
if type(reply) == 'table' and reply.err then return {call, 'failed', reply.err} end
return {call, 'done', reply}`);

/** Lua's stack has room for some thousand. */
const MOST_WORDS = 1000;

/**
 * A fence in the Redis of `client`, which you made and connected: of the package `redis` or of `ioredis`.
 *
 * It is as durable as that Redis: one that forgets its keys lets earlier holders write again.
 *
 * @example
 * ```ts
 * const fence = redisFence(client);
 * await fence.run('report:42', lock, ['SET', 'report:42', body]);
 * ```
 * @throws `ERR_INVALID_ARGUMENT` for what is no such client or option, `ERR_UNSUPPORTED` for a cluster.
 */
export function redisFence(client: RedisClient, options: RedisFenceOptions = {}): RedisFence {
  const prefix = prefixOf(options.prefix, 'quorate:fence:');
  const keepMs = Math.ceil(durationMs(options.keep ?? '30d', 'keep'));
  const limitMs = durationMs(options.timeout ?? '5s', 'timeout');
  if (keepMs < 1 || limitMs < 1) throw invalid('keep, timeout: at least 1 ms is needed');
  const commands = new Commands(connectionOf(client), options.clock ?? systemClock, limitMs);

  const send = async (
    resource: string,
    source: TokenSource,
    words: readonly string[],
  ): Promise<unknown> => {
    requireBytes(resource);
    const token = tokenOf(source);
    const args = [token.toString(), `${keepMs}`, ...words];
    const [outcome, value] = await commands.ask(RUN, keyOf(prefix, resource), args);
    if (outcome === 'done') return value;
    if (outcome === 'stale') throw staleToken(resource, token, seenToken(value as string));
    throw fromClient(new Error(String(value)));
  };
  return {
    run: async (resource, token, command) => {
      const isCommand = Array.isArray(command) && command.every((word) => typeof word === 'string');
      if (isCommand && command.length > 0 && command.length <= MOST_WORDS) {
        return send(resource, token, command);
      }
      throw invalid(`command: a list of 1 to ${MOST_WORDS} texts is needed: ['SET', key, value]`);
    },
    check: async (resource, token) => {
      await send(resource, token, []);
    },
  };
}
