/** Rules of campaigns: terms, who leads next, how a term ends. */
import assert from 'node:assert/strict';
import { isQuorateError } from '../core/errors.ts';
import { Campaign } from './elections-context.ts';
import type { LockCase } from './locks-context.ts';

const termCases: readonly LockCase[] = [
  {
    name: 'who campaigns alone leads, with a token and a holder, until the loop is left',
    async run(context) {
      const [a, b] = await context.twoElections();
      const campaign = new Campaign(context, a, 'host-a');
      const term = await campaign.lead();
      term.assertHeld();
      assert.equal(term.name, context.name());
      assert.ok(term.remainingMs() > 0);
      assert.equal(term.lost.aborted, false);
      assert.equal(typeof term.fencingToken, 'bigint');
      const leader = await b.leader(context.name());
      assert.equal(leader?.value.toString(), 'host-a');
      assert.equal(leader.fencingToken, term.fencingToken);
      assert.equal(leader.holder, term.holder);
      await campaign.leave();
      assert.equal(term.remainingMs(), 0);
      assert.equal(term.lost.aborted, false, 'to resign is not to lose');
      const isNobody = async () => (await b.leader(context.name())) === undefined;
      await context.eventually(isNobody, 'nobody leads', context.promptMs);
    },
  },
  {
    name: 'the end of the body resigns the term, and the loop stands for the next one',
    async run(context) {
      const [a] = await context.twoElections();
      const campaign = new Campaign(context, a, 'a');
      let before = await campaign.lead();
      for (let i = 0; i < 3; i++) {
        const term = await campaign.lead();
        assert.equal(before.remainingMs(), 0, 'the term before is over');
        assert.ok(term.fencingToken > before.fencingToken, 'the token of a new term is higher');
        before = term;
      }
      await campaign.leave();
    },
  },
  {
    name: 'one leads at a time, the next with a higher token',
    async run(context) {
      const [a, b] = await context.twoElections();
      const tokens: bigint[] = [];
      let leading = 0;
      const candidate = async (elections: typeof a): Promise<void> => {
        let terms = 0;
        for await (const term of elections.campaign(context.name(), 'v')) {
          leading += 1;
          assert.equal(leading, 1, 'two lead at once');
          tokens.push(term.fencingToken);
          await context.sleep(5);
          leading -= 1;
          if (++terms === 3) break;
        }
      };
      const all = Promise.all([candidate(a), candidate(b), candidate(b)]);
      await context.within(all, 'nine terms', 60_000);
      assert.equal(tokens.length, 9);
      const sorted = tokens.toSorted((one, other) => Number(one - other));
      assert.deepEqual(tokens, sorted, 'tokens grow from term to term');
      assert.equal(new Set(tokens).size, 9, 'no token comes twice');
    },
  },
  {
    name: 'a candidate waits while another leads, and leads when that resigns',
    async run(context) {
      const [a, b] = await context.twoElections();
      const first = new Campaign(context, a, 'a');
      const term = await first.lead();
      const second = new Campaign(context, b, 'b');
      const next = context.later(second.next());
      await context.stillWaits(next, 'a candidate while another leads');
      await term.resign();
      const later = await context.promptly(next, 'the term after a resignation');
      await term.resign();
      await term.release();
      assert.ok(later.fencingToken > term.fencingToken);
      await context.refuses((async () => term.assertHeld())(), 'ERR_NOT_ELECTED');
      later.assertHeld();
      await first.leave();
      later.assertHeld();
      await second.leave();
    },
  },
  {
    name: 'an error in the body resigns and ends the loop',
    async run(context) {
      const [a, b] = await context.twoElections();
      const mine = new TypeError('mine');
      const campaign = async (): Promise<void> => {
        for await (const _ of a.campaign(context.name(), 'a')) throw mine;
      };
      await context.rejectsWith(campaign(), mine);
      const next = new Campaign(context, b, 'b');
      await next.lead();
      await next.leave();
    },
  },
];

