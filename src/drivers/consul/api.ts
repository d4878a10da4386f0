/**
 * What locks need of Consul's HTTP API (developer.hashicorp.com/consul/api-docs: session, kv, txn).
 *
 * A lock is taken by a transaction that makes its key: where there is none, or in the place of one that nobody
 * holds. So `CreateIndex`, the index of Raft's log at that moment, is different for every grant and grows over
 * all of them. Consul's own sequencer, `LockIndex`, begins anew with the key, and is 0 after a value was set.
 */
import { QuorateError } from '../../core/errors.ts';
import type { ConsulClient, ConsulRequest } from './client.ts';

/** A key that is there. */
export interface Entry {
  /** Who holds it; `undefined`: nobody. */
  readonly session: string | undefined;
  readonly value: Buffer;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

/** A key as it is at an index, from which on its next change can be waited for. */
export interface Seen {
  readonly entry: Entry | undefined;
  readonly index: number;
}

/** `busy`: there is a key. `delayed`: a session that held it ended by force a moment ago. `no-session`: ours has. */
export type Taken =
  | { readonly status: 'held'; readonly token: number }
  | { readonly status: 'busy' | 'delayed' | 'no-session' };

export interface NewSession {
  readonly owner: string;
  readonly ttlMs: number;
  readonly lockDelayMs: number;
}

const CONFLICT = 409;
const NOT_FOUND = 404;

export class ConsulApi {
  readonly #client: ConsulClient;

  constructor(client: ConsulClient) {
    this.#client = client;
  }

