/**
 * The suite is tested by limiters that are wrong in one thing each: the case that is there for it must notice. That it passes on
 * right ones is tested in `test/conformance`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { kvOver } from '../kv/kv-over.ts';
import { memoryService } from '../kv/memory.ts';
import { kvLimiter } from '../resilience/cluster/kv-limiter.ts';
import type { ClusterLimiter } from '../resilience/limiter.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { limiterCases, runLimiterCase } from './limiters.ts';
import type { LimiterRequest, LimitersTarget } from './limiters-context.ts';
import { assertNoticed, thrownBy, withMethods } from './test-wrong.ts';

interface Wrong {
  /** The case that must notice. */
  readonly noticedBy: string;
  /** What to put in the place of methods. */
  readonly limiter?: (right: ClusterLimiter, clock: VirtualClock) => Partial<ClusterLimiter>;
  /** What to open limiters with. */
  readonly request?: (right: LimiterRequest) => LimiterRequest;
  readonly target?: (right: LimitersTarget) => Partial<LimitersTarget>;
}

/** What the case says of it; `undefined`: it does not notice. */
async function noticed(wrong: Wrong): Promise<unknown> {
  const one = limiterCases.find(({ name }) => name === wrong.noticedBy);
  assert.ok(one, `there is no case '${wrong.noticedBy}'`);
  const clock = new VirtualClock();
  const kv = kvOver(memoryService({ clock }));
  const right: LimitersTarget = {
    clock,
    random: seededRandom(3),
    leftovers: async (prefix) =>
      (await kv.range({ prefix }, { keysOnly: true })).kvs.map(({ key }) => key.toString()),
    open: (request) => {
      const changed = wrong.request?.(request) ?? request;
      const limiter = kvLimiter(kv, { timeout: '20s', clock, ...changed });
      return withMethods<ClusterLimiter>(limiter, wrong.limiter?.(limiter, clock) ?? {});
    },
  };
  const target = { ...right, ...wrong.target?.(right) };
  const error = await thrownBy(clock, 10, () => runLimiterCase(one, target));
  await settled();
  await kv.close();
  return error;
}

const never = (): Promise<never> => new Promise(() => undefined);

