/** Rules of what comes in at the door: names of every kind, options that make no sense. */
import assert from 'node:assert/strict';
import { isQuorateError } from '../core/errors.ts';
import type { AcquireOptions, Fencing, Lock } from '../locks/locks.ts';
import type { LockCase } from './locks-context.ts';
import { type LockCapability, lacksOf } from './locks-lacks.ts';

/** What has a meaning in the keys, patterns and queries of some engine, or looks like another. */
const ODD_NAMES = [
  'with space',
  ' leading',
  'trailing ',
  'UPPER',
  'upper',
  'a.b.c',
  'a..b',
  'a*b',
  'a?b',
  'a[b]c',
  'a{b}c',
  '{b}',
  'a%b',
  'a%25b',
  'a_b',
  "it's",
  'say "it"',
  '`$(x)`',
  'back\\slash',
  'semi;colon--',
  'line\nbreak',
  'tab\tbed',
  'nul\0byte',
  'nul',
  'ünïcödé',
  // The same to the eye, in another form: names are compared as they are.
  'u\u0308ni',
  '\u00fcni',
  '名前',
  '🔒',
  '\u200b',
  '\u202eabc',
  '\ufeff',
  // Halves of a pair: without care all of them become the same bytes.
  'half\ud83d',
  'half\ud83e',
  'half\ufffd',
  'a~2',
  'a~shared',
  '0',
  '-1',
  'null',
  '__proto__',
  'constructor',
] as const;

const nameCases: readonly LockCase[] = [
  {
    name: 'odd names are locks of their own, or refused with ERR_INVALID_ARGUMENT',
    async run({ two, name, isBusy, isFree, within, refusesArgument }) {
      const [a, b] = await two();
      const held = new Map<string, Lock<Fencing>>();
      for (const odd of ODD_NAMES.map(name)) {
        const trying = within(a.tryAcquire(odd), 'an answer of tryAcquire');
        const lock = await trying.catch((error: unknown) => {
          assert.ok(isQuorateError(error, 'ERR_INVALID_ARGUMENT'), `${odd}: ${String(error)}`);
          return null;
        });
        if (lock === null) {
          await refusesArgument(`the name ${JSON.stringify(odd)}`, () => b.acquire(odd));
          continue;
        }
        assert.ok(lock, `${JSON.stringify(odd)} is not free: taken for one of its likes`);
        assert.equal(lock.name, odd);
        held.set(odd, lock);
      }
      // Text that is not out of the ordinary may not be refused.
      assert.ok(held.size >= ODD_NAMES.length / 2, `only ${held.size} names are taken`);
      // None goes with another.
      const names = [...held.keys()];
      for (const [i, odd] of names.entries()) {
        await isBusy(b, odd);
        await held.get(odd)!.release();
        await isFree(b, odd);
        if (i + 1 < names.length) await isBusy(b, names[i + 1]!);
      }
    },
  },
  {
    name: 'a name does not depend on those that begin with it',
    async run({ two, name, promptly }) {
      const [a, b] = await two();
      for (const one of ['a', 'aa', 'a:b', 'a:b:c', 'a{b}', 'a-1', 'a.b', 'a,b']) {
        const lock = await promptly((one === 'a' ? a : b).tryAcquire(name(one)), 'a free lock');
        assert.ok(lock, `'${one}' is free`);
      }
      const names = await a.holders(name('a'));
      assert.equal(names.length, 1, 'those that begin with it are not its holders');
    },
  },
  {
    name: 'a name does not depend on those below it as in a folder',
    needs: ['flatNames'],
    async run({ two, name, promptly, isBusy }) {
      const [a, b] = await two();
      const below = await a.acquire(name('a/b'));
      const above = await promptly(b.tryAcquire(name('a')), 'a free lock');
      assert.ok(above, 'a is free though a/b is not');
      assert.equal((await b.holders(name('a'))).length, 1);
      await isBusy(b, name('a/b'));
      await above.release();
      below.assertHeld();
      await b.forceRelease(name('a'));
      below.assertHeld();
    },
  },
  {
    name: 'names that are none are refused by every call',
    async run({ one, name, refusesArgument, leavesNothing }) {
      const locks = await one();
      const unchanged = await leavesNothing();
      const work = () => assert.fail('the work was run');
      for (const bad of ['', 'x'.repeat(10_240), undefined, null, 42, {}, ['n']] as string[]) {
        const shown = String(JSON.stringify(bad)).slice(0, 20);
        await refusesArgument(`acquire(${shown})`, () => locks.acquire(bad));
        await refusesArgument(`tryAcquire(${shown})`, () => locks.tryAcquire(bad));
        await refusesArgument(`run(${shown})`, () => locks.run(bad, work));
        await refusesArgument(`acquireAll(${shown})`, () => locks.acquireAll([name(), bad]));
        await refusesArgument(`holders(${shown})`, () => locks.holders(bad));
        await refusesArgument(`forceRelease(${shown})`, () => locks.forceRelease(bad));
      }
      await unchanged();
    },
  },
  {
    name: 'names of 300 bytes are taken',
    async run({ two, name, isBusy, isFree }) {
      const [a, b] = await two();
      const long = name('é'.repeat(300)).slice(0, 160);
      const lock = await a.acquire(`${long}1`);
      await isBusy(b, `${long}1`);
      await isFree(b, `${long}2`);
      await lock.release();
    },
  },
];

