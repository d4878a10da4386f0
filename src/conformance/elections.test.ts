/**
 * The suite is tested by elections that are wrong in one thing each: the case that is there for it must notice.
 * That it passes on right ones is tested in `test/conformance`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { orAborted } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { Elections, Leader, Leadership } from '../locks/elections.ts';
import { electionCases } from './elections.ts';
import { assertNoticed, withMethods } from './test-wrong.ts';
import { noticed, type Wrong } from './test-wrong-locks.ts';

type Terms = AsyncGenerator<Leadership, void, undefined>;
type Campaign = Elections['campaign'];

/** Every term changed. */
function withTerms(
  right: Elections,
  change: (term: Leadership) => Partial<Leadership>,
): Partial<Elections> {
  return {
    async *campaign(...args): Terms {
      for await (const term of right.campaign(...args)) yield withMethods(term, change(term));
    },
  };
}

/** What others see, changed. */
function withLeaders(
  right: Elections,
  change: (leader: Leader | undefined) => readonly (Leader | undefined)[],
): Partial<Elections> {
  return {
    async *observe(...args) {
      for await (const leader of right.observe(...args)) yield* change(leader);
    },
    leader: async (...args) => change(await right.leader(...args))[0],
  };
}

/** Terms of which none is resigned when the body ends. */
function keepingTerms(right: Elections): Campaign {
  return async function* (...args): Terms {
    const { value: term } = await right
      .campaign(...args)
      [Symbol.asyncIterator]()
      .next();
    while (true) yield term!;
  };
}

/** The value of the leader that leads first is read when it leads. */
function late(right: Elections, value: BytesLike, ...[name, options]: [string, object?]): Terms {
  return (async function* (): Terms {
    for await (const term of right.campaign(name, 'not yet', options)) {
      await term.proclaim(value);
      yield term;
    }
  })();
}

