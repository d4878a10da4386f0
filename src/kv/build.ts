/** Conditions that nearly every transaction is made of. */
import type { Compare, KeyRange, KeyValue } from './kv.ts';

/** Holds where the key does not exist. On a range: where it holds no key. */
export function missing(key: KeyRange): Compare {
  return { key, target: 'create', is: '=', to: 0 };
}

/** Holds where the key exists. On a range: where it holds at least one key. */
export function exists(key: KeyRange): Compare {
  return { key, target: 'create', is: '>', to: 0 };
}

/** Holds where the key still is as `kv` was read. */
export function unchanged(kv: Pick<KeyValue, 'key' | 'modRevision'>): Compare {
  return { key: kv.key, target: 'mod', is: '=', to: kv.modRevision };
}
