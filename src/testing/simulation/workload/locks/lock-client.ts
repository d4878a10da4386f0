/**
 * A client of locks of whatever kind: lives somewhere, does one thing after the other, starts anew when its process
 * is gone, and in the end shows that it is still served.
 */
import { isQuorateError } from '../../../../core/errors.ts';
import type { Random } from '../../../../core/random.ts';
import { exponential } from '../../draw.ts';
import type { World } from '../../types.ts';
import type { Host } from '../hosts.ts';
import type { Home } from './homes.ts';
import { type Grant, LockBook, type Trusted } from './lock-book.ts';

/** What all lock clients of a run share. */
export interface LockScene {
  readonly world: World;
  readonly book: LockBook;
  /** Counts what clients did. */
  readonly count: (what: string) => void;
}

/** A claim as its client sees it. */
export interface Claimed extends Trusted {
  readonly lost: AbortSignal;
  assertHeld(): void;
  release(): Promise<void>;
}

/** One life of a client: what an earlier one still says does not count. */
export interface Stay {
  readonly host: Host;
  readonly ttlMs: number;
  isOver: boolean;
  /** What it holds. */
  readonly grants: Set<Grant>;
}

/** Whether a holder was told of a loss. */
export interface Ear {
  heard: boolean;
}

export function listen({ lost }: Claimed): Ear {
  const ear = { heard: lost.aborted };
  const hear = (): void => {
    ear.heard = true;
  };
  lost.addEventListener('abort', hear, { once: true });
  return ear;
}

type Phase = 'work' | 'drain' | 'final' | 'close';

const PAUSE_MEAN_MS = 120;
const TTLS_MS = [1000, 1500, 2000, LockBook.MAX_TTL_MS] as const;
const HOLD_MEAN_MS = 250;
/** Now and then a holder outlasts its lease, where that is not renewed. */
const LONG_HOLD_ONE_IN = 5;
const LOOK_MS = 100;

export abstract class LockClient {
  readonly home: Home;
  protected readonly scene: LockScene;
  protected readonly world: World;
  protected readonly random: Random;
  protected readonly number: number;
  #stay: Stay | undefined;
  #lives: number;
  #phase: Phase;
  #isBusy: boolean;
  #isFinished: boolean;
  #isClosed: boolean;

  constructor(scene: LockScene, home: Home, random: Random, number: number) {
    this.home = home;
    this.scene = scene;
    this.world = scene.world;
    this.random = random;
    this.number = number;
    this.#stay = undefined;
    this.#lives = 0;
    this.#phase = 'work';
    this.#isBusy = false;
    this.#isFinished = false;
    this.#isClosed = false;
  }

  /** Opens what it works with; called in its process. */
  protected abstract open(stay: Stay): void;
  /** One thing after the other. Rejections of the usual kinds are part of life. */
  protected abstract round(stay: Stay): Promise<void>;
  /** Once all is well: it must be served, however long it takes. Called again where it fails. */
  protected abstract finalRound(stay: Stay): Promise<void>;
  /** Lets go of what `open` opened. */
  protected abstract shut(): Promise<void>;