  /**
   * A session that ends by time alone: no failing health check of the agent's host may end it earlier. One whose
   * id was lost holds nothing, and runs out.
   */
  async openSession({ owner, ttlMs, lockDelayMs }: NewSession): Promise<string> {
    const body = {
      Name: owner,
      TTL: `${Math.ceil(ttlMs)}ms`,
      LockDelay: `${Math.ceil(lockDelayMs)}ms`,
      Behavior: 'delete',
      NodeChecks: [],
      Checks: [],
    };
    const doing = `a session with a ttl of ${ttlMs} ms`;
    const path = '/v1/session/create';
    const { text } = await this.#client.request({
      method: 'PUT',
      path,
      body,
      doing,
      repeatable: true,
    });
    const id = (parsed(text, doing) as { readonly ID?: unknown } | null)?.ID;
    if (typeof id === 'string' && /^[\w-]{1,100}$/.test(id)) return id;
    throw nonsense(doing);
  }

  /** @returns `false` where it is gone */
  async renewSession(id: string, signal: AbortSignal): Promise<boolean> {
    const doing = 'renewal of the session';
    const path = `/v1/session/renew/${id}`;
    const { status, text } = await this.#client.request({
      method: 'PUT',
      path,
      doing,
      repeatable: true,
      answers: [NOT_FOUND],
      signal,
      lane: 'apart',
    });
    if (status === NOT_FOUND) {
      // A proxy, or another program, has no sessions either.
      if (/session id .* not found/i.test(text)) return false;
      throw nonsense(doing);
    }
    const [session] = listOf(parsed(text, doing), doing);
    if (textOf(session, 'ID') === id) return true;
    throw nonsense(doing);
  }

  async endSession(id: string, signal: AbortSignal): Promise<void> {
    const path = `/v1/session/destroy/${id}`;
    const doing = 'end of the session';
    await this.#client.request({ method: 'PUT', path, doing, repeatable: true, signal });
  }

  async hasSession(id: string, signal: AbortSignal | undefined): Promise<boolean> {
    const path = `/v1/session/info/${id}?consistent`;
    const doing = 'a look at the session';
    const { text } = await this.#client.request({
      method: 'GET',
      path,
      doing,
      repeatable: true,
      signal,
    });
    return listOf(parsed(text, doing), doing).length > 0;
  }

  /**
   * Takes a key for a session.
   * @param free - `modifyIndex` of the key where it is there and nobody holds it
   */
  async take(
    key: string,
    session: string,
    value: Uint8Array,
    free: number | undefined,
  ): Promise<Taken> {
    const doing = `the lock '${key}'`;
    const first =
      free === undefined
        ? { Verb: 'check-not-exists', Key: key }
        : { Verb: 'delete-cas', Key: key, Index: free };
    const result = await this.#transact(doing, [
      first,
      { Verb: 'lock', Key: key, Value: base64(value), Session: session },
    ]);
    if (!(result instanceof Refused)) {
      const token = numberOf(result.at(-1), 'CreateIndex');
      if (token !== undefined) return { status: 'held', token };
      throw nonsense(doing, 'unknown');
    }
    if (result.says(/due to lock delay/)) return { status: 'delayed' };
    if (result.says(/invalid session/)) return { status: 'no-session' };
    if (result.says(/exists$|failed to delete key|is stale|failed to lock key/)) {
      return { status: 'busy' };
    }
    throw new QuorateError('ERR_PROTOCOL', `${doing}: ${result.what}`);
  }

  /** @returns `false` where the session does not hold it, and nothing was done */
  async giveBack(key: string, session: string): Promise<boolean> {
    const result = await this.#transact(`release of '${key}'`, [
      { Verb: 'check-session', Key: key, Session: session },
      { Verb: 'delete', Key: key },
    ]);
    return !(result instanceof Refused);
  }

  /** @returns `false` where it has changed since, and nothing was done */
  async remove(key: string, modifyIndex: number): Promise<boolean> {
    const result = await this.#transact(`removal of '${key}'`, [
      { Verb: 'delete-cas', Key: key, Index: modifyIndex },
    ]);
    return !(result instanceof Refused);
  }

  /** @returns `false` where the session does not hold it, and nothing was done */
  async setValue(key: string, session: string, value: Uint8Array): Promise<boolean> {
    const result = await this.#transact(`the value of '${key}'`, [
      { Verb: 'check-session', Key: key, Session: session },
      { Verb: 'set', Key: key, Value: base64(value) },
    ]);
    return !(result instanceof Refused);
  }

  /** The key as it is, after all that was acknowledged before. */
  async read(key: string, signal: AbortSignal | undefined): Promise<Seen> {
    return this.#get(key, '?consistent', { signal });
  }

  /** The key as it is, for what many may ask at a time. */
  async look(key: string, signal: AbortSignal): Promise<Seen> {
    return this.#get(key, '', { signal, lane: 'look' });
  }

  /** The key when it has changed since `index`, or after `waitMs`. */
  async next(key: string, index: number, waitMs: number, signal: AbortSignal): Promise<Seen> {
    const wait = `?index=${index}&wait=${Math.ceil(waitMs)}ms`;
    const seen = await this.#get(key, wait, { signal, waitMs, lane: 'apart' });
    // Of a store that was restored: from the beginning.
    return seen.index < index ? { ...seen, index: 0 } : seen;
  }

  async #get(
    key: string,
    query: string,
    how: Pick<ConsulRequest, 'signal' | 'waitMs' | 'lane'>,
  ): Promise<Seen> {
    const doing = `a look at '${key}'`;
    const path = `/v1/kv/${key}${query}`;
    const { status, headers, text } = await this.#client.request({
      method: 'GET',
      path,
      doing,
      repeatable: true,
      answers: [NOT_FOUND],
      ...how,
    });
    const index = Number(headers['x-consul-index']);
    if (!Number.isSafeInteger(index) || index < 0) throw nonsense(doing);
    // An agent would answer at once to who waits for a change since 0.
    const since = Math.max(1, index);
    if (status === NOT_FOUND) return { entry: undefined, index: since };
    const [only] = listOf(parsed(text, doing), doing);
    const createIndex = numberOf(only, 'CreateIndex');
    const modifyIndex = numberOf(only, 'ModifyIndex');
    if (createIndex === undefined || modifyIndex === undefined) throw nonsense(doing);
    const value = Buffer.from(textOf(only, 'Value') ?? '', 'base64');
    const session = textOf(only, 'Session') || undefined;
    return { entry: { session, value, createIndex, modifyIndex }, index: since };
  }

  /** The results of all operations, or why none was done. */
  async #transact(doing: string, operations: readonly object[]): Promise<unknown[] | Refused> {
    const { status, text } = await this.#client.request({
      method: 'PUT',
      path: '/v1/txn',
      body: operations.map((operation) => ({ KV: operation })),
      doing,
      repeatable: false,
      answers: [CONFLICT],
    });
    const body = parsed(text, doing, 'unknown') as Readonly<Record<string, unknown>> | null;
    if (status === CONFLICT) {
      const refused = new Refused(listOf(body?.['Errors'], doing, 'unknown'));
      if (!refused.says(/permission denied/i)) return refused;
      throw new QuorateError(
        'ERR_PERMISSION_DENIED',
        `${doing}: ${refused.what}; the token needs key:write on the prefix and session:write on the node`,
      );
    }
    const results = listOf(body?.['Results'], doing, 'unknown');
    return results.map((result) => (result as { readonly KV?: unknown } | null)?.KV);
  }
}

/** Why a transaction was not done. */
class Refused {
  readonly what: string;

  constructor(errors: readonly unknown[]) {
    this.what = errors.map((error) => textOf(error, 'What') ?? 'no reason given').join('; ');
  }

  says(text: RegExp): boolean {
    return text.test(this.what);
  }
}

function base64(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

type Outcome = 'not-applied' | 'unknown';

function parsed(text: string, doing: string, outcome?: Outcome): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw nonsense(doing, outcome);
  }
}

function listOf(value: unknown, doing: string, outcome?: Outcome): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw nonsense(doing, outcome);
}

function textOf(record: unknown, field: string): string | undefined {
  const value = fieldOf(record, field);
  return typeof value === 'string' ? value : undefined;
}

/** An index, which is a number that a double holds. */
function numberOf(record: unknown, field: string): number | undefined {
  const value = fieldOf(record, field);
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : undefined;
}

function fieldOf(record: unknown, field: string): unknown {
  const isRecord = typeof record === 'object' && record !== null;
  return isRecord ? (record as Readonly<Record<string, unknown>>)[field] : undefined;
}

function nonsense(doing: string, outcome: Outcome = 'not-applied'): QuorateError {
  const message = `${doing}: the answer is none of Consul's; check that the address is the HTTP API of a Consul agent`;
  return new QuorateError('ERR_PROTOCOL', message, { outcome });
}
