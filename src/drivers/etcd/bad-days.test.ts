/** Members that are half there: they answer pings and no reads, take connections and drop them, refuse tokens. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError, type QuorateError } from '../../core/errors.ts';
import { systemRandom } from '../../core/random.ts';
import * as codec from '../../proto/etcd.ts';
import { testAuthority } from '../../testing/certificates.ts';
import { AuthenticateResponse } from './auth-messages.ts';
import { GrpcChannel } from './grpc-channel.ts';
import { etcdKv, etcdService } from './index.ts';
import { AUTHENTICATE, LEASE_KEEP_ALIVE_PATH, PUT, RANGE, STATUS, WATCH_PATH } from './methods.ts';
import { parseEndpoint, resolveOptions } from './options.ts';
import {
  answering,
  type FakeCall,
  type FakeHandler,
  fakeEtcd,
  fastClock,
  HEADER,
  PUT_REPLY,
  putEvent,
  putRequest,
  RANGE_REPLY,
  rangeRequest,
  relayTo,
  watchResponse,
} from './testing.ts';

const silent: FakeHandler = () => undefined;
const rangeReply = answering(codec.RangeResponse, RANGE_REPLY);
const putReply = answering(codec.PutResponse, PUT_REPLY);
const refuse =
  (code: number, text: string): FakeHandler =>
  (call) =>
    call.finish(code, text);

async function failure(work: Promise<unknown>): Promise<QuorateError> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (reason) => reason,
  );
  assert.ok(isQuorateError(error), String(error));
  return error;
}

test('a read that a member keeps waiting is answered by another, though the first is alive', async () => {
  // Cut off from the others it still answers whatever needs nobody else.
  const status = answering(codec.StatusResponse, codec.StatusResponse.create());
  await using one = await fakeEtcd({ [RANGE.path]: silent, [STATUS.path]: status });
  await using two = await fakeEtcd({ [RANGE.path]: rangeReply });
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint], clock });
  let isDone = false;
  const chatter = (async () => {
    while (!isDone) {
      await service.status(one.endpoint);
      await delay(5);
    }
  })();
  for (let i = 0; i < 4; i++) {
    const startedAt = clock.now();
    assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
    assert.ok(clock.now() - startedAt < 3_000, `${clock.now() - startedAt} ms`);
  }
  isDone = true;
  await chatter;
  await service.close();
});

test('a member that keeps reads waiting is asked seldom', async () => {
  await using one = await fakeEtcd({ [RANGE.path]: silent });
  await using two = await fakeEtcd({ [RANGE.path]: rangeReply });
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint], clock });
  const startedAt = clock.now();
  for (let i = 0; i < 40; i++) assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  assert.ok(one.calls.length <= 3, `asked ${one.calls.length} times`);
  assert.ok(clock.now() - startedAt < 4_000, `${clock.now() - startedAt} ms`);
  await service.close();
});

test('a read that takes every member two seconds is waited for, not begun again and again', async () => {
  const slow: FakeHandler = (call) => {
    setTimeout(() => call.reply(codec.RangeResponse, RANGE_REPLY), 450);
  };
  const fakes = [
    await fakeEtcd({ [RANGE.path]: slow }),
    await fakeEtcd({ [RANGE.path]: slow }),
    await fakeEtcd({ [RANGE.path]: slow }),
  ];
  const endpoints = fakes.map(({ endpoint }) => endpoint);
  const service = etcdService({ endpoints, clock: fastClock(5) });
  assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  const asked = fakes.reduce((sum, { calls }) => sum + calls.length, 0);
  assert.ok(asked <= 3, `asked ${asked} times`);
  await service.close();
  for (const fake of fakes) await fake[Symbol.asyncDispose]();
});

test('the second member of a read may refuse: the first is waited for all the same', async () => {
  const slow: FakeHandler = (call) => {
    setTimeout(() => call.reply(codec.RangeResponse, RANGE_REPLY), 400);
  };
  await using one = await fakeEtcd({ [RANGE.path]: slow });
  await using two = await fakeEtcd({ [RANGE.path]: refuse(14, 'etcdserver: no leader') });
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint], clock: fastClock(5) });
  for (let i = 0; i < 2; i++) assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  await service.close();
});

test('a read goes on at once where its member refuses it late and a second one is stuck', async () => {
  const late: FakeHandler = (call) => {
    setTimeout(() => call.finish(14, 'etcdserver: leader changed'), 300);
  };
  const steps = [late, silent, rangeReply];
  const asked: number[] = [];
  // Whoever is asked first, second and third: the order is not ours.
  const inOrder =
    (member: number): FakeHandler =>
    (call, message) => {
      asked.push(member);
      steps[Math.min(asked.length, 3) - 1]!(call, message);
    };
  await using one = await fakeEtcd({ [RANGE.path]: inOrder(1) });
  await using two = await fakeEtcd({ [RANGE.path]: inOrder(2) });
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint], clock });
  const startedAt = clock.now();
  assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  assert.ok(clock.now() - startedAt < 2_500, `${clock.now() - startedAt} ms`);
  await service.close();
});

test('a learner is passed over at once, and fails at once where it is alone', async () => {
  const learner = refuse(14, 'etcdserver: rpc not supported for learner');
  await using one = await fakeEtcd({ [PUT.path]: learner });
  await using two = await fakeEtcd({ [PUT.path]: putReply });
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint] });
  for (let i = 0; i < 20; i++) assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  assert.ok(one.calls.length <= 2, `the learner was asked ${one.calls.length} times`);
  await service.close();
  const alone = etcdService({ endpoints: one.endpoint });
  const asked = one.calls.length;
  const error = await failure(alone.put(putRequest()));
  assert.deepEqual([error.code, error.outcome], ['ERR_UNSUPPORTED', 'not-applied']);
  assert.equal(one.calls.length, asked + 1);
  await alone.close();
});

test('a lease is renewed elsewhere when its link dies, however short the tries are', async () => {
  const handler: FakeHandler = (call, message) => {
    const { id } = codec.LeaseKeepAliveRequest.decode(message);
    call.send(codec.LeaseKeepAliveResponse, { header: HEADER, id, ttl: 3 });
  };
  await using one = await fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });
  await using two = await fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });
  await using toOne = await relayTo(one.endpoint);
  await using toTwo = await relayTo(two.endpoint);
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [toOne.endpoint, toTwo.endpoint], clock });
  await service.leaseKeepAlive({ id: 1n });
  (one.calls.length > 0 ? toOne : toTwo).freeze();
  const startedAt = clock.now();
  let renewed = false;
  // As a session with a lease of 3 s does it: a second for each try, and soon another.
  while (!renewed && clock.now() - startedAt < 6_000) {
    const attempt = new AbortController();
    const cancel = clock.after(1_000, () => attempt.abort(new Error('too slow')));
    renewed = await service.leaseKeepAlive({ id: 1n }, { signal: attempt.signal }).then(
      () => true,
      () => false,
    );
    cancel();
    await delay(250 / 5);
  }
  const tookMs = clock.now() - startedAt;
  assert.ok(renewed && tookMs < 2_500, `renewed: ${renewed}, after ${tookMs} ms`);
  await service.close();
});

test('a connection that broke meanwhile is there again when a renewal has to leave its link', async () => {
  const handler: FakeHandler = (call, message) => {
    const { id } = codec.LeaseKeepAliveRequest.decode(message);
    call.send(codec.LeaseKeepAliveResponse, { header: HEADER, id, ttl: 3 });
  };
  await using one = await fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });
  await using two = await fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });
  await using toOne = await relayTo(one.endpoint);
  await using toTwo = await relayTo(two.endpoint);
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [toOne.endpoint, toTwo.endpoint], clock });
  await service.leaseKeepAlive({ id: 1n });
  const [used, other] = one.calls.length > 0 ? [toOne, toTwo] : [toTwo, toOne];
  other.cutAll();
  await delay(1_000 / 5);
  used.freeze();
  const startedAt = clock.now();
  await service.leaseKeepAlive({ id: 1n });
  assert.ok(clock.now() - startedAt < 1_500, `${clock.now() - startedAt} ms`);
  await service.close();
});

test('a link that lost its state on the way is replaced before a lease of 10 s is over', async () => {
  const handler: FakeHandler = (call, message) => {
    const { id } = codec.LeaseKeepAliveRequest.decode(message);
    call.send(codec.LeaseKeepAliveResponse, { header: HEADER, id, ttl: 10 });
  };
  await using fake = await fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });
  await using relay = await relayTo(fake.endpoint);
  const clock = fastClock(10);
  const service = etcdService({ endpoints: relay.endpoint, clock });
  await service.leaseKeepAlive({ id: 1n });
  relay.freeze();
  const startedAt = clock.now();
  await failure(service.leaseKeepAlive({ id: 1n }));
  await service.leaseKeepAlive({ id: 1n });
  assert.ok(clock.now() - startedAt < 6_600, `${clock.now() - startedAt} ms`);
  await service.close();
});

test('a peer that takes connections and drops them is not stormed', async () => {
  const drop: FakeHandler = (call) => call.cut();
  await using fake = await fakeEtcd({ [WATCH_PATH]: drop, [RANGE.path]: drop });
  const kv = etcdKv({ endpoints: fake.endpoint, clock: fastClock(20), timeoutMs: '20s' });
  const watch = kv.watch('k');
  await Promise.all([failure(kv.get('a')), failure(kv.get('b')), failure(watch.created)]);
  // 20 s with waits that double from 50 ms to 5 s.
  assert.ok(fake.connections <= 16, `${fake.connections} connections`);
  await kv.close();
});

test('a server that comes back is found within the time that a call has', async () => {
  await using fake = await fakeEtcd({ [RANGE.path]: rangeReply });
  const relay = await relayTo(fake.endpoint);
  const clock = fastClock(10);
  // Always the longest wait.
  const random = { ...systemRandom, below: (bound: number) => bound - 1 };
  const service = etcdService({ endpoints: relay.endpoint, clock, random, timeoutMs: '2s' });
  await service.range(rangeRequest());
  await relay[Symbol.asyncDispose]();
  for (let i = 0; i < 6; i++) await failure(service.range(rangeRequest()));
  await using again = await relayTo(fake.endpoint, relay.endpoint);
  assert.equal(again.endpoint, relay.endpoint);
  assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  await service.close();
});

/** Logs in with tokens that are numbered. */
function logins(): { count: number; handler: FakeHandler } {
  const all = {
    count: 0,
    handler: (call: FakeCall): void => {
      call.reply(AuthenticateResponse, { header: undefined, token: `token ${++all.count}` });
    },
  };
  return all;
}

