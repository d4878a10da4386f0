/** Several policies as one, with a name, figures, and rules that can be changed while it is used. */
import { type Clock, systemClock } from '../core/clock.ts';
import { invalid } from '../core/errors.ts';
import type { CallOptions, Work } from './call.ts';
import { Meter, type PipelineStats } from './meter.ts';
import type { Outcome } from './outcome.ts';
import { Alone, type Part, type Policy } from './policy.ts';
import { RULE_NAMES } from './rule-names.ts';
import { type Section, sectionOf } from './section.ts';
import { SteadyClock } from './steady-clock.ts';

/** What a pipeline takes besides its policies. */
export interface PipelineOptions {
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** New rules by the names of policies; each as its policy's own `reconfigure` takes them. */
export type PipelineChanges = Readonly<Record<string, object>>;

/** Several policies around the same work. */
export interface Pipeline extends Policy {
  readonly kind: 'pipeline';
  /** The outermost first. */
  readonly policies: readonly Policy[];
  /** What became of its calls. */
  stats(): PipelineStats;
  /**
   * Changes policies while they are used: all of them, or none.
   *
   * @throws `ERR_INVALID_ARGUMENT` for the name of a policy that is not in it or cannot be changed, for a rule that it does not
   * have, and for rules that it refuses; everything is as before then.
   */
  reconfigure(changes: PipelineChanges): void;
}

/**
 * Policies around the same work, the first outermost. A call goes through them in this order, and its end comes back
 * through them in reverse.
 *
 * A proven order: a deadline or timeout for the whole call, limits, a retry, a breaker, a bulkhead, a timeout for
 * each attempt. What is inside a retry is passed by every attempt, what is outside once.
 *
 * @param name - in errors of the policies' own and in figures; several policies of a kind need names of their own, too
 * @throws `ERR_INVALID_ARGUMENT` for no policies, for something else than policies, and for two of one name.
 * @example
 * ```ts
 * const stock = pipeline('stock', [
 *   timeout('2s'),
 *   limit(tokenBucket({ rate: '100/s' })),
 *   retry({ attempts: 3 }),
 *   circuitBreaker(),
 *   bulkhead({ max: 50 }),
 * ]);
 * const answer = await stock.run(({ signal }) => fetch(url, { signal }));
 * ```
 */
export function pipeline(
  name: string,
  policies: readonly Policy[],
  options: PipelineOptions = {},
): Pipeline {
  return new Composed(name, policies, options);
}

class Composed implements Pipeline {
  readonly kind = 'pipeline';
  readonly name: string;
  readonly policies: readonly Policy[];
  readonly #section: Section;
  readonly #meter: Meter;
  readonly #byName: ReadonlyMap<string, Part>;

  constructor(name: string, policies: readonly Policy[], { clock = systemClock }: PipelineOptions) {
    if (typeof name !== 'string' || name === '') throw invalid('name: a text is needed');
    if (!Array.isArray(policies) || policies.length === 0) {
      throw invalid(`pipeline '${name}': a list of policies is needed`);
    }
    const parts = policies.map((policy: unknown) => partOf(name, policy));
    this.name = name;
    this.policies = Object.freeze([...policies]);
    this.#byName = new Map(parts.map((part) => [part.name, part]));
    if (this.#byName.size < parts.length) {
      const names = parts.map((part) => part.name).join(', ');
      throw invalid(`pipeline '${name}': each policy needs a name of its own, these are ${names}`);
    }
    this.#meter = new Meter(name, new SteadyClock(clock));
    this.#section = sectionOf([this.#meter, ...parts], name);
  }

  run<T>(work: Work<T>, options?: CallOptions): Promise<T> {
    return this.#section.run(work, options);
  }

  attempt<T>(work: Work<T>, options?: CallOptions): Promise<Outcome<T>> {
    return this.#section.attempt(work, options);
  }

  stats(): PipelineStats {
    return this.#meter.stats();
  }

  reconfigure(changes: PipelineChanges): void {
    for (const change of this.prepare(changes)) change();
  }

