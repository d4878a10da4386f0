import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { workerPool } from '../resilience/index.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { gracefulShutdown, healthChecks, type ShutdownReport, shutdownText } from './index.ts';

const outcomes = ({ phases }: ShutdownReport): string[] =>
  phases
    .filter(({ outcome }) => outcome !== 'done')
    .map(({ phase, outcome }) => `${phase} ${outcome}`);

const silent = { signals: [], onReport: () => undefined } as const;

test('the phases come in one order, each after all of the one before', async () => {
  const clock = new VirtualClock();
  const order: string[] = [];
  const note = (text: string) => async () => {
    order.push(`${text} begins`);
    await Promise.resolve();
    order.push(`${text} ends`);
  };
  const health = healthChecks();
  const shutdown = gracefulShutdown({
    ...silent,
    clock,
    health: {
      drain: () => {
        order.push('unready');
        health.drain();
      },
    },
    delay: '5s',
    leave: { discovery: note('leave') },
    servers: [
      {
        close: async ({ graceMs }: { graceMs: number }) => {
          order.push(`close within ${graceMs} at ${clock.now()}`);
          await settled();
          order.push('closed');
        },
      },
    ],
    pools: { mails: { drain: async ({ deadline }) => order.push(`drain within ${deadline}`) } },
    release: { lock: note('release'), leadership: note('resign') },
    flush: { log: note('flush') },
  });
  assert.ok(!shutdown.signal.aborted);
  const running = shutdown.run('deploy');
  assert.ok(shutdown.signal.aborted);
  await settled();
  assert.ok(health.draining);
  assert.deepEqual(order, ['unready', 'leave begins', 'leave ends']);
  await clock.advance(5_000);
  const report = await running;
  assert.deepEqual(order.slice(3), [
    'close within 10000 at 5000',
    'closed',
    'drain within 5000',
    'release begins',
    'resign begins',
    'release ends',
    'resign ends',
    'flush begins',
    'flush ends',
  ]);
  assert.deepEqual([report.reason, report.exitCode, report.tookMs], ['deploy', 0, 5_000]);
  assert.deepEqual(
    report.phases.map(({ phase }) => phase),
    ['unready', 'leave', 'wait', 'stop', 'finish', 'pools', 'release', 'flush'],
  );
  assert.equal(await shutdown.run('again'), report);
  assert.equal(clock.pending, 0);
});

test('a phase that throws, at once or later, does not keep the next from running', async () => {
  const done: string[] = [];
  const shutdown = gracefulShutdown({
    ...silent,
    health: {
      drain: () => {
        throw new Error('health broke');
      },
    },
    leave: {
      discovery: () => Promise.reject(new Error('registry gone')),
      other: () => done.push('other'),
    },
    servers: [
      {
        close: () => {
          throw new Error('close broke');
        },
      },
    ],
    delay: 0,
    pools: { mails: { drain: () => Promise.reject(new Error('drain broke')) } },
    release: {
      lock: () => {
        throw new Error('lock lost');
      },
      leadership: () => done.push('leadership'),
    },
    flush: { log: () => done.push('log') },
  });
  const report = await shutdown.run();
  assert.deepEqual(done, ['other', 'leadership', 'log']);
  assert.equal(report.exitCode, 1);
  assert.deepEqual(outcomes(report), [
    'unready failed',
    'leave failed',
    'stop failed',
    'pools failed',
    'release failed',
  ]);
  const text = shutdownText(report);
  for (const reason of ['registry gone', 'close broke', 'drain broke', 'lock lost']) {
    assert.ok(text.includes(reason), text);
  }
});

