import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { freePorts } from '../../test/support/ports.ts';
import { systemRandom } from '../core/random.ts';
import { localElections, localLocks } from '../locks/index.ts';
import { openNode } from '../node.ts';
import { StoreGuard } from '../resilience/cluster/store-guard.ts';
import {
  bulkhead,
  circuitBreaker,
  deadline,
  degrade,
  hedge,
  pipeline,
  retry,
  timeout,
  workerPool,
} from '../resilience/index.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import * as channels from './channels.ts';
import { onEvent, type QuorateEvents } from './index.ts';

const stops: (() => void)[] = [];

/** Notes the events of some kinds, in order. */
function heard<Name extends keyof QuorateEvents>(...names: Name[]): QuorateEvents[Name][] {
  const events: QuorateEvents[Name][] = [];
  for (const name of names) stops.push(onEvent(name, (event) => void events.push(event)));
  return events;
}

const never = () => new Promise<never>(() => undefined);

describe('a listener', () => {
  it('for an event that there is not is refused, by a message with those that there are', () => {
    assert.throws(() => onEvent('quorate:breaker:changed' as never, () => undefined), {
      code: 'ERR_INVALID_ARGUMENT',
      message:
        /^name: there is no event quorate:breaker:changed; there are quorate:breaker:change, /,
    });
    assert.throws(() => onEvent('quorate:breaker:change', undefined as never), {
      code: 'ERR_INVALID_ARGUMENT',
      message: 'listener: a function is needed',
    });
  });
});

