/** A claim in Redis whose turn has come. */
import type { Clock } from '../../core/clock.ts';
import type { SameDelay } from '../../core/same-delay.ts';
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

const nothing = (): void => undefined;

/** What the claims of one `Locks` have in common. */
export interface ClaimHost {
  readonly queue: Queue;
  readonly clock: Clock;
  /** Calls for first renewals: after a third of the time to live. */
  readonly renewals: SameDelay;
  giveBack(claim: RedisClaim): Promise<void>;
}

export class RedisClaim extends Hold implements Claim<'best-effort' | 'none'> {
  readonly name: string;
  /** The id of the claim. */
  readonly holder: string;
  readonly fencingToken: never;
  /** Called when it is lost or given back. */
  onEnd: () => void;
  readonly #host: ClaimHost;
  readonly #life: RenewedLife;

  constructor(host: ClaimHost, request: ClaimRequest, id: string, grant: Grant) {
    const { clock, queue, renewals } = host;
    const { name } = request;
    const { ttlMs, fenced } = queue.settings;
    const life = new RenewedLife({
      clock,
      what: WHAT,
      ttlMs,
      sentMs: grant.sentMs,
      firstMs: grant.firstMs,
      renewals,
      renew: async () => ((await queue.touch(id, name)).status === 'holds' ? ttlMs : GONE),
    });
    super(request, life, () => host.giveBack(this));
    this.name = name;
    this.holder = id;
    this.fencingToken = (fenced ? grant.token : undefined) as never;
    this.onEnd = nothing;
    this.#host = host;
    this.#life = life;
  }

  /** Looks whether it is still there: messages may have been missed. */
  async check(): Promise<void> {
    if (!this.isHeld()) return;
    const { status } = await this.#host.queue.touch(this.holder, this.name);
    if (status !== 'holds') this.lose(`${WHAT} ${GONE.why}`, GONE.loss);
  }

  protected override ended(): void {
    this.#life.stop('was given back', 'session');
    this.onEnd();
  }
}