test('whatever is thrown, also what has no text, the process gets to its end', async () => {
  const odd: Record<string, unknown> = {
    nothing: undefined,
    null: null,
    bare: Object.create(null),
    unreadable: Object.defineProperty(new Error(), 'message', {
      get: () => {
        throw new Error('no');
      },
    }),
  };
  const throwing = Object.entries(odd).map(([name, value]) => {
    const reject = async (): Promise<void> => {
      throw value;
    };
    return [name, reject] as const;
  });
  const shutdown = gracefulShutdown({ ...silent, leave: Object.fromEntries(throwing) });
  const report = await shutdown.run();
  assert.equal(report.exitCode, 1);
  assert.deepEqual(
    report.phases[1]!.steps.map(({ name, outcome, message }) => [name, outcome, message]),
    [
      ['nothing', 'failed', 'undefined'],
      ['null', 'failed', 'null'],
      ['bare', 'failed', 'what was thrown has no text'],
      ['unreadable', 'failed', 'what was thrown has no text'],
    ],
  );
});

test('a server that comes to listen only when the process was told to end takes nobody', async () => {
  const server = createServer();
  const listens: boolean[] = [];
  const listen = async (): Promise<void> => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    listens.push(server.listening);
  };
  const shutdown = gracefulShutdown({
    ...silent,
    servers: [server],
    delay: 0,
    release: { start: listen },
  });
  const { exitCode } = await shutdown.run();
  assert.deepEqual([exitCode, listens], [0, [false]]);
  // It ends with the shutdown: a program that goes on may use the server again.
  await listen();
  assert.equal(server.listening, true);
  server.close();
});

test('a server whose close returns no promise is closed when that returns', async () => {
  let closed = 0;
  const close = (): never => {
    closed++;
    return undefined as never;
  };
  const report = await gracefulShutdown({ ...silent, servers: [{ close }], delay: 0 }).run();
  assert.deepEqual([report.exitCode, closed], [0, 1]);
});

test('phases that hang are given up in time, one after the other, within the bound', async () => {
  const clock = new VirtualClock();
  const begun: string[] = [];
  const told: string[] = [];
  const hang =
    (name: string) =>
    ({ signal }: { signal?: AbortSignal } = {}) => {
      begun.push(`${name} ${clock.now()}`);
      signal?.addEventListener('abort', () => told.push(name), { once: true });
      return new Promise<never>(() => undefined);
    };
  const shutdown = gracefulShutdown({
    ...silent,
    clock,
    delay: '1s',
    leave: { discovery: hang('leave') },
    servers: [{ close: () => hang('finish')() }],
    pools: { mails: { drain: () => hang('pools')() } },
    release: { lock: hang('release') },
    flush: { log: hang('flush') },
    deadlines: { leave: '1s', finish: '2s', pools: '3s', release: '1s', flush: '1s' },
  });
  const running = shutdown.run();
  await clock.advance(shutdown.longestMs);
  const report = await running;
  assert.deepEqual(outcomes(report), [
    'leave abandoned',
    'finish abandoned',
    'pools abandoned',
    'release abandoned',
    'flush abandoned',
  ]);
  assert.deepEqual(begun, ['leave 0', 'finish 2000', 'pools 5000', 'release 9000', 'flush 10000']);
  assert.deepEqual(told, ['leave', 'release', 'flush']);
  assert.equal(report.exitCode, 1);
  assert.ok(report.tookMs <= shutdown.longestMs);
  assert.equal(clock.pending, 0);
});

test('a pool with a task that never ends is abandoned, and it is said how many', async () => {
  const pool = workerPool({ size: 1 });
  const never = Promise.withResolvers<void>();
  pool.go(() => never.promise);
  pool.go(() => undefined);
  const shutdown = gracefulShutdown({
    ...silent,
    pools: { mails: pool },
    deadlines: { pools: 20 },
  });
  const { phases, exitCode } = await shutdown.run();
  const { steps } = phases.find(({ phase }) => phase === 'pools')!;
  assert.equal(steps[0]?.outcome, 'abandoned');
  assert.equal(steps[0]?.abandoned, 2);
  assert.equal(exitCode, 1);
  never.resolve();
});