test('many watches whose token has ended log in once together', async () => {
  const login = logins();
  let refused = 0;
  const guarded: FakeHandler = (call) => {
    if (call.headers['token'] === 'token 1') {
      // One after another: the last is refused when the first has a new token already.
      setTimeout(() => call.finish(16, 'etcdserver: invalid auth token'), 15 * refused++);
    } else {
      call.send(codec.WatchResponse, watchResponse({ created: true }));
    }
  };
  await using fake = await fakeEtcd({ [AUTHENTICATE.path]: login.handler, [WATCH_PATH]: guarded });
  const auth = { username: 'root', password: 'secret' };
  const kv = etcdKv({ endpoints: fake.endpoint, auth });
  await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((key) => kv.watch(key).created));
  assert.equal(refused, 6);
  assert.equal(login.count, 2);
  await kv.close();
});

test('a call survives users that are changed twice while it logs in', async () => {
  const login = logins();
  const guarded: FakeHandler = (call) => {
    const old = 'etcdserver: revision of auth store is old';
    if (call.headers['token'] === 'token 3') call.reply(codec.PutResponse, PUT_REPLY);
    else call.finish(3, old);
  };
  await using fake = await fakeEtcd({ [AUTHENTICATE.path]: login.handler, [PUT.path]: guarded });
  const auth = { username: 'root', password: 'secret' };
  const service = etcdService({ endpoints: fake.endpoint, auth });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  await service.close();
});

