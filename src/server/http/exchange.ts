/** An HTTP request and the way to answer it, over HTTP/1.1 and HTTP/2 alike. */

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Buffer;
}

export type HttpHeaders = Readonly<Record<string, string>>;

/** A response whose body comes bit by bit. */
export interface HttpBody {
  /** `false`: wait for `onWritable`. */
  write(text: string): boolean;
  end(): void;
  onWritable(run: () => void): void;
}

export interface HttpReply {
  /** The whole response. */
  send(status: number, headers: HttpHeaders, body: string): void;
  stream(status: number, headers: HttpHeaders): HttpBody;
  /** Called once if the client goes before the response is complete. */
  onClosed(run: () => void): void;
}

export type HttpHandler = (request: HttpRequest, reply: HttpReply) => void;

export const JSON_TYPE: HttpHeaders = { 'content-type': 'application/json' };

const TEXT_TYPE: HttpHeaders = {
  'content-type': 'text/plain; charset=utf-8',
  'x-content-type-options': 'nosniff',
};

/** A line of text, as etcd's handlers answer what they refuse. */
export function sendText(
  reply: HttpReply,
  status: number,
  text: string,
  headers: HttpHeaders = {},
): void {
  reply.send(status, { ...TEXT_TYPE, ...headers }, text);
}

/** From what the request line says to path and query; `undefined` for what is no path. */
export function parseTarget(
  target: string,
): { readonly path: string; readonly query: URLSearchParams } | undefined {
  if (!target.startsWith('/')) return undefined;
  const mark = target.indexOf('?');
  if (mark < 0) return { path: target, query: new URLSearchParams() };
  return { path: target.slice(0, mark), query: new URLSearchParams(target.slice(mark + 1)) };
}
