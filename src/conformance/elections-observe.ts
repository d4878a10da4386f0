/** Rules of what others see of a leader: its value, its changes. */
import assert from 'node:assert/strict';
import { Campaign, Observer } from './elections-context.ts';
import type { LockCase } from './locks-context.ts';

export const observeCases: readonly LockCase[] = [
  {
    name: 'observe tells the leader as it is and then each change, in order',
    async run(context) {
      const [a, b] = await context.twoElections();
      const observer = new Observer(context, b);
      assert.equal(await observer.next(), undefined, 'nobody leads at first');
      const first = new Campaign(context, a, 'one');
      const term = await first.lead();
      const one = await observer.sees('one');
      assert.equal(one?.fencingToken, term.fencingToken);
      await term.proclaim('two');
      const two = await observer.sees('two');
      assert.equal(two?.fencingToken, term.fencingToken, 'another value, the same term');
      assert.ok(two.revision > one.revision, 'a later revision');
      const second = new Campaign(context, b, 'three');
      const next = context.later(second.next());
      await context.stillWaits(next, 'a candidate while another leads');
      await first.leave();
      const three = await observer.sees('three');
      assert.equal(three?.fencingToken, (await next).fencingToken);
      await second.leave();
      assert.equal(await observer.sees(undefined), undefined);
    },
  },
  {
    name: 'who observes later sees the leader at once, and a slow reader the newest',
    async run(context) {
      const [a, b] = await context.twoElections();
      const campaign = new Campaign(context, a, 'v0');
      const term = await campaign.lead();
      const observer = new Observer(context, b);
      assert.equal((await observer.next())?.value.toString(), 'v0');
      for (let i = 1; i <= 5; i++) await term.proclaim(`v${i}`);
      const seen = [0];
      while (seen.at(-1) !== 5) {
        const leader = await observer.next();
        seen.push(Number(leader?.value.toString().slice(1)));
      }
      const sorted = seen.toSorted((one, other) => one - other);
      assert.deepEqual(seen, sorted, 'values in the order in which they were proclaimed');
      assert.equal(new Set(seen).size, seen.length, 'no value twice');
      await campaign.leave();
    },
  },
  {
    name: 'who queues up behind a leader is not seen',
    async run(context) {
      const [a, b] = await context.twoElections();
      const first = new Campaign(context, a, 'first');
      const term = await first.lead();
      const observer = new Observer(context, b);
      await observer.sees('first');
      const second = new Campaign(context, b, 'second');
      const next = context.later(second.next());
      await context.stillWaits(next, 'a candidate while another leads');
      assert.equal((await b.leader(context.name()))?.value.toString(), 'first');
      await term.proclaim('first, still');
      await observer.sees('first, still');
      await first.leave();
      await observer.sees('second');
      await next;
      await second.leave();
    },
  },
  {
    name: 'a signal ends observe with its reason, and leaving the loop ends it, too',
    async run(context) {
      const [a] = await context.twoElections();
      const stop = new AbortController();
      const observing = a.observe(context.name(), { signal: stop.signal });
      const leaders = observing[Symbol.asyncIterator]();
      await context.within(leaders.next(), 'the leader as it is');
      const waiting = context.later(leaders.next());
      await context.stillWaits(waiting, 'an observer of nothing');
      const reason = new Error('enough');
      stop.abort(reason);
      await context.rejectsWith(waiting, reason);
      const left = async (): Promise<void> => {
        for await (const leader of a.observe(context.name())) {
          assert.equal(leader, undefined);
          break;
        }
      };
      await context.within(left(), 'the loop to be left');
    },
  },
  {
    name: 'values are bytes as they were when they were given',
    async run(context) {
      const [a, b] = await context.twoElections();
      const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
      const campaign = new Campaign(context, a, bytes);
      const leading = context.later(campaign.next());
      const expected = Buffer.from(bytes);
      bytes.fill(0);
      const term = await context.within(leading, 'a term');
      assert.deepEqual((await b.leader(context.name()))?.value, expected);
      await term.proclaim('');
      assert.equal((await b.leader(context.name()))?.value.length, 0);
      await term.proclaim('größer 🔒');
      assert.equal((await b.leader(context.name()))?.value.toString(), 'größer 🔒');
      await campaign.leave();
    },
  },
  {
    name: 'proclaim is refused with ERR_NOT_ELECTED when the term is over',
    async run(context) {
      const [a, b] = await context.twoElections();
      const first = new Campaign(context, a, 'first');
      const term = await first.lead();
      const second = new Campaign(context, b, 'second');
      const next = context.later(second.next());
      await first.leave();
      await context.refuses(term.proclaim('late'), 'ERR_NOT_ELECTED');
      await context.within(next, 'the next term');
      await context.refuses(term.proclaim('later'), 'ERR_NOT_ELECTED');
      assert.equal((await b.leader(context.name()))?.value.toString(), 'second');
      await second.leave();
    },
  },
  {
    name: 'elections of different names know nothing of each other',
    async run(context) {
      const [a, b] = await context.twoElections();
      const campaign = new Campaign(context, a, 'a');
      await campaign.lead();
      assert.equal(await b.leader(context.name('other')), undefined);
      assert.equal(await b.leader(context.name('nn')), undefined);
      await campaign.leave();
    },
  },
  {
    name: 'names that are none are refused by every call of elections',
    async run(context) {
      const [a] = await context.twoElections();
      const unchanged = await context.leavesNothing();
      for (const bad of ['', 'x'.repeat(10_240), undefined, 42] as string[]) {
        const shown = String(JSON.stringify(bad)).slice(0, 20);
        const campaign = () => a.campaign(bad, 'v')[Symbol.asyncIterator]().next();
        const observe = () => a.observe(bad)[Symbol.asyncIterator]().next();
        await context.refusesArgument(`campaign(${shown})`, campaign);
        await context.refusesArgument(`observe(${shown})`, observe);
        await context.refusesArgument(`leader(${shown})`, () => a.leader(bad));
      }
      await unchanged();
    },
  },
];