  /** What kind it is, and its number. */
  get name(): string {
    return `${this.constructor.name} ${this.number}`;
  }
  /** Whether it does nothing, and will not without being told. */
  get isIdle(): boolean {
    return this.#stay !== undefined && !this.#isBusy && this.#phase !== 'work';
  }
  get isFinished(): boolean {
    return this.#isFinished;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  /** Whether it holds something, as far as it knows. */
  get holds(): boolean {
    return (this.#stay?.grants.size ?? 0) > 0;
  }
  /** How many lives it has had: the number is in what it says of itself. */
  protected get lives(): number {
    return this.#lives;
  }
  /** No round is begun any more: who waits for others must not wait for ever. */
  protected get isDraining(): boolean {
    return this.#phase !== 'work';
  }

  start(): void {
    this.#move();
  }

  /** Ends the round that goes on, and begins no other. */
  drain(): void {
    this.#phase = 'drain';
    this.home.calm();
    this.draining();
  }

  /** Its last round. */
  finish(): void {
    this.#phase = 'final';
    this.#again();
  }

  close(): void {
    this.#phase = 'close';
    const stay = this.#stay;
    if (stay === undefined) {
      this.#isClosed = true;
      return;
    }
    stay.host.onEnd(() => {
      this.#isClosed = true;
    });
    stay.host.run(() => {
      this.shut().then(
        () => {
          this.#isClosed = true;
        },
        (error: unknown) => this.unexpected('closing', error),
      );
    });
  }

  /** Told when no other round begins: waits for others end. */
  protected draining(): void {
    // Most have none.
  }

  /** `ms` of true time, and then when its process runs. Never resolves where that is gone. */
  protected sleep({ host }: Stay, ms: number): Promise<void> {
    return new Promise((resolve) => void this.world.after(ms, () => host.run(resolve)));
  }

  /** Works under a claim for a while, as one does who looks whether it is still held, and gives it back. */
  protected async hold(
    stay: Stay,
    name: string,
    permits: number,
    claim: Claimed,
    release = (): Promise<void> => claim.release(),
  ): Promise<void> {
    const grant = this.granted(stay, name, permits, claim);
    if (grant === undefined) return;
    const isLong = this.random.below(LONG_HOLD_ONE_IN) === 0;
    const meanMs = isLong && !this.isDraining ? 2 * stay.ttlMs : HOLD_MEAN_MS;
    const untilMs = this.world.nowMs + exponential(this.random, meanMs);
    const ear = listen(claim);
    if (!this.isHeld(name, claim, ear)) {
      this.world.violate('lock-handle', `${name}: it was lost when it was given out`);
    }
    do {
      await this.sleep(stay, exponential(this.random, LOOK_MS));
      if (stay.isOver) return;
      if (!this.isHeld(name, claim, ear)) {
        this.gaveUp(stay, grant);
        // As a user's `finally` does: it must do nothing.
        await release().catch(() => undefined);
        return;
      }
      this.scene.book.worked(grant);
    } while (this.world.nowMs < untilMs);
    this.gaveUp(stay, grant);
    await release();
  }

  /** A claim was granted: it goes into the book. */
  protected granted(stay: Stay, name: string, permits: number, claim: Claimed): Grant | undefined {
    if (stay.isOver) return undefined;
    this.world.reach('locks-granted');
    const { host } = stay;
    const isPaused = (): boolean => host.wasPausedSince(this.world.nowMs);
    const grant = { name, permits, claim, isPaused };
    stay.grants.add(grant);
    this.scene.book.granted(grant);
    return grant;
  }

  protected gaveUp(stay: Stay, grant: Grant): void {
    stay.grants.delete(grant);
    this.scene.book.ended(grant);
  }

  /** All that a handle says of whether it is held must agree. */
  protected isHeld(name: string, claim: Claimed, ear: Ear): boolean {
    const remainingMs = claim.remainingMs();
    const isLost = claim.lost.aborted;
    let throws = false;
    try {
      claim.assertHeld();
    } catch {
      throws = true;
    }
    if (isLost !== remainingMs <= 0 || isLost !== throws || isLost !== ear.heard) {
      this.world.violate(
        'lock-handle',
        `${name}: ${Math.round(remainingMs)} ms remain, lost ${isLost}, told ${ear.heard}, assertHeld throws ${throws}`,
      );
    }
    if (isLost) this.world.reach('locks-lost');
    return !isLost;
  }

  /** An error that nobody should get. */
  protected unexpected(what: string, error: unknown): void {
    const isUsual =
      isQuorateError(error) &&
      error.code !== 'ERR_INTERNAL' &&
      error.code !== 'ERR_INVALID_ARGUMENT' &&
      error.code !== 'ERR_PROTOCOL';
    if (!isUsual) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.world.violate('unexpected-error', `${what}: ${text}`);
    }
  }

  #move(): void {
    const life = ++this.#lives;
    this.#leave();
    this.world.after(exponential(this.random, PAUSE_MEAN_MS), () => {
      if (life !== this.#lives) return;
      const host = this.home.open();
      if (host === undefined) return this.#move();
      const stay: Stay = {
        host,
        ttlMs: TTLS_MS[this.random.below(TTLS_MS.length)]!,
        isOver: false,
        grants: new Set(),
      };
      host.onEnd(() => {
        if (life === this.#lives) this.#move();
      });
      host.run(() => {
        if (life !== this.#lives) return;
        this.#stay = stay;
        this.open(stay);
        this.#again();
      });
    });
  }

  #leave(): void {
    const stay = this.#stay;
    this.#stay = undefined;
    this.#isBusy = false;
    if (stay === undefined) return;
    stay.isOver = true;
    for (const grant of stay.grants) this.scene.book.ended(grant);
  }

  #again(): void {
    const stay = this.#stay;
    if (stay === undefined || this.#isBusy) return;
    if (this.#phase === 'work') this.#run(stay, () => this.round(stay));
    else if (this.#phase === 'final' && !this.#isFinished) {
      this.#run(stay, async () => {
        await this.finalRound(stay);
        if (!stay.isOver) this.#isFinished = true;
      });
    }
  }

  #run(stay: Stay, what: () => Promise<void>): void {
    this.#isBusy = true;
    const run = async (): Promise<void> => {
      await this.sleep(stay, exponential(this.random, PAUSE_MEAN_MS));
      if (stay.isOver) return;
      try {
        await what();
        this.scene.count('ok');
      } catch (error) {
        if (stay.isOver) return;
        this.unexpected('round', error);
        this.scene.count(isQuorateError(error) ? error.outcome : 'unknown');
      }
      if (stay.isOver) return;
      this.#isBusy = false;
      this.#again();
    };
    void run();
  }
}
