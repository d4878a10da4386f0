/** Headers of a request, as servers and `fetch` have them. */

/** Headers of a request: a `Headers` object, or a record with names in lower case as `node:http` has it. */
export type RequestHeaders = Pick<Headers, 'get'> | Readonly<Record<string, unknown>>;

/** @param name - in lower case */
export function headerOf(headers: RequestHeaders, name: string): unknown {
  const { get } = headers;
  // A client may send a header of the name "get": that is text.
  return typeof get === 'function'
    ? (headers as Headers).get(name)
    : (headers as Readonly<Record<string, unknown>>)[name];
}
