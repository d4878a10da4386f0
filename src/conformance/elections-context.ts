/** What the cases of elections share: campaigns and observers whose steps are in the case's hands. */
import assert from 'node:assert/strict';
import type { BytesLike } from '../core/bytes.ts';
import type { Elections, Leader, Leadership } from '../locks/elections.ts';
import type { LockContext } from './locks-context.ts';

/** A campaign, term by term. */
export class Campaign {
  readonly #context: LockContext;
  readonly #terms: AsyncIterator<Leadership>;

  constructor(
    context: LockContext,
    elections: Elections,
    value: BytesLike,
    signal?: AbortSignal | undefined,
  ) {
    this.#context = context;
    const campaign = elections.campaign(context.name(), value, { signal });
    this.#terms = campaign[Symbol.asyncIterator]();
  }

  /** The next term; what was the term before is over with this call. */
  readonly next = async (): Promise<Leadership> => {
    const next = await this.waiting();
    assert.ok(next.done !== true, 'the campaign ended');
    return next.value;
  };

  /** The same, which may take as long as it takes. */
  waiting(): Promise<IteratorResult<Leadership>> {
    return this.#context.later(this.#terms.next());
  }

  /** The same within the patience of a case. */
  lead(ms?: number): Promise<Leadership> {
    return this.#context.within(this.next(), 'a term as leader', ms);
  }

  /** As `break` in the loop. */
  async leave(): Promise<void> {
    await this.#context.within(this.#terms.return!(), 'the loop to be left');
  }
}

/** One who follows the leader; ends with the case. */
export class Observer {
  readonly #context: LockContext;
  readonly #leaders: AsyncIterator<Leader | undefined>;

  constructor(context: LockContext, elections: Elections) {
    this.#context = context;
    const stop = new AbortController();
    const observing = elections.observe(context.name(), { signal: stop.signal });
    this.#leaders = observing[Symbol.asyncIterator]();
    context.defer(() => stop.abort(new Error('the case is over')));
  }

  async next(): Promise<Leader | undefined> {
    const waiting = this.#context.later(this.#leaders.next());
    const next = await this.#context.within(waiting, 'a change of the leader');
    assert.ok(next.done !== true, 'observe ended');
    return next.value;
  }

  /** The next that has `value`; before it nobody may have led, and nothing else. */
  async sees(value: string | undefined): Promise<Leader | undefined> {
    while (true) {
      const leader = await this.next();
      if (leader?.value.toString() === value) return leader;
      assert.equal(leader, undefined, `saw ${leader?.value}, not ${value}`);
    }
  }
}
