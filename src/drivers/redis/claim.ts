/** A claim in Redis whose turn has come. */
import type { Clock } from '../../core/clock.ts';
import type { Claim, ClaimRequest } from '../../locks/engine.ts';
import { Hold } from '../../locks/hold.ts';
import { type Gone, RenewedLife } from '../../locks/life.ts';
import type { Queue } from './queue.ts';
import type { Grant } from './waiter.ts';

const WHAT = 'its hold in Redis';
const GONE: Gone = {
  why: 'is gone (taken by an operator, deleted, or lost with the data of the server)',
  loss: 'stolen',
};

export class RedisClaim extends Hold implements Claim<'best-effort' | 'none'> {
  readonly name: string;
  /** The id of the claim. */
  readonly holder: string;
  readonly fencingToken: never;
  readonly #queue: Queue;
  readonly #life: RenewedLife;
  readonly #onEnd: (claim: RedisClaim) => void;

  constructor(
    parts: { readonly queue: Queue; readonly clock: Clock },
    request: ClaimRequest,
    id: string,
    grant: Grant,
    on: {
      readonly end: (claim: RedisClaim) => void;
      readonly giveBack: (claim: RedisClaim) => Promise<void>;
    },
  ) {
    const { queue, clock } = parts;
    const { name } = request;
    const { ttlMs, fenced } = queue.settings;
    const life = new RenewedLife({
      clock,
      what: WHAT,
      ttlMs,
      sentMs: grant.sentMs,
      firstMs: grant.firstMs,
      renew: async () => ((await queue.touch(id, name)).status === 'holds' ? ttlMs : GONE),
    });
    super(request, life, () => on.giveBack(this));
    this.name = name;
    this.holder = id;
    this.fencingToken = (fenced ? grant.token : undefined) as never;
    this.#queue = queue;
    this.#life = life;
    this.#onEnd = on.end;
  }

  /** Looks whether it is still there: messages may have been missed. */
  async check(): Promise<void> {
    if (!this.isHeld()) return;
    const { status } = await this.#queue.touch(this.holder, this.name);
    if (status !== 'holds') this.lose(`${WHAT} ${GONE.why}`, GONE.loss);
  }

  /** Somebody took it by force, and said so. */
  taken(): void {
    this.lose('it was taken by force', 'stolen');
  }

  protected override ended(): void {
    this.#life.stop('was given back', 'session');
    this.#onEnd(this);
  }
}
