/**
 * A client that holds leases: no lease may run out before its time to live has passed since the last
 * renewal that was acknowledged (counted from when it was sent), and its key lives as long as it does.
 */
import { isQuorateError } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import type { Oracle } from '../checks/oracle.ts';
import { chance, exponential } from '../draw.ts';
import type { Cancel, World } from '../types.ts';
import { callHost, type Host, type Hosts, outcomeOf } from './hosts.ts';

export interface LesseeOptions {
  readonly world: World;
  readonly hosts: Hosts;
  readonly oracle: Oracle;
  readonly number: number;
  readonly limitMs: number;
  /** How much faster than true time a node's clock may run: 0.001 is a thousandth. */
  readonly maxDrift: number;
  readonly count: (what: string) => void;
}

interface HeldLease {
  readonly id: bigint;
  ttlMs: number;
  /** When the newest renewal that was acknowledged was sent. */
  renewedAtMs: number;
  revokedAtMs: number | undefined;
  /** This client asked for its end. */
  isGivenBack: boolean;
}

const TTL_SECONDS = [1, 2, 3] as const;
const PAUSE_MEAN_MS = 500;

export class Lessee {
  readonly #options: LesseeOptions;
  readonly #random: Random;
  #lease: HeldLease | undefined;
  #next: number;
  #renewalsLeft: number;
  #isStopped: boolean;
  #cancelNext: Cancel;

  constructor(options: LesseeOptions) {
    this.#options = options;
    this.#random = options.world.random(`lessee/${options.number}`);
    this.#lease = undefined;
    this.#next = 0;
    this.#renewalsLeft = 0;
    this.#isStopped = false;
    this.#cancelNext = () => undefined;
    options.oracle.listen({ leaseRevoked: (id) => this.#onRevoked(id) });
  }

  start(): void {
    this.#after(exponential(this.#random, PAUSE_MEAN_MS), () => this.#grant());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelNext();
  }

  #after(delayMs: number, run: () => void): void {
    if (this.#isStopped) return;
    this.#cancelNext = this.#options.world.after(delayMs, run);
  }

  #host(): Host | undefined {
    const { hosts } = this.#options;
    return hosts.at(this.#random.below(hosts.count));
  }

  #grant(): void {
    const { world, limitMs, count, number } = this.#options;
    const host = this.#host();
    if (host === undefined) {
      this.start();
      return;
    }
    this.#next += 1;
    const id = BigInt(1_000_000 * (number + 1) + this.#next);
    const ttlMs = 1000 * TTL_SECONDS[this.#random.below(TTL_SECONDS.length)]!;
    const lease: HeldLease = {
      id,
      ttlMs,
      renewedAtMs: world.nowMs,
      revokedAtMs: undefined,
      isGivenBack: false,
    };
    this.#lease = lease;
    const grant = async (kv: Host['kv']): Promise<number> => {
      const granted = await kv.grantLease(ttlMs, { id });
      await kv.put(`l${number}`, String(id), { lease: id });
      return granted.ttlMs;
    };
    callHost(world, host, limitMs, grant, (ending) => {
      count(outcomeOf(ending));
      if (ending.kind !== 'ok') return this.start();
      lease.ttlMs = ending.value;
      this.#requireNotEarly(lease);
      this.#renewalsLeft = this.#random.below(6);
      this.#hold(lease);
    });
  }

  #hold(lease: HeldLease): void {
    const pauseMs = (lease.ttlMs * (1 + this.#random.below(5))) / 6;
    if (this.#renewalsLeft > 0) {
      this.#renewalsLeft -= 1;
      this.#after(pauseMs, () => this.#renew(lease));
    } else if (chance(this.#random, 0.3)) this.#after(pauseMs, () => this.#giveBack(lease));
    else this.#after(2 * lease.ttlMs, () => this.#grant());
  }

  #renew(lease: HeldLease): void {
    const { world, limitMs, count } = this.#options;
    const host = this.#host();
    if (host === undefined) {
      this.#hold(lease);
      return;
    }
    const sentAtMs = world.nowMs;
    callHost(
      world,
      host,
      limitMs,
      (kv) => kv.keepAlive(lease.id),
      (ending) => {
        count(outcomeOf(ending));
        if (ending.kind === 'ok' && ending.value > 0) {
          lease.renewedAtMs = Math.max(lease.renewedAtMs, sentAtMs);
          this.#requireNotEarly(lease);
        } else if (ending.kind === 'ok') return this.start();
        else if (ending.kind === 'failed' && !isQuorateError(ending.error)) {
          world.violate('unexpected-error', `keepAlive: ${String(ending.error)}`);
        }
        this.#hold(lease);
      },
    );
  }

  #giveBack(lease: HeldLease): void {
    const { world, limitMs, count } = this.#options;
    const host = this.#host();
    lease.isGivenBack = true;
    if (host === undefined) {
      this.start();
      return;
    }
    callHost(
      world,
      host,
      limitMs,
      (kv) => kv.revokeLease(lease.id),
      (ending) => {
        count(outcomeOf(ending));
        if (ending.kind === 'ok') world.reach('lease-revoked');
        this.start();
      },
    );
  }

  #onRevoked(id: bigint): void {
    const lease = this.#lease;
    if (lease?.id !== id || lease.isGivenBack) return;
    lease.revokedAtMs = this.#options.world.nowMs;
    this.#options.world.reach('lease-expired');
    this.#requireNotEarly(lease);
  }

  #requireNotEarly({ id, revokedAtMs, renewedAtMs, ttlMs }: HeldLease): void {
    if (revokedAtMs === undefined) return;
    const leastMs = ttlMs * (1 - this.#options.maxDrift) - 1;
    if (revokedAtMs - renewedAtMs >= leastMs) return;
    this.#options.world.violate(
      'lease-expired-early',
      `lease ${id} of ${ttlMs} ms ran out ${Math.round(revokedAtMs - renewedAtMs)} ms after its last renewal`,
    );
  }
}