  /** Checks changes; what is returned makes them. */
  prepare(changes: PipelineChanges): (() => void)[] {
    requireObject(`pipeline '${this.name}': the changes`, changes);
    return Object.entries(changes).map(([name, rules]) => {
      const part = this.#byName.get(name);
      if (part === undefined) {
        const names = [...this.#byName.keys()].join(', ');
        throw invalid(`pipeline '${this.name}' has no policy '${name}'; it has ${names}`);
      }
      if (part.prepare === undefined) {
        throw invalid(`pipeline '${this.name}': the policy '${name}' cannot be changed`);
      }
      requireObject(`pipeline '${this.name}': the rules of '${name}'`, rules);
      const known = RULE_NAMES[part.kind];
      const unknown = known && Object.keys(rules).find((rule) => !known.includes(rule));
      if (unknown !== undefined) {
        throw invalid(
          `pipeline '${this.name}': '${name}' has no rule '${unknown}'; it has ${known!.join(', ')}`,
        );
      }
      return part.prepare(rules as never);
    });
  }
}

/** Pipelines by name, for those who change them from outside: an operator, or live configuration. */
export interface PipelineRegistry {
  /** Makes a pipeline, as `pipeline` does. @throws `ERR_INVALID_ARGUMENT` for a name that is there already */
  pipeline(name: string, policies: readonly Policy[]): Pipeline;
  /** @throws `ERR_INVALID_ARGUMENT` where there is none of the name */
  get(name: string): Pipeline;
  /** All of them, in the order in which they were made. */
  pipelines(): readonly Pipeline[];
  /** Of all pipelines, by name. */
  stats(): Readonly<Record<string, PipelineStats>>;
  /**
   * Changes policies by the names of pipelines and policies: all of them, or none.
   *
   * @throws `ERR_INVALID_ARGUMENT` as `Pipeline.reconfigure` does, and for the name of a pipeline that is not there.
   */
  reconfigure(changes: Readonly<Record<string, PipelineChanges>>): void;
}

/**
 * A registry of pipelines.
 *
 * @example
 * ```ts
 * const guards = pipelineRegistry();
 * guards.pipeline('stock', [timeout('2s'), circuitBreaker()]);
 * guards.reconfigure({ stock: { timeout: { after: '1s' } } });
 * ```
 */
export function pipelineRegistry(options: PipelineOptions = {}): PipelineRegistry {
  return new Registry(options);
}

class Registry implements PipelineRegistry {
  readonly #options: PipelineOptions;
  readonly #pipelines: Map<string, Composed>;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#pipelines = new Map();
  }

  pipeline(name: string, policies: readonly Policy[]): Pipeline {
    if (this.#pipelines.has(name)) throw invalid(`there is a pipeline '${name}' already`);
    const made = new Composed(name, policies, this.#options);
    this.#pipelines.set(name, made);
    return made;
  }

  get(name: string): Composed {
    const found = this.#pipelines.get(name);
    if (found !== undefined) return found;
    const names = [...this.#pipelines.keys()].join(', ');
    throw invalid(`there is no pipeline '${name}'; there are ${names === '' ? 'none' : names}`);
  }

  pipelines(): readonly Pipeline[] {
    return [...this.#pipelines.values()];
  }

  stats(): Readonly<Record<string, PipelineStats>> {
    return Object.fromEntries([...this.#pipelines].map(([name, one]) => [name, one.stats()]));
  }

  reconfigure(changes: Readonly<Record<string, PipelineChanges>>): void {
    requireObject('the changes', changes);
    const all = Object.entries(changes).flatMap(([name, rules]) => this.get(name).prepare(rules));
    for (const change of all) change();
  }
}

function requireObject(what: string, given: unknown): void {
  if (typeof given !== 'object' || given === null) throw invalid(`${what} are no object`);
}

function partOf(pipelineName: string, policy: unknown): Part {
  if (policy instanceof Alone) return policy as unknown as Part;
  throw invalid(`pipeline '${pipelineName}': ${whatItIs(policy)}`);
}

function whatItIs(given: unknown): string {
  const it = given as Partial<Record<'enter' | 'around' | 'allow' | 'run', unknown>> | null;
  // It would let everything in: what it refuses with is not known here as a refusal.
  if (it?.enter !== undefined || it?.around !== undefined)
    return 'a policy of another copy of this package; see that there is one (npm ls quorate)';
  if (typeof it?.allow === 'function') return 'a limiter is no policy; limit(limiter) is one';
  return typeof it?.run === 'function' ? 'a pipeline; use its policies' : 'no policy';
}
