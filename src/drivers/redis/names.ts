/** From names to keys and channels. */
import { QuorateError } from '../../core/errors.ts';

/** The prefix of keys and channels, checked. Braces would move the part of a key that chooses its slot. */
export function prefixOf(given: string | undefined, usual: string): string {
  const prefix = given ?? usual;
  if (typeof prefix === 'string' && /^[^{}\s]{1,200}$/.test(prefix)) return prefix;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `prefix: ${JSON.stringify(prefix)}; text of 1 to 200 characters without braces and spaces is needed`,
  );
}

/** Most names have nothing of this. */
const SPECIAL = /[%{}\uD800-\uDFFF]/;

/**
 * The key of a name. Different names have different keys, whatever is in them, and all keys of a name are
 * in one slot of a cluster: what is in braces chooses it.
 */
export function keyOf(prefix: string, name: string): string {
  if (!SPECIAL.test(name)) return `${prefix}{${name}}`;
  return `${prefix}{${name.replace(/[%{}]|\p{Surrogate}/gu, escapeOf)}}`;
}

/** Half a surrogate pair has no UTF-8; sent as it is all of them would be one. */
function escapeOf(text: string): string {
  return `%${text.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Values in the state of a lock are one word. */
export function toWord(value: Uint8Array): string {
  return Buffer.from(value).toString('base64');
}

/** Back from a word. */
export function fromWord(word: string | number | undefined): Buffer {
  return Buffer.from(String(word ?? ''), 'base64');
}