const wrongElections: Record<string, Wrong> = {
  'keep the leadership when the loop is left': {
    noticedBy: 'who campaigns alone leads, with a token and a holder, until the loop is left',
    elections: (right) => ({ campaign: keepingTerms(right) }),
  },
  'go on with the term when the body ends': {
    noticedBy: 'the end of the body resigns the term, and the loop stands for the next one',
    elections: (right) => ({ campaign: keepingTerms(right) }),
  },
  'have one term': {
    noticedBy: 'the end of the body resigns the term, and the loop stands for the next one',
    elections: (right) => ({
      async *campaign(...args): Terms {
        for await (const term of right.campaign(...args)) return yield term;
      },
    }),
  },
  'let everybody lead': {
    noticedBy: 'one leads at a time, the next with a higher token',
    elections: (right) => {
      let count = 0;
      return {
        campaign: (name, ...args) => right.campaign(`${name}-${++count}`, ...args),
      };
    },
  },
  'count tokens of all leaders alike': {
    noticedBy: 'one leads at a time, the next with a higher token',
    elections: (right) => withTerms(right, () => ({ fencingToken: 1n })),
  },
  'resign nothing': {
    noticedBy: 'a candidate waits while another leads, and leads when that resigns',
    elections: (right) => withTerms(right, () => ({ resign: async () => undefined })),
  },
  'lead on after the body failed': {
    noticedBy: 'an error in the body resigns and ends the loop',
    elections: (right) => ({ campaign: keepingTerms(right) }),
  },
  'end quietly when a signal ends the campaign': {
    noticedBy:
      'a signal ends a campaign that waits at once, with its reason, and nothing stays of it',
    elections: (right) => ({
      async *campaign(name, value, options = {}): Terms {
        try {
          yield* right.campaign(name, value, options) as Terms;
        } catch (error) {
          if (options.signal?.aborted !== true) throw error;
        }
      },
    }),
  },
  'leave the candidate who was aborted standing': {
    noticedBy:
      'a signal ends a campaign that waits at once, with its reason, and nothing stays of it',
    elections: (right) => ({
      async *campaign(name, value, options = {}): Terms {
        const terms = right.campaign(name, value)[Symbol.asyncIterator]();
        while (true) yield (await orAborted(terms.next(), options.signal)).value!;
      },
    }),
  },
  'look at no signal that is aborted already': {
    noticedBy: 'a signal that is aborted already ends every call of elections with its reason',
    elections: (right) => ({ leader: (name) => right.leader(name) }),
  },
  'lead on when closed': {
    noticedBy: 'close resigns, ends campaigns with ERR_CLOSED, and refuses new ones',
    elections: () => ({ close: async () => undefined }),
  },
  'outlive their client': {
    noticedBy: 'the leader that is gone is followed by another after its time to live',
    target: (right) => ({
      open: async (options) => ({ ...(await right.open(options)), abandon: () => undefined }),
    }),
  },
  'lose a term when a timer says so': {
    noticedBy: 'a term is lost at the first look after a stall, and the loop stands again',
    elections: (right) =>
      withTerms(right, (term) => {
        const stop = new AbortController();
        term.lost.addEventListener('abort', () => {
          setImmediate(() => stop.abort(term.lost.reason));
        });
        return { lost: stop.signal };
      }),
  },
  'end the campaign with a loss': {
    noticedBy: 'a term that was taken away is lost, and the loop stands again',
    elections: (right) => ({
      async *campaign(...args): Terms {
        for await (const term of right.campaign(...args)) {
          yield term;
          if (term.lost.aborted) return;
        }
      },
    }),
  },
  'call the loss of a term that of a lock': {
    noticedBy: 'a term that was taken away is lost, and the loop stands again',
    elections: (right) =>
      withTerms(right, (term) => ({
        assertHeld() {
          if (term.lost.aborted) throw new QuorateError('ERR_LOCK_LOST', 'lost');
        },
      })),
  },
  'proclaim nothing': {
    noticedBy: 'observe tells the leader as it is and then each change, in order',
    elections: (right) => withTerms(right, () => ({ proclaim: async () => undefined })),
  },
  'say nothing while nobody leads': {
    noticedBy: 'observe tells the leader as it is and then each change, in order',
    elections: (right) => withLeaders(right, (leader) => (leader === undefined ? [] : [leader])),
  },
  'give each value a token of its own': {
    noticedBy: 'observe tells the leader as it is and then each change, in order',
    elections: (right) =>
      withLeaders(right, (leader) => [
        leader && { ...leader, fencingToken: BigInt(leader.revision) },
      ]),
  },
  'tell every leader twice': {
    noticedBy: 'who observes later sees the leader at once, and a slow reader the newest',
    elections: (right) => withLeaders(right, (leader) => [leader, leader]),
  },
  'tell changes only': {
    noticedBy: 'who observes later sees the leader at once, and a slow reader the newest',
    elections: (right) => ({
      async *observe(...args) {
        let isFirst = true;
        for await (const leader of right.observe(...args)) {
          if (!isFirst) yield leader;
          isFirst = false;
        }
      },
    }),
  },
  'take the newest candidate for the leader': {
    noticedBy: 'who queues up behind a leader is not seen',
    elections: (right) => {
      let newest: BytesLike = '';
      return {
        campaign: (name, value, options) => right.campaign(name, (newest = value), options),
        ...withLeaders(right, (leader) => [
          leader && { ...leader, value: Buffer.from(newest as string) },
        ]),
      };
    },
  },
  'end observe quietly': {
    noticedBy: 'a signal ends observe with its reason, and leaving the loop ends it, too',
    elections: (right) => ({
      async *observe(name, options = {}) {
        try {
          yield* right.observe(name, options);
        } catch (error) {
          if (options.signal?.aborted !== true) throw error;
        }
      },
    }),
  },
  'read the value when they lead': {
    noticedBy: 'values are bytes as they were when they were given',
    elections: (right) => ({
      campaign: (name, value, options) => late(right, value, name, options),
    }),
  },
  'take values for text': {
    noticedBy: 'values are bytes as they were when they were given',
    elections: (right) =>
      withLeaders(right, (leader) => [
        leader && { ...leader, value: Buffer.from(leader.value.toString()) },
      ]),
  },
  'take a late value in silence': {
    noticedBy: 'proclaim is refused with ERR_NOT_ELECTED when the term is over',
    elections: (right) =>
      withTerms(right, (term) => ({
        proclaim: (...args) =>
          term.proclaim(...args).catch((error: unknown) => {
            if (!isQuorateError(error, 'ERR_NOT_ELECTED')) throw error;
          }),
      })),
  },
  'have one leader for all': {
    noticedBy: 'elections of different names know nothing of each other',
    elections: (right) => ({
      leader: (name, options) => right.leader(name.replace(/[^/]+$/, 'n'), options),
    }),
  },
  'take names of any length': {
    noticedBy: 'names that are none are refused by every call of elections',
    elections: (right) => ({
      leader: (name, options) => right.leader(name?.slice?.(0, 99) ?? name, options),
    }),
  },
};

describe('the suite of elections', () => {
  for (const [what, wrong] of Object.entries(wrongElections)) {
    test(`notices elections that ${what}`, async () => {
      assertNoticed(await noticed(electionCases, wrong));
    });
  }

  test('has elections that are wrong for every case', () => {
    const covered = new Set(Object.values(wrongElections).map(({ noticedBy }) => noticedBy));
    const without = electionCases.filter(({ name }) => !covered.has(name));
    assert.deepEqual(without, []);
  });

  test('needs elections in every case', () => {
    assert.ok(electionCases.every(({ needs }) => needs?.includes('elections')));
  });
});