const optionCases: readonly LockCase[] = [
  {
    name: 'options that make no sense are refused, with nothing done',
    async run({ one, name, refusesArgument, leavesNothing, isFree }) {
      const locks = await one();
      const unchanged = await leavesNothing();
      const bad: unknown[] = [
        { wait: -1 },
        { wait: Number.NaN },
        { wait: 'soon' },
        { wait: '' },
        { permits: 0 },
        { permits: -1 },
        { permits: 1.5 },
        { permits: Number.NaN },
        { permits: '3' },
        { permits: Number.MAX_SAFE_INTEGER },
        { permits: 2, shared: true },
      ];
      const work = () => assert.fail('the work was run');
      for (const options of bad as AcquireOptions[]) {
        const shown = JSON.stringify(options);
        await refusesArgument(`acquire ${shown}`, () => locks.acquire(name(), options));
        await refusesArgument(`acquireAll ${shown}`, () => locks.acquireAll([name()], options));
        await refusesArgument(`run ${shown}`, () => locks.run(name(), work, options));
        if ('wait' in (options as object)) continue;
        await refusesArgument(`tryAcquire ${shown}`, () => locks.tryAcquire(name(), options));
      }
      await unchanged();
      await isFree(locks, name());
    },
  },
  {
    name: 'calls without what they need are refused, with nothing done',
    async run({ one, name, refusesArgument, leavesNothing, isFree }) {
      const locks = await one();
      const unchanged = await leavesNothing();
      const none = undefined as never;
      await refusesArgument('run without work', () => locks.run(name(), none));
      await refusesArgument('acquireAll of nothing', () => locks.acquireAll(none));
      await refusesArgument('acquireAll of no names', () => locks.acquireAll([]));
      await refusesArgument('acquireAll of text', () => locks.acquireAll(name() as never));
      const many = Array.from({ length: 1000 }, (_, i) => name(`${i}`));
      await refusesArgument('acquireAll of a thousand', () => locks.acquireAll(many));
      await unchanged();
      await isFree(locks, name());
    },
  },
  {
    name: 'a wait of months is one',
    async run({ two, name, queueUp, stillWaits, promptly }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      // More than a timer of Node counts.
      const { lock: next } = await queueUp(b, name(), { wait: '60d' });
      await stillWaits(next, 'who waits for months');
      await lock.release();
      await promptly(next, 'the lock that was released');
    },
  },
  {
    name: 'times to live that are none are refused when it is opened',
    needs: ['ttl'],
    async run({ openClient, refusesArgument }) {
      for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '', 'soon', '-5s']) {
        await refusesArgument(`ttl ${ttl}`, () => openClient(ttl));
      }
    },
  },
  {
    name: 'a time to live beyond all limits is refused with a typed error, or works',
    needs: ['ttl'],
    async run({ openClient, name }) {
      try {
        const { locks } = await openClient('1000000d');
        const lock = await locks.acquire(name());
        lock.assertHeld();
        await lock.release();
      } catch (error) {
        assert.ok(isQuorateError(error), `a Quorate error, not ${String(error)}`);
        assert.ok(['ERR_INVALID_ARGUMENT', 'ERR_LEASE_TTL_TOO_LARGE'].includes(error.code));
        assert.equal(error.outcome, 'not-applied');
      }
    },
  },
];

/** What `lacksOf` answers for. */
const DECLARED: readonly LockCapability[] = ['fencing', 'fifo', 'shared', 'permits', 'ttl'];

const promiseCases: readonly LockCase[] = [
  {
    name: 'what the engine promises is what the suite was run for',
    async run({ one, lacks }) {
      const promised = lacksOf((await one()).guarantees);
      for (const capability of DECLARED) {
        const promisesNot = promised[capability] !== undefined;
        const leftOut = lacks[capability] !== undefined;
        assert.equal(leftOut, promisesNot, `lacks '${capability}'; use lacksOf(guarantees)`);
      }
    },
  },
];

export const doorCases: readonly LockCase[] = [...promiseCases, ...nameCases, ...optionCases];
