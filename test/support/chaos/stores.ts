/** The operations of chaos over gRPC, by the etcd driver, and over JSON, by hand; with honest outcomes. */
import { Agent, request } from 'node:http';
import { QuorateError } from 'quorate';
import { etcdKv } from 'quorate/drivers/etcd';
import type { KvFound, KvInput, KvOutput } from 'quorate/testing';
import { meaningOfStatus } from '../../../src/proto/etcd-errors.ts';

/** What was answered, and the revision that the store had when it answered. */
export interface Answer {
  readonly output: KvOutput;
  readonly revision: number;
}

/** Rejects with a `QuorateError` whose outcome says whether it may have happened. */
export interface Store {
  perform(input: KvInput): Promise<Answer>;
  close(): Promise<void>;
}

const ABSENT: KvFound = { value: null, modRevision: 0 };

export function grpcStore(endpoints: readonly string[], timeoutMs: number): Store {
  const kv = etcdKv({ endpoints, timeoutMs });
  const foundIn = (kvs: readonly { readonly value: Buffer; readonly modRevision: number }[]) =>
    kvs[0] === undefined
      ? ABSENT
      : { value: kvs[0].value.toString(), modRevision: kvs[0].modRevision };
  return {
    async perform(input) {
      const { key } = input;
      switch (input.op) {
        case 'get': {
          const { kvs, revision } = await kv.range(key);
          return { output: { found: foundIn(kvs) }, revision };
        }
        case 'put': {
          const { revision } = await kv.put(key, input.value);
          return { output: { revision }, revision };
        }
        case 'delete': {
          const { deleted, revision } = await kv.delete(key);
          const output = deleted > 0 ? { deleted: true, revision } : { deleted: false };
          return { output, revision };
        }
        case 'txn': {
          const { value, ifModRevision } = input;
          const { succeeded, revision, results } = await kv.txn({
            if: [{ key, target: 'mod', is: '=', to: ifModRevision }],
            then: [value === null ? { op: 'delete', key } : { op: 'put', key, value }],
            else: [{ op: 'range', key }],
          });
          const [result] = results;
          if (succeeded) {
            const hasWritten = result?.op !== 'delete' || result.deleted > 0;
            return { output: hasWritten ? { succeeded, revision } : { succeeded }, revision };
          }
          const found = result?.op === 'range' ? foundIn(result.kvs) : ABSENT;
          return { output: { succeeded, found }, revision };
        }
      }
    },
    close: () => kv.close(),
  };
}

interface JsonKv {
  readonly value?: string;
  readonly mod_revision?: string;
}

/** The parts of the answers that are looked at. */
interface JsonAnswer {
  readonly header: { readonly revision: string };
  readonly kvs?: readonly JsonKv[];
  readonly deleted?: string;
  readonly succeeded?: boolean;
  readonly responses?: readonly {
    readonly response_range?: { readonly kvs?: readonly JsonKv[] };
    readonly response_delete_range?: { readonly deleted?: string };
  }[];
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** One endpoint after the other: the next one after each failure. */
export function jsonStore(endpoints: readonly string[], timeoutMs: number): Store {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  let at = 0;
  const call = async (path: string, body: object): Promise<JsonAnswer> => {
    try {
      return await post(agent, endpoints[at % endpoints.length]!, path, body, timeoutMs);
    } catch (error) {
      at += 1;
      throw error;
    }
  };
  return {
    async perform(input) {
      const key = base64(input.key);
      switch (input.op) {
        case 'get': {
          const { header, kvs } = await call('/v3/kv/range', { key });
          return { output: { found: foundInJson(kvs) }, revision: Number(header.revision) };
        }
        case 'put': {
          const { header } = await call('/v3/kv/put', { key, value: base64(input.value) });
          const revision = Number(header.revision);
          return { output: { revision }, revision };
        }
        case 'delete': {
          const { header, deleted } = await call('/v3/kv/deleterange', { key });
          const revision = Number(header.revision);
          const output = deleted === '1' ? { deleted: true, revision } : { deleted: false };
          return { output, revision };
        }
        case 'txn': {
          const { value, ifModRevision } = input;
          const compare = { key, target: 'MOD', result: 'EQUAL', mod_revision: `${ifModRevision}` };
          const { header, succeeded, responses } = await call('/v3/kv/txn', {
            compare: [compare],
            success: [
              value === null
                ? { request_delete_range: { key } }
                : { request_put: { key, value: base64(value) } },
            ],
            failure: [{ request_range: { key } }],
          });
          const revision = Number(header.revision);
          if (succeeded === true) {
            const deletion = responses?.[0]?.response_delete_range;
            const hasWritten = deletion === undefined || deletion.deleted === '1';
            return { output: hasWritten ? { succeeded, revision } : { succeeded }, revision };
          }
          const found = foundInJson(responses?.[0]?.response_range?.kvs);
          return { output: { succeeded: false, found }, revision };
        }
      }
    },
    async close() {
      agent.destroy();
    },
  };
}

function foundInJson(kvs: readonly JsonKv[] | undefined): KvFound {
  const [kv] = kvs ?? [];
  if (kv === undefined) return ABSENT;
  const value = Buffer.from(kv.value ?? '', 'base64').toString();
  return { value, modRevision: Number(kv.mod_revision) };
}

function post(
  agent: Agent,
  endpoint: string,
  path: string,
  body: object,
  timeoutMs: number,
): Promise<JsonAnswer> {
  return new Promise((resolve, reject) => {
    const unknown = (what: string, cause?: Error): void => {
      const options = { outcome: 'unknown', retryable: true, cause } as const;
      reject(new QuorateError('ERR_UNAVAILABLE', `${path} at ${endpoint}: ${what}`, options));
    };
    const call = request(`http://${endpoint}${path}`, { agent, method: 'POST' }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', (error) => unknown(error.message, error));
      response.on('close', () => {
        clearTimeout(timer);
        if (!response.complete) unknown('the answer broke off');
        else if (response.statusCode === 200) resolve(JSON.parse(text) as JsonAnswer);
        else reject(refusalIn(text, endpoint));
      });
    });
    const timer = setTimeout(() => call.destroy(new Error('no answer in time')), timeoutMs);
    call.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      unknown(error.message, error);
    });
    call.end(JSON.stringify(body));
  });
}

/** What the server itself says is known for sure. */
function refusalIn(text: string, endpoint: string): QuorateError {
  const { code, message } = JSON.parse(text) as { readonly code: number; readonly message: string };
  const meaning = meaningOfStatus(code, message);
  return new QuorateError(meaning.code, `${message} (${endpoint})`, meaning);
}