test('a token that is never accepted ends in an error after a few logins', async () => {
  const login = logins();
  const never = refuse(16, 'etcdserver: invalid auth token');
  await using fake = await fakeEtcd({ [AUTHENTICATE.path]: login.handler, [PUT.path]: never });
  const auth = { username: 'root', password: 'secret' };
  const service = etcdService({ endpoints: fake.endpoint, auth });
  const error = await failure(service.put(putRequest()));
  assert.deepEqual([error.code, error.outcome], ['ERR_UNAUTHENTICATED', 'not-applied']);
  assert.equal(login.count, 4);
  await service.close();
});

test('a member that lags behind takes no progress back', async () => {
  let streams = 0;
  const handler: FakeHandler = (call) => {
    const at = (revision: number) => ({ ...HEADER, revision });
    const notice = (revision: number): void => {
      call.send(codec.WatchResponse, watchResponse({ header: at(revision) }));
    };
    call.send(codec.WatchResponse, watchResponse({ header: at(10), created: true }));
    if (streams++ === 0) {
      notice(40);
      call.stream.write(Buffer.alloc(0), () => setImmediate(() => call.cut()));
    } else {
      notice(20);
      call.send(codec.WatchResponse, watchResponse({ events: [putEvent(41)] }));
    }
  };
  await using fake = await fakeEtcd({ [WATCH_PATH]: handler });
  const kv = etcdKv({ endpoints: fake.endpoint });
  const seen: number[] = [];
  for await (const { revision } of kv.watch('k', { progress: true })) {
    if (seen.push(revision) === 2) break;
  }
  assert.deepEqual(seen, [40, 41]);
  await kv.close();
});