const endCases: readonly LockCase[] = [
  {
    name: 'a signal ends a campaign that waits at once, with its reason, and nothing stays of it',
    async run(context) {
      const [a, b] = await context.twoElections();
      const leading = new Campaign(context, a, 'a');
      await leading.lead();
      // Opens whatever a client needs before the first look.
      await b.leader(context.name());
      const stop = new AbortController();
      const aborted = new Campaign(context, b, 'b', stop.signal);
      const waiting = context.later(aborted.next());
      await context.stillWaits(waiting, 'a candidate while another leads');
      const reason = new Error('enough');
      stop.abort(reason);
      await context.rejectsWith(waiting, reason);
      const third = new Campaign(context, b, 'c');
      const next = context.later(third.next());
      await context.stillWaits(next, 'another candidate');
      await leading.leave();
      await context.promptly(next, 'the term after an aborted campaign');
      await third.leave();
    },
  },
  {
    name: 'a signal that is aborted already ends every call of elections with its reason',
    async run(context) {
      const [a] = await context.twoElections();
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await context.rejectsWith(new Campaign(context, a, 'a', signal).next(), reason);
      await context.rejectsWith(a.leader(context.name(), { signal }), reason);
      const observing = a.observe(context.name(), { signal })[Symbol.asyncIterator]();
      await context.rejectsWith(observing.next(), reason);
    },
  },
  {
    name: 'close resigns, ends campaigns with ERR_CLOSED, and refuses new ones',
    needs: ['twoClients'],
    async run(context) {
      const [a, b] = await context.twoElections();
      const leading = new Campaign(context, a, 'a');
      const term = await leading.lead();
      const ended = new Campaign(context, a, 'a2');
      const waiting = context.later(ended.next());
      await context.stillWaits(waiting, 'a candidate while another leads');
      const other = new Campaign(context, b, 'b');
      const next = context.later(other.next());
      await context.stillWaits(next, 'a candidate while another leads');
      await context.within(a.close(), 'close to end');
      await context.refuses(context.within(waiting, 'the campaign to end'), 'ERR_CLOSED');
      await context.promptly(next, 'the term after a leader that was closed');
      assert.equal(term.remainingMs(), 0);
      await context.refuses(new Campaign(context, a, 'again').next(), 'ERR_CLOSED');
      await context.within(a.close(), 'close again to end');
      await other.leave();
    },
  },
  {
    name: 'the leader that is gone is followed by another after its time to live',
    needs: ['twoClients', 'abandon'],
    async run(context) {
      const [gone, other] = await context.clients(2, context.ttlMs);
      const term = await new Campaign(context, gone!.elections!, 'gone').lead();
      const { fencingToken } = term;
      const next = new Campaign(context, other!.elections!, 'next');
      const leading = context.later(next.next());
      await context.stillWaits(leading, 'a candidate while another leads');
      await context.abandon(gone!);
      const limitMs = context.freedMs + context.promptMs;
      const later = await context.within(leading, 'the next leader', limitMs);
      assert.ok(later.fencingToken > fencingToken);
      await next.leave();
    },
  },
  {
    name: 'a term is lost at the first look after a stall, and the loop stands again',
    needs: ['stall', 'ttl'],
    async run(context) {
      const [a] = await context.twoElections(context.ttlMs);
      const campaign = new Campaign(context, a, 'a');
      const term = await campaign.lead();
      const { lost } = term;
      context.stall(context.ttlMs + 100);
      assert.deepEqual([lost.aborted, term.remainingMs()], [true, 0]);
      assert.ok(isQuorateError(lost.reason, 'ERR_NOT_ELECTED'), String(lost.reason));
      assert.equal(lost.reason.loss, 'expired');
      await context.refuses(term.proclaim('late'), 'ERR_NOT_ELECTED');
      const again = await campaign.lead(context.freedMs + context.promptMs);
      again.assertHeld();
      assert.ok(again.fencingToken > term.fencingToken);
      await campaign.leave();
    },
  },
  {
    name: 'a term that was taken away is lost, and the loop stands again',
    needs: ['depose'],
    async run(context) {
      const [a, b] = await context.twoElections(context.ttlMs);
      const campaign = new Campaign(context, a, 'a');
      const term = await campaign.lead();
      const { lost } = term;
      await context.depose(context.name());
      await context.eventually(() => lost.aborted, 'the leader is told', context.noticedMs);
      assert.ok(isQuorateError(lost.reason, 'ERR_NOT_ELECTED'), String(lost.reason));
      await context.refuses((async () => term.assertHeld())(), 'ERR_NOT_ELECTED');
      const again = await campaign.lead();
      assert.ok(again.fencingToken > term.fencingToken);
      assert.equal((await b.leader(context.name()))?.fencingToken, again.fencingToken);
      await campaign.leave();
    },
  },
];

export const campaignCases: readonly LockCase[] = [...termCases, ...endCases];
