/** From names to keys. */
import { QuorateError } from '../../core/errors.ts';

/**
 * The key of a name. Names of letters, digits, `_`, `-`, single dots and slashes stay as they are; every other
 * byte of their UTF-8 is `,` and two hexadecimal digits. So different names have different keys, whatever is in
 * them, and none needs an escape in a URL: agents clean paths (`//`, `..`), some decode them twice, and some
 * refuse all characters but these.
 */
export function keyOf(prefix: string, name: string): string {
  return prefix + name.replace(NOT_PLAIN, escaped);
}

/** What is not plain; of slashes and dots those that stand at an end or beside another. */
const NOT_PLAIN = /[^\w./-]|(?<![\w-])[./]|[./](?![\w-])/gu;

function escaped(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text)) out += `,${byte.toString(16).padStart(2, '0')}`;
  return out;
}

/** The prefix of keys, checked. */
export function prefixOf(given: string | undefined, usual: string): string {
  const prefix = given ?? usual;
  const isPlain = typeof prefix === 'string' && prefix.length <= 200;
  if (isPlain && /^[\w-]+([./][\w-]+)*\/?$/.test(prefix)) return prefix;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `prefix: ${JSON.stringify(prefix)}; up to 200 letters, digits, - and _ are needed, with single dots and slashes between`,
  );
}