test('what waits to be sent is bounded in bytes', async () => {
  await using fake = await fakeEtcd({ [PUT.path]: silent });
  const service = etcdService({ endpoints: fake.endpoint });
  const value = 'x'.repeat(140_000_000);
  const attempt = new AbortController();
  const first = service.put(putRequest('a', value), { signal: attempt.signal });
  const error = await failure(service.put(putRequest('b', value)));
  assert.deepEqual([error.code, error.outcome], ['ERR_BUSY', 'not-applied']);
  assert.match(error.message, /^put of key "b": calls under way hold 1400000\d\d bytes already/);
  attempt.abort('enough');
  await assert.rejects(first, (reason) => reason === 'enough');
  await service.close();
});

test('endpoints that calls name are forgotten when they become too many', async () => {
  const channel = new GrpcChannel(resolveOptions({ endpoints: 'a:1' }));
  const target = (i: number) => parseEndpoint(`b:${i}`, undefined);
  const first = channel.endpointOf(target(1));
  for (let i = 2; i <= 64; i++) channel.endpointOf(target(i));
  assert.equal(channel.endpointOf(target(1)), first);
  channel.endpointOf(target(65));
  assert.notEqual(channel.endpointOf(target(1)), first);
  channel.close();
});

test('TLS that fails says what to check', async () => {
  const authority = testAuthority();
  const client = authority.issue('client');
  const asking = { ca: authority.cert, requestCert: true, rejectUnauthorized: true };
  const handlers = { [PUT.path]: putReply };
  await using open = await fakeEtcd(handlers, authority.issue('server'));
  await using strict = await fakeEtcd(handlers, { ...authority.issue('server'), ...asking });
  await using plain = await fakeEtcd(handlers);
  const foreign = testAuthority('a stranger');
  const ca = authority.cert;
  const cases = [
    [`https://${open.endpoint}`, { ca: foreign.cert }, /not trusted: check tls\.ca/],
    [`https://${open.endpoint}`, { ca, serverName: 'other.example' }, /or tls\.serverName/],
    [`https://${strict.endpoint}`, { ca }, /client certificate.*tls\.cert/],
    [`https://${strict.endpoint}`, { ca, ...foreign.issue('x') }, /client certificate.*tls\.cert/],
    [`https://${plain.endpoint}`, { ca }, /speaks no TLS/],
    [`http://${open.endpoint}`, {}, /may speak TLS only/],
  ] as const;
  for (const [endpoints, tls, message] of cases) {
    const service = etcdService({ endpoints, tls });
    const error = await failure(service.put(putRequest()));
    assert.deepEqual([error.code, error.outcome], ['ERR_UNAVAILABLE', 'not-applied']);
    assert.match(error.message, message);
    await service.close();
  }
  const named = { ca, ...client, serverName: 'localhost' };
  const service = etcdService({ endpoints: `https://${strict.endpoint}`, tls: named });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  await service.close();
});

test('what is no certificate is refused when the client is made', () => {
  const authority = testAuthority();
  const { cert } = authority.issue('client');
  const cases = [
    [{ ca: '/etc/ca.pem' }, /^tls\.ca: is no certificate/],
    [{ cert }, /^tls: cert and key belong together/],
    [{ cert, key: 'x' }, /^tls\.cert and tls\.key: are no certificate/],
    [{ cert, key: authority.issue('other').key }, /^tls\.cert and tls\.key: .*mismatch/],
  ] as const;
  for (const [tls, message] of cases) {
    assert.throws(
      () => etcdService({ endpoints: 'https://a:1', tls }),
      (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && message.test(error.message),
    );
  }
});
