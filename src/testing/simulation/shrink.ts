/**
 * Makes a story that fails smaller, as long as it fails in the same way: fewer faults by delta debugging
 * (Zeller & Hildebrandt 2002), then a shorter storm, calmer weather, fewer clients, shorter faults,
 * and over again until nothing goes away any more. What is left is what somebody has to read.
 *
 * Every change also shifts what chance does afterwards, so a step that would be possible may seem not to
 * be: the result is short, not shortest.
 */
import { QuorateError } from '../../core/errors.ts';
import type { PlannedFault, Story, Violation } from './types.ts';

/** Plays a story: which property does not hold, `undefined` where all do. */
export type PlayStory = (story: Story) => Promise<Violation | undefined>;

/** Limits of shrinking, and who wants to know. */
export interface ShrinkOptions {
  /** Stories played at most. @defaultValue `200` */
  readonly maxRuns?: number;
  /** A smaller story still fails. */
  readonly onSmaller?: (story: Story, runs: number) => void;
}

/** What is left of a story. */
export interface ShrunkStory {
  readonly story: Story;
  /** How the smallest one fails. */
  readonly violation: Violation;
  /** Stories played. */
  readonly runs: number;
}

/**
 * Shrinks `story`, which fails with `violation`; only a failure of the same property counts.
 *
 * @throws `ERR_INVALID_ARGUMENT` for `maxRuns` below 1
 */
export async function shrinkStory(
  story: Story,
  violation: Violation,
  play: PlayStory,
  options: ShrinkOptions = {},
): Promise<ShrunkStory> {
  const { maxRuns = 200 } = options;
  if (!Number.isInteger(maxRuns) || maxRuns < 1) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', `maxRuns: ${maxRuns}, at least 1 is needed`);
  }
  const shrinking = new Shrinking(story, violation, play, maxRuns, options.onSmaller);
  await shrinking.run();
  return { story: shrinking.story, violation: shrinking.violation, runs: shrinking.runs };
}

class Shrinking {
  story: Story;
  violation: Violation;
  runs = 0;
  readonly #play: PlayStory;
  readonly #maxRuns: number;
  readonly #onSmaller: ShrinkOptions['onSmaller'];
  /** Those that were played, as JSON. */
  readonly #played = new Set<string>();

  constructor(
    story: Story,
    violation: Violation,
    play: PlayStory,
    maxRuns: number,
    onSmaller: ShrinkOptions['onSmaller'],
  ) {
    this.story = story;
    this.violation = violation;
    this.#play = play;
    this.#maxRuns = maxRuns;
    this.#onSmaller = onSmaller;
  }

  async run(): Promise<void> {
    const passes = [
      () => this.#shortenStorm(),
      () => this.#dropFaults(),
      () => this.#calmWeather(),
      () => this.#dropClients(),
      () => this.#shortenFaults(),
    ];
    for (;;) {
      const before = this.story;
      for (const pass of passes) await pass();
      if (this.story === before || this.runs >= this.#maxRuns) return;
    }
  }

  /** Plays a smaller story and keeps it where it fails in the same way. */
  async #try(change: Partial<Story>): Promise<boolean> {
    const story: Story = { ...this.story, ...change };
    const text = JSON.stringify(story);
    if (this.runs >= this.#maxRuns || this.#played.has(text)) return false;
    this.#played.add(text);
    this.runs++;
    const violation = await this.#play(story);
    if (violation?.property !== this.violation.property) return false;
    this.story = story;
    this.violation = violation;
    this.#onSmaller?.(story, this.runs);
    return true;
  }

  /** Nothing that comes after the failure can have led to it. */
  async #shortenStorm(): Promise<void> {
    const { stormMs, faults } = this.story;
    for (const end of [Math.ceil(this.violation.atMs), Math.ceil(stormMs / 2)]) {
      if (end <= 0 || end >= this.story.stormMs) continue;
      const earlier = faults.filter(({ atMs }) => atMs < end);
      if (await this.#try({ stormMs: end, faults: earlier })) return;
    }
  }

  /** Ever smaller pieces, until every single fault is needed (ddmin). */
  async #dropFaults(): Promise<void> {
    if (this.story.faults.length === 0 || (await this.#try({ faults: [] }))) return;
    let pieces = 2;
    while (this.story.faults.length > 1) {
      const size = Math.ceil(this.story.faults.length / pieces);
      const smaller = await this.#dropOnePiece(size);
      if (this.runs >= this.#maxRuns) return;
      if (smaller) pieces = Math.max(2, pieces - 1);
      else if (size === 1) return;
      else pieces = Math.min(this.story.faults.length, pieces * 2);
    }
  }

  async #dropOnePiece(size: number): Promise<boolean> {
    const { faults } = this.story;
    for (let start = 0; start < faults.length; start += size) {
      const rest = faults.filter((_, index) => index < start || index >= start + size);
      if (await this.#try({ faults: rest })) return true;
    }
    return false;
  }

  async #calmWeather(): Promise<void> {
    if (Object.keys(this.story.weather).length === 0 || (await this.#try({ weather: {} }))) return;
    for (const name of Object.keys(this.story.weather)) {
      const { [name]: _, ...weather } = this.story.weather;
      await this.#try({ weather });
    }
  }

  async #dropClients(): Promise<void> {
    for (const clients of [1, Math.ceil(this.story.clients / 2), this.story.clients - 1]) {
      if (clients >= this.story.clients || clients < 1) continue;
      if (await this.#try({ clients })) return;
    }
  }

  async #shortenFaults(): Promise<void> {
    for (const [index, fault] of this.story.faults.entries()) {
      const { forMs } = fault;
      if (forMs === undefined || forMs < 2) continue;
      const shorter: PlannedFault = { ...fault, forMs: Math.floor(forMs / 2) };
      await this.#try({ faults: this.story.faults.with(index, shorter) });
    }
  }
}
