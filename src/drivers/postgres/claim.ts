/** A lock on PostgreSQL that is held: an advisory lock of a session. */
import type { Claim, ClaimRequest } from '../../locks/engine.ts';
import { Hold } from '../../locks/hold.ts';
import type { Life } from '../../locks/life.ts';

export class PostgresClaim extends Hold implements Claim<'monotonic'> {
  readonly name: string;
  /** Process id of the server's end of the connection that holds it, and the key. */
  readonly holder: string;
  readonly fencingToken: bigint;
  readonly #onEnded: () => void;

  constructor(
    request: ClaimRequest,
    granted: { readonly holder: string; readonly token: bigint; readonly life: Life },
    giveBack: () => Promise<void>,
    onEnded: () => void,
  ) {
    super(request, granted.life, giveBack);
    this.name = request.name;
    this.holder = granted.holder;
    this.fencingToken = granted.token;
    this.#onEnded = onEnded;
  }

  protected override ended(): void {
    this.#onEnded();
  }
}