test('a signal starts it and ends the process; the same one again, at once, is the same; later it ends all at once', async () => {
  const clock = new VirtualClock();
  const exits: number[] = [];
  const reports: ShutdownReport[] = [];
  const released: string[] = [];
  const before = process.listenerCount('SIGHUP');
  gracefulShutdown({
    clock,
    signals: ['SIGHUP'],
    exit: (code) => exits.push(code),
    onReport: (report) => reports.push(report),
    leave: { discovery: () => new Promise(() => undefined) },
    release: { lock: () => released.push('lock') },
    deadlines: { leave: '10s' },
  });
  process.emit('SIGHUP', 'SIGHUP');
  process.emit('SIGHUP', 'SIGHUP');
  await clock.advance(999);
  process.emit('SIGHUP', 'SIGHUP');
  await clock.advance(1);
  assert.deepEqual(exits, []);
  process.emit('SIGHUP', 'SIGHUP');
  await clock.advance(10);
  assert.deepEqual(exits, [1]);
  assert.equal(reports[0]?.reason, 'SIGHUP');
  assert.deepEqual(outcomes(reports[0]!).slice(0, 2), ['leave abandoned', 'wait skipped']);
  assert.deepEqual(released, []);
  assert.equal(clock.pending, 0);
  // It stays, so that a third one does not kill before the exit that it asked for.
  assert.equal(process.listenerCount('SIGHUP'), before + 1);
  process.removeAllListeners('SIGHUP');
});

test('a report that cannot be told does not keep the process from ending', async () => {
  const exits: number[] = [];
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  gracefulShutdown({
    signals: ['SIGHUP'],
    exit: (code) => exits.push(code),
    onReport: () => {
      throw new Error('no log');
    },
  });
  process.emit('SIGHUP', 'SIGHUP');
  assert.match((await warned).message, /no log/);
  await settled();
  assert.deepEqual(exits, [0]);
  process.removeAllListeners('SIGHUP');
});

test('disposed of, or run without a signal, it leaves no listener behind', async () => {
  const server = createServer();
  const counts = () =>
    [
      server.eventNames().length,
      server.listenerCount('connection'),
      process.listenerCount('SIGHUP'),
    ].join();
  const before = counts();
  const unused = gracefulShutdown({ servers: [server], signals: ['SIGHUP'] });
  assert.notEqual(counts(), before);
  unused[Symbol.dispose]();
  assert.equal(counts(), before);
  const run = gracefulShutdown({ servers: [server], signals: ['SIGHUP'], delay: 0 });
  assert.equal((await run.run()).exitCode, 0);
  assert.equal(counts(), before);
});

test('what cannot be is refused, and nothing is touched', () => {
  const server = createServer();
  const before = server.listenerCount('connection');
  const wrong: (() => unknown)[] = [
    () => gracefulShutdown({ servers: [server], delay: -1 }),
    () => gracefulShutdown({ servers: [server], delay: Number.NaN }),
    () => gracefulShutdown({ servers: [server], idle: 'soon' }),
    () => gracefulShutdown({ servers: [server, {} as never] }),
    () => gracefulShutdown({ servers: [server], deadlines: { finish: Number.POSITIVE_INFINITY } }),
    () => gracefulShutdown({ servers: [server], leave: { a: 1 as never } }),
    () => gracefulShutdown({ servers: [server], leave: null as never }),
    () => gracefulShutdown({ servers: [server], deadlines: 5 as never }),
    () => gracefulShutdown({ servers: [server], pools: { a: {} as never } }),
    () => gracefulShutdown({ servers: [{ server, close: async () => undefined } as never] }),
    () => gracefulShutdown({ servers: [undefined as never] }),
    () => gracefulShutdown({ servers: [server], signals: ['SIGTERM', 'SIGKILL'] }),
    () => gracefulShutdown({ servers: [server], signals: ['SIGSTOP'] }),
    () => gracefulShutdown({ servers: [server], signals: ['SIGTREM' as never] }),
    () => gracefulShutdown({ servers: [server], signals: 'SIGTERM' as never }),
  ];
  for (const make of wrong) assert.throws(make, { code: 'ERR_INVALID_ARGUMENT' });
  assert.equal(server.listenerCount('connection'), before);
  assert.equal(process.listenerCount('SIGTERM'), 0);
});
