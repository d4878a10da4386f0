/** The options of `quorate lock` and of its words `ls` and `release`. */
import type { Parsed } from '../args.ts';
import { engineOptions } from '../engines/options.ts';

export const TOPIC = 'lock';

/** Those of holding a lock. */
export const holdOptions = {
  ttl: { type: 'string' },
  wait: { type: 'string' },
  'no-wait': { type: 'boolean' },
  'kill-after': { type: 'string' },
} as const;

export const options = {
  ...engineOptions,
  ...holdOptions,
  prefix: { type: 'boolean' },
  force: { type: 'boolean' },
} as const;

export type LockCommand = Parsed<typeof options>;
