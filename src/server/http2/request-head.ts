/** The header list of a request, checked by RFC 9113, section 8.3. */
import { HpackDecoder } from './hpack-decoder.ts';

/** Clients repeat few different blocks while their table stands still. */
const MAX_CACHED_HEADS = 64;

/** Longer blocks are not worth a cache entry. */
const MAX_CACHED_BLOCK_BYTES = 512;

export class RequestHead {
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  /** Names and values of all regular fields by turns. */
  readonly fields: readonly string[];
  /** What the layer above made of the fields; equal requests of a connection share their head. */
  derived: unknown;

  constructor(method: string, path: string, contentType: string, fields: readonly string[]) {
    this.method = method;
    this.path = path;
    this.contentType = contentType;
    this.fields = fields;
    this.derived = undefined;
  }

  /** The first field of this (lower-case) name. */
  field(name: string): string | undefined {
    for (let i = 0; i < this.fields.length; i += 2) {
      if (this.fields[i] === name) return this.fields[i + 1];
    }
    return undefined;
  }
}

/** Why a header list is no request. */
type BadHead = 'malformed' | 'too large';

/** Reads the requests of one connection. */
export class RequestHeadReader {
  readonly #decoder: HpackDecoder;
  /** By block, as long as the decoder's table is the one they were read with. */
  readonly #cache: Map<string, RequestHead>;
  #cacheVersion: number;

  constructor(maxTableBytes: number, maxListBytes: number) {
    this.#decoder = new HpackDecoder(maxTableBytes, maxListBytes);
    this.#cache = new Map();
    this.#cacheVersion = 0;
  }

  /** Throws `ConnectionError` where the block cannot be decoded. */
  read(buffer: Buffer, start: number, end: number): RequestHead | BadHead {
    const key = end - start <= MAX_CACHED_BLOCK_BYTES ? buffer.latin1Slice(start, end) : '';
    if (this.#cacheVersion === this.#decoder.version) {
      const known = this.#cache.get(key);
      if (known !== undefined) return known;
    }
    const before = this.#decoder.version;
    const fields = this.#decoder.decode(buffer, start, end);
    if (fields === undefined) return 'too large';
    const head = requestHead(fields);
    if (head !== undefined && key !== '' && before === this.#decoder.version) {
      this.#remember(key, head);
    }
    return head ?? 'malformed';
  }

  /** Decodes a block whose fields nobody needs: the table must follow all the same. */
  skip(buffer: Buffer, start: number, end: number): void {
    this.#decoder.decode(buffer, start, end);
  }

  #remember(key: string, head: RequestHead): void {
    if (this.#cacheVersion !== this.#decoder.version || this.#cache.size >= MAX_CACHED_HEADS) {
      this.#cache.clear();
      this.#cacheVersion = this.#decoder.version;
    }
    this.#cache.set(key, head);
  }
}

/** Field names as section 8.2.1 allows them; compiled by V8 to a table walk. */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

/** The request that these fields make; `undefined` where they break the rules. */
function requestHead(list: readonly string[]): RequestHead | undefined {
  const pseudo: Record<string, string> = Object.create(null);
  const fields: string[] = [];
  let contentType = '';
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    if (name.charCodeAt(0) === 0x3a) {
      const known =
        name === ':method' || name === ':path' || name === ':scheme' || name === ':authority';
      if (!known || fields.length > 0 || name in pseudo) return undefined;
      pseudo[name] = value;
      continue;
    }
    if (!isRegularField(name, value)) return undefined;
    if (name === 'content-type') contentType = value;
    fields.push(name, value);
  }
  const { ':method': method, ':path': path, ':scheme': scheme } = pseudo;
  if (!method || !path || !scheme) return undefined;
  return new RequestHead(method, path, contentType, fields);
}

function isRegularField(name: string, value: string): boolean {
  if (!FIELD_NAME.test(name)) return false;
  if (name === 'te') return value === 'trailers';
  return !CONNECTION_FIELDS.has(name);
}

/** Section 8.2.2: what speaks about the connection has no place in HTTP/2. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);