describe('events', () => {
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  it('tell of the changes of a breaker', async () => {
    const clock = new VirtualClock();
    const events = heard('quorate:breaker:change');
    const breaker = circuitBreaker({ consecutive: 1, open: { first: 100, jitter: 0 }, clock });
    await breaker.attempt(() => Promise.reject(new Error('bad')));
    await clock.advance(100);
    await breaker.run(() => 1);
    assert.deepEqual(
      events.map(({ name, from, to, reason, openMs }) => [name, from, to, reason, openMs]),
      [
        ['breaker', 'closed', 'open', 'consecutive', 100],
        ['breaker', 'open', 'half-open', 'time', undefined],
        ['breaker', 'half-open', 'closed', 'trial', undefined],
      ],
    );
  });

  it('tell of each refusal once, however deep it is', async () => {
    const clock = new VirtualClock();
    const events = heard('quorate:call:rejected');
    const breaker = circuitBreaker({ clock });
    const guard = pipeline('stock', [
      timeout('10s', { clock, name: 'overall' }),
      retry({ attempts: 2, retryOn: ['open'], backoff: { kind: 'constant', delay: 5 }, clock }),
      deadline({ after: '5s', clock }),
      breaker,
    ]);
    await guard.run(() => 1);
    assert.equal(events.length, 0);
    breaker.isolate();
    const refused = guard.attempt(() => 1);
    await clock.advance(10);
    assert.equal((await refused).ok, false);
    const open = { policy: 'breaker', reason: 'open', retryAfterMs: undefined, hadBegun: false };
    assert.deepEqual(events, [open, open]);
    events.length = 0;
    for (const one of [timeout(20, { clock }), deadline({ after: 20, clock })]) {
      const late = one.attempt(never);
      await clock.advance(20);
      await late;
    }
    const places = bulkhead({ max: 1 });
    void places.run(never);
    await places.attempt(never);
    assert.deepEqual(
      events.map(({ policy, reason, hadBegun }) => [policy, reason, hadBegun]),
      [
        ['timeout', 'timeout', true],
        ['deadline', 'deadline', true],
        ['bulkhead', 'full', false],
      ],
    );
  });

  it('tell how each call of a pipeline ended', async () => {
    const clock = new VirtualClock();
    const events = heard('quorate:call:end');
    const guard = pipeline('stock', [timeout(50, { clock })], { clock });
    await guard.run(() => 1);
    await guard.attempt(() => Promise.reject(new Error('bad')));
    const late = guard.attempt(never);
    await clock.advance(50);
    await late;
    assert.deepEqual(events, [
      { pipeline: 'stock', outcome: 'success', durationMs: 0 },
      { pipeline: 'stock', outcome: 'failed', durationMs: 0 },
      { pipeline: 'stock', outcome: 'timeout', durationMs: 50 },
    ]);
  });

  it('tell of further attempts, and why', async () => {
    const clock = new VirtualClock();
    const events = heard('quorate:retry:attempt');
    const beside = heard('quorate:hedge:attempt');
    const bad = new Error('bad');
    const guard = retry({
      attempts: 3,
      backoff: { kind: 'constant', delay: 30 },
      isBadValue: (value) => value === 503,
      clock,
    });
    const running = guard.run(({ attempt }) => {
      if (attempt === 1) throw bad;
      return attempt === 2 ? 503 : 200;
    });
    await clock.advance(100);
    assert.equal(await running, 200);
    const common = { policy: 'retry', pauseMs: 30 };
    assert.deepEqual(events, [
      { ...common, attempt: 2, reason: 'failed', error: bad },
      { ...common, attempt: 3, reason: 'bad-value', error: undefined },
    ]);
    const twice = hedge({ after: 10, max: 2, clock }).run(({ attempt }) =>
      attempt === 3 ? 1 : never(),
    );
    await clock.advance(30);
    await twice;
    assert.deepEqual(beside, [
      { policy: 'hedge', attempt: 2 },
      { policy: 'hedge', attempt: 3 },
    ]);
  });

  it('tell of tasks that are not run', async () => {
    const events = heard('quorate:pool:dropped');
    const pool = workerPool({ size: 1, queue: { max: 1, full: 'drop-oldest' }, name: 'mails' });
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = pool.submit(() => promise);
    const second = pool.submit(() => 2, { label: 'to drop', key: 'k' });
    const third = pool.submit(() => 3);
    await assert.rejects(second, { code: 'ERR_OVERLOADED' });
    resolve();
    await Promise.all([first, third]);
    assert.equal(events.length, 1);
    const { error, ...rest } = events[0]!;
    assert.deepEqual(rest, { pool: 'mails', label: 'to drop', key: 'k' });
    assert.equal((error as { code?: unknown }).code, 'ERR_OVERLOADED');
    await pool.drain();
  });

  it('tell when the store of a cluster limiter goes, and when it is back', async () => {
    const clock = new VirtualClock();
    const events = heard('quorate:limiter:down', 'quorate:limiter:up');
    const guard = new StoreGuard('api:', clock, systemRandom, 100);
    const gone = new Error('connection refused');
    for (let call = 0; call < 4; call++)
      await assert.rejects(guard.run(() => Promise.reject(gone)));
    assert.deepEqual(events, [{ limiter: 'api:', error: gone }]);
    await clock.advance(5000);
    await assert.rejects(guard.run(() => Promise.reject(gone)));
    assert.equal(events.length, 1);
    await clock.advance(5000);
    await guard.run(() => Promise.resolve(1));
    assert.deepEqual(events, [
      { limiter: 'api:', error: gone },
      { limiter: 'api:', error: gone },
    ]);
  });

  it('tell when a degradation is switched', () => {
    const events = heard('quorate:degrade:switch');
    const prices = degrade({ fallback: 0, name: 'prices' });
    prices.switchTo('on');
    prices.switchTo('on');
    prices.switchTo('auto');
    assert.deepEqual(events, [
      { name: 'prices', from: 'auto', to: 'on' },
      { name: 'prices', from: 'on', to: 'auto' },
    ]);
  });

  it('tell of locks that are taken, given back and lost', async () => {
    await using locks = localLocks();
    const taken = heard('quorate:lock:acquired');
    const ended = heard('quorate:lock:released', 'quorate:lock:lost');
    const lock = await locks.acquire('a');
    assert.equal(await locks.tryAcquire('a'), undefined);
    await lock.release();
    await lock.release();
    await locks.acquire('b');
    await locks.forceRelease('b');
    const a = { what: 'lock', name: 'a' };
    const b = { what: 'lock', name: 'b' };
    assert.deepEqual(taken, [a, b]);
    assert.deepEqual(ended, [a, { ...b, loss: 'stolen' }]);
  });

  it('tell of elections that are won and resigned', async () => {
    await using elections = localElections();
    const events = heard('quorate:election:elected', 'quorate:election:resigned');
    for await (const leadership of elections.campaign('cron', 'me')) {
      assert.deepEqual(events, [{ what: 'leadership', name: 'cron' }]);
      await leadership.resign();
      break;
    }
    assert.equal(events.length, 2);
  });

  it('tell of the leader of a quorum', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'quorate-events-'));
    const events = heard('quorate:leader:change');
    try {
      const [port] = await freePorts(1);
      const peers = { a: `http://127.0.0.1:${port}` };
      const settings = { heartbeatMs: 20, electionMs: 200 };
      await using node = await openNode({ name: 'a', peers, dataDir: folder, ...settings });
      await node.ready();
      const { member, leader, term } = events[0]!;
      assert.match(member, /^[0-9a-f]{16}$/);
      assert.equal(leader, member);
      assert.ok(term >= 1);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('are not made while nobody listens', async () => {
    let asked = 0;
    let made = 0;
    const spied = Object.entries(channels).map(([name, one]) => {
      Object.defineProperties(one, {
        hasSubscribers: {
          configurable: true,
          get: () => {
            asked += 1;
            return false;
          },
        },
        publish: { configurable: true, value: () => (made += 1) },
      });
      return [name, one] as const;
    });
    try {
      const clock = new VirtualClock();
      const guard = pipeline('stock', [
        retry({ attempts: 2, backoff: { kind: 'constant', delay: 1 }, clock }),
        circuitBreaker({ consecutive: 1, clock }),
        timeout(5, { clock }),
      ]);
      const ends = [guard.attempt(never), guard.attempt(() => Promise.reject(new Error('bad')))];
      await clock.advance(20);
      await Promise.all(ends);
      await using locks = localLocks();
      await locks.run('a', () => 1);
      degrade({ fallback: 0 }).switchTo('on');
      const twice = hedge({ after: 5, clock }).run(({ attempt }) => (attempt === 2 ? 1 : never()));
      await clock.advance(5);
      await twice;
      const pool = workerPool({ size: 1, queue: { max: 0, full: 'reject' }, clock });
      const stop = Promise.withResolvers<void>();
      const running = pool.submit(() => stop.promise);
      await assert.rejects(pool.submit(never));
      stop.resolve();
      await running;
      assert.ok(asked > 5);
      assert.equal(made, 0);
    } finally {
      for (const [, one] of spied) {
        Reflect.deleteProperty(one, 'hasSubscribers');
        Reflect.deleteProperty(one, 'publish');
      }
    }
  });

  it('have the channels that they say they have', () => {
    for (const one of Object.values(channels)) {
      const { name } = one as unknown as { readonly name: keyof QuorateEvents };
      assert.equal(channel(name), one as unknown);
      assert.match(name, /^quorate:[a-z]+:[a-z]+$/);
    }
  });

  it('are heard no more once that was ended, also where it is ended twice', () => {
    const events: unknown[] = [];
    const stop = onEvent('quorate:degrade:switch', (event) => events.push(event));
    const prices = degrade({ fallback: 0 });
    prices.switchTo('on');
    stop();
    stop();
    prices.switchTo('off');
    assert.equal(events.length, 1);
    assert.equal(channels.degradeSwitch.hasSubscribers, false);
  });
});
