/** Cases of limiters: what is refused at the door, keys, and rules that change. */
import assert from 'node:assert/strict';
import type { LimitRules } from '../resilience/limiter.ts';
import type { LimiterCase } from './limiters-context.ts';
import { ALGORITHMS } from './limiters-counting.ts';

const SLOW = { limit: 5, period: '360d' } as const;

const BAD_RULES: readonly LimitRules[] = [
  { rate: '0/s' },
  { rate: '-1/s' },
  { rate: 'many' },
  { rate: { limit: Number.NaN, period: '1s' } },
  { rate: { limit: Number.POSITIVE_INFINITY, period: '1s' } },
  { rate: { limit: 1, period: 0 } },
  { rate: { limit: 1, period: Number.NaN } },
  { rate: { limit: 1, period: 'soon' } },
  { rate: '1/s', burst: 0 },
  { rate: '1/s', burst: Number.NaN },
  { rate: '1/s', burst: Number.POSITIVE_INFINITY },
  undefined as unknown as LimitRules,
];

const KEYS: readonly string[] = [
  '',
  ' ',
  'a',
  'A',
  'a/b',
  '{a}',
  'a}b{',
  '{}',
  '%',
  '%0061',
  'quotes "\'`',
  'line\nline',
  'nul\0nul',
  'ключ',
  '鍵',
  '🔑',
  'e\u0301',
  '\u00e9',
  '\ud800',
  '\ud801',
  '\udc00x',
  'x'.repeat(1024),
  `${'x'.repeat(1023)}y`,
];

/** Cases of bad input, keys and rules. */
export const doorCases: readonly LimiterCase[] = [
  {
    name: 'a cost or a key that cannot be is refused, and nothing is taken',
    async run({ one, refuses }) {
      for (const algorithm of ALGORITHMS) {
        const limiter = await one({ rate: SLOW }, algorithm);
        const costs = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 6, '1' as unknown as number];
        if (algorithm === 'sliding-window') costs.push(0.5);
        for (const cost of costs) {
          await refuses(limiter.allow('k', cost), 'ERR_INVALID_ARGUMENT');
          await refuses(limiter.wait('k', { cost }), 'ERR_INVALID_ARGUMENT');
          await refuses(limiter.reserve('k', { cost }), 'ERR_INVALID_ARGUMENT');
        }
        for (const key of ['x'.repeat(1025), 'x'.repeat(2 ** 20), 7 as unknown as string]) {
          await refuses(limiter.allow(key), 'ERR_INVALID_ARGUMENT');
          await refuses(limiter.wait(key), 'ERR_INVALID_ARGUMENT');
          await refuses(limiter.reserve(key), 'ERR_INVALID_ARGUMENT');
        }
        for (const maxWait of [-1, Number.NaN, 'soon']) {
          await refuses(limiter.wait('k', { maxWait }), 'ERR_INVALID_ARGUMENT');
          await refuses(limiter.reserve('k', { maxWait }), 'ERR_INVALID_ARGUMENT');
        }
        assert.equal((await limiter.usage('k')).remaining, SLOW.limit, algorithm);
      }
    },
  },
  {
    name: 'keys of any text are keys of their own',
    async run({ two }) {
      const [one, other] = await two({ rate: SLOW });
      const taken = KEYS.map((key) => one.allow(key, SLOW.limit));
      for (const [i, { ok }] of (await Promise.all(taken)).entries()) {
        assert.equal(ok, true, `${JSON.stringify(KEYS[i])} is the same as another key`);
      }
      const again = await Promise.all(KEYS.map((key) => other.allow(key)));
      for (const [i, { ok }] of again.entries()) assert.equal(ok, false, JSON.stringify(KEYS[i]));
    },
  },
  {
    name: 'rules that cannot be are refused, and the old ones stay',
    async run({ one }) {
      for (const algorithm of ALGORITHMS) {
        const limiter = await one({ rate: SLOW }, algorithm);
        const bad = [...BAD_RULES];
        if (algorithm === 'sliding-window') bad.push({ rate: '1.5/s' });
        if (algorithm !== 'token-bucket') bad.push({ rate: '1/s', burst: 2 });
        for (const rules of bad) {
          const change = () => limiter.reconfigure(rules);
          const what = `${algorithm}: ${JSON.stringify(rules)}`;
          assert.throws(
            change,
            rules === undefined ? Error : { code: 'ERR_INVALID_ARGUMENT' },
            what,
          );
        }
        const { limit, remaining } = await limiter.usage('k');
        assert.deepEqual([limit, remaining], [SLOW.limit, SLOW.limit], algorithm);
      }
    },
  },
  {
    name: 'new rules count from when they are put in force, with what was taken before',
    async run({ one }) {
      for (const algorithm of ALGORITHMS) {
        const rulesOf = (limit: number): LimitRules =>
          algorithm === 'token-bucket'
            ? { rate: SLOW, burst: limit }
            : { rate: { limit, period: SLOW.period } };
        const limiter = await one(rulesOf(5), algorithm);
        assert.equal((await limiter.allow('k', 4)).ok, true);
        const apply = limiter.prepare(rulesOf(9));
        const before = await limiter.allow('k', 2);
        assert.equal(before.ok, false, `${algorithm}: prepared is not applied`);
        apply();
        assert.equal((await limiter.usage('k')).limit, 9);
        assert.equal((await limiter.allow('k', 2)).ok, true, `${algorithm}: more than before`);
        assert.equal(
          (await limiter.allow('k', 4)).ok,
          false,
          `${algorithm}: forgot what was taken`,
        );
        limiter.reconfigure(rulesOf(2));
        assert.equal((await limiter.allow('k')).ok, false, `${algorithm}: less than was taken`);
        assert.equal((await limiter.allow('other', 2)).ok, true);
      }
    },
  },
];