const WRONG: Readonly<Record<string, Wrong>> = {
  'allows everything': {
    noticedBy:
      'token-bucket: of many who ask at once from two processes exactly as many get it as the limit says',
    limiter: () => ({ allow: async () => ({ ok: true, retryAfterMs: 0 }) }),
  },
  'allows one more': {
    noticedBy:
      'sliding-window: of many who ask at once from two processes exactly as many get it as the limit says',
    request: ({ rate, ...rest }) => ({
      ...rest,
      rate: { limit: (rate as { limit: number }).limit + 1, period: '360d' },
    }),
  },
  'each process counts alone': {
    noticedBy:
      'fixed-window: of many who ask at once from two processes exactly as many get it as the limit says',
    request: (() => {
      let count = 0;
      return (right: LimiterRequest) => ({ ...right, prefix: `${right.prefix}${++count}/` });
    })(),
  },
  'takes 1 whatever it costs': {
    noticedBy: 'token-bucket: a cost is taken as a whole or not at all',
    limiter: (right) => ({ allow: (key) => right.allow(key) }),
  },
  'takes what there is of a cost': {
    noticedBy: 'fixed-window: a cost is taken as a whole or not at all',
    limiter: (right) => ({
      allow: async (key, cost = 1) => {
        const { remaining } = await right.usage(key);
        return right.allow(key, Math.min(cost, Math.max(1, remaining)));
      },
    }),
  },
  'has one key': {
    noticedBy: 'token-bucket: keys do not depend on each other',
    limiter: (right) => ({ allow: (_, cost) => right.allow('', cost) }),
  },
  'cuts keys': {
    noticedBy: 'keys of any text are keys of their own',
    limiter: (right) => ({ allow: (key = '', cost) => right.allow(key.slice(0, 1000), cost) }),
  },
  'breaks keys that are no Unicode': {
    noticedBy: 'keys of any text are keys of their own',
    limiter: (right) => ({
      allow: (key = '', cost) => right.allow(Buffer.from(key).toString(), cost),
    }),
  },
  'says to come back too early': {
    noticedBy:
      'sliding-window: what is refused is allowed when it was said to be, and takes nothing before',
    limiter: (right) => ({
      allow: async (key, cost) => {
        const said = await right.allow(key, cost);
        return { ...said, retryAfterMs: said.retryAfterMs / 4 };
      },
    }),
  },
  'takes what it refuses': {
    noticedBy:
      'token-bucket: what is refused is allowed when it was said to be, and takes nothing before',
    limiter: (right) => ({
      allow: async (key, cost) => {
        const reserved = await right.reserve(key, { cost });
        return { ok: reserved!.delayMs === 0, retryAfterMs: reserved!.delayMs };
      },
    }),
  },
  'takes for a look': {
    noticedBy: 'token-bucket: usage says what is left, and takes nothing',
    limiter: (right) => ({
      usage: async (key) => {
        const usage = await right.usage(key);
        await right.allow(key);
        return usage;
      },
    }),
  },
  'resets nothing': {
    noticedBy: 'sliding-counter: a reset gives all of it back, to everybody, and only for its key',
    limiter: () => ({ reset: async () => undefined }),
  },
  'resets all keys': {
    noticedBy: 'token-bucket: a reset gives all of it back, to everybody, and only for its key',
    limiter: (right) => ({
      reset: async () => {
        await Promise.all([right.reset('a'), right.reset('b')]);
      },
    }),
  },
  'leaves keys behind': {
    noticedBy: 'what nobody uses any more is gone from the store',
    target: () => ({ leftovers: async () => ['a'], expiryMs: 100 }),
  },
  'has a burst that is too large': {
    noticedBy:
      'token-bucket: in every interval at most burst + rate·t is allowed to two processes together',
    request: (right) => ({ ...right, burst: 14 }),
  },
  'counts fixed windows for sliding ones': {
    noticedBy: 'sliding-window: in no window, wherever it begins, more than the limit is allowed',
    request: (right) => ({ ...right, algorithm: 'fixed-window' }),
  },
  'rounds rates of millions': {
    noticedBy: 'a rate of millions is counted, not rounded',
    request: (right) => ({ ...right, rate: '1000000/s' }),
  },
  'waits for nothing': {
    noticedBy: 'token-bucket: who waits is served in order, and nobody gets ahead meanwhile',
    limiter: () => ({ wait: async () => undefined }),
  },
  'serves the last first': {
    noticedBy: 'token-bucket: who waits is served in order, and nobody gets ahead meanwhile',
    limiter: (right) => {
      let before: Promise<void> = Promise.resolve();
      let count = 0;
      return {
        wait: (key, options) => {
          const turn = 3 - count++;
          const mine = right.wait(key, options);
          before = Promise.all([before, mine]).then(() => undefined);
          return new Promise((resolve) => {
            setImmediate(
              () =>
                void before.then(async () => {
                  for (let i = 0; i < turn; i++) await settled();
                  resolve();
                }),
            );
          });
        },
      };
    },
  },
  'lets others get ahead': {
    noticedBy: 'fixed-window: who waits is served in order, and nobody gets ahead meanwhile',
    limiter: () => ({ allow: async () => ({ ok: true, retryAfterMs: 0 }) }),
  },
  'gives nothing back': {
    noticedBy: 'sliding-window: a reservation that is cancelled in time is as if it never was',
    limiter: (right) => ({
      reserve: async (key, options) => ({
        ...(await right.reserve(key, options))!,
        cancel: async () => false,
      }),
    }),
  },
  'says that it gave back': {
    noticedBy:
      'token-bucket: a reservation that another is behind, or whose time has come, cannot be given back',
    limiter: (right) => ({
      reserve: async (key, options) => ({
        ...(await right.reserve(key, options))!,
        cancel: async () => true,
      }),
    }),
  },
  'does not hear a signal': {
    noticedBy: 'who waits and gives up is told the reason at once, and makes room',
    limiter: (right) => ({ wait: (key, options) => right.wait(key, { cost: options?.cost }) }),
  },
  'keeps what was taken for who gave up': {
    noticedBy: 'of many who give up together all make room',
    limiter: (right) => ({
      wait: async (key, { cost, signal } = {}) => {
        await right.reserve(key, { cost });
        return new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason));
        });
      },
    }),
  },
  'looks at no signal before it takes': {
    noticedBy: 'a signal that is aborted already takes nothing',
    limiter: (right) => ({
      wait: async (key, { cost, signal } = {}) => {
        await right.wait(key, { cost });
        signal?.throwIfAborted();
      },
    }),
  },
  'knows no longest wait': {
    noticedBy:
      'what would take longer than the longest wait is refused at once, says when to come back, and takes nothing',
    limiter: (right) => ({ wait: (key, options) => right.wait(key, { cost: options?.cost }) }),
  },
  'takes what it does not reserve': {
    noticedBy:
      'what would take longer than the longest wait is refused at once, says when to come back, and takes nothing',
    limiter: (right) => ({
      reserve: async (key, { cost } = {}) => {
        const reserved = await right.reserve(key, { cost });
        return reserved!.delayMs > 0 ? undefined : reserved;
      },
    }),
  },
  'lets as many wait as want to': {
    noticedBy: 'one more than may wait is refused',
    request: ({ maxWaiting: _, ...rest }) => rest,
  },
  'leaves waits alone when closed': {
    noticedBy: 'one more than may wait is refused',
    limiter: () => ({ close: async () => undefined }),
  },
  'keeps what was taken for waits when closed': {
    noticedBy: 'after close nobody waits any more, and what was taken for them is back for others',
    limiter: (right) => ({
      wait: async (key, options) => {
        await right.reserve(key, { cost: options?.cost });
        return right.wait(key, options);
      },
    }),
  },
  'waits after it was closed': {
    noticedBy: 'a limiter that was closed takes no more waits, and can be closed again',
    limiter: () => ({ wait: never }),
  },
  'takes any cost': {
    noticedBy: 'a cost or a key that cannot be is refused, and nothing is taken',
    limiter: (right) => ({
      allow: async (key, cost) => {
        try {
          return await right.allow(key, cost);
        } catch {
          return { ok: false, retryAfterMs: 0 };
        }
      },
    }),
  },
  'takes before it looks': {
    noticedBy: 'a cost or a key that cannot be is refused, and nothing is taken',
    limiter: (right) => ({
      allow: async (key, cost) => {
        if (key === 'k') await right.allow(key);
        return right.allow(key, cost);
      },
    }),
  },
  'takes any rules': {
    noticedBy: 'rules that cannot be are refused, and the old ones stay',
    limiter: () => ({ reconfigure: () => undefined }),
  },
  'forgets with new rules': {
    noticedBy: 'new rules count from when they are put in force, with what was taken before',
    limiter: (right) => ({
      prepare: (rules) => {
        const apply = right.prepare(rules);
        return () => {
          apply();
          void right.reset('k');
        };
      },
    }),
  },
  'changes rules when they are prepared': {
    noticedBy: 'new rules count from when they are put in force, with what was taken before',
    limiter: (right) => ({
      prepare: (rules) => {
        right.reconfigure(rules);
        return () => undefined;
      },
    }),
  },
  'leases what there is not': {
    noticedBy: 'leased: where nothing comes back no more is allowed than there is',
    request: (right) => ({ ...right, burst: 55 }),
  },
  'leases more than was said': {
    noticedBy:
      'leased: in every interval at most burst + rate·t, and the tokens of each process, are allowed',
    request: (right) => ({ ...right, burst: 60, rate: '600/s' }),
  },
};

describe('the suite of limiters notices one that', () => {
  for (const [name, wrong] of Object.entries(WRONG)) {
    test(name, async () => {
      assertNoticed(await noticed(wrong));
    });
  }

  test('is right, as right', async () => {
    for (const one of limiterCases.slice(0, 6)) {
      assert.equal(await noticed({ noticedBy: one.name }), undefined, one.name);
    }
  });
});
