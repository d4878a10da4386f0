/**
 * What the clients of chaos did and saw, and whether that can have been: linearizable key by key, and
 * across keys by the revisions that the answers name; every value that is anywhere was written by
 * somebody, once, and never by one who was told that it was not; watches are complete and in order.
 */
import assert from 'node:assert/strict';
import { isQuorateError } from 'quorate';
import type { WatchEvent } from 'quorate/kv';
import {
  checkLinearizability,
  type KvInput,
  type KvOutput,
  kvModel,
  type Operation,
} from 'quorate/testing';
import type { Store } from './stores.ts';

/** Enough for some minutes of history; a check that needs more has not decided anything and fails. */
const MAX_STEPS = 20_000_000;

/** An operation that may have happened. */
type Noted = Operation<KvInput, KvOutput>;

export class History {
  readonly operations: Noted[] = [];
  /** Values of writes that were refused for certain. */
  readonly refused = new Set<string>();
  readonly counts = { ok: 0, unknown: 0, notApplied: 0, readsFailed: 0 };
  /** What broke while it went on. */
  readonly violations: string[] = [];
  /** How often which error came. */
  readonly errors = new Map<string, number>();
  /** The newest revision that anybody was told. */
  #told = 0;
  #values = 0;

  /** A value that nobody wrote before. */
  newValue(): string {
    return `v${this.#values++}`;
  }

  /** Does it, and notes what came of it; `undefined` where no answer came. */
  async perform(
    client: string,
    store: Store,
    input: KvInput,
  ): Promise<{ readonly output: KvOutput; readonly revision: number } | undefined> {
    const floor = this.#told;
    const callMs = performance.now();
    try {
      const { output, revision } = await store.perform(input);
      this.operations.push({ client, callMs, returnMs: performance.now(), input, output });
      this.counts.ok += 1;
      const wrote = output.revision !== undefined;
      if (revision < floor || (wrote && revision === floor)) {
        const what = JSON.stringify({ input, output });
        this.violations.push(
          `${client}: ${what} was answered at revision ${revision}, but ${floor} was known before it began`,
        );
      }
      this.#told = Math.max(this.#told, revision);
      return { output, revision };
    } catch (error) {
      this.#failed(client, callMs, input, error);
      return undefined;
    }
  }

  #failed(client: string, callMs: number, input: KvInput, error: unknown): void {
    if (!isQuorateError(error)) throw error;
    this.errors.set(error.code, (this.errors.get(error.code) ?? 0) + 1);
    if (input.op === 'get') this.counts.readsFailed += 1;
    else if (error.outcome === 'unknown') {
      this.counts.unknown += 1;
      this.operations.push({ client, callMs, returnMs: undefined, input });
    } else {
      this.counts.notApplied += 1;
      if (input.op !== 'delete' && input.value !== null) this.refused.add(input.value);
    }
  }

  /** @param events all that ever happened to the keys, as a watch told it */
  verify(events: readonly WatchEvent[]): { readonly steps: number } {
    assert.deepEqual(this.violations, []);
    const written = this.#writtenBy(events);
    for (const { input, output, returnMs } of this.operations) {
      if (returnMs === undefined || input.op === 'get' || output?.revision === undefined) continue;
      const at = input.op === 'delete' ? undefined : written.get(input.value ?? '');
      if (at !== undefined)
        assert.equal(at, output.revision, `acknowledged ${input.op} of ${JSON.stringify(input)}`);
      else {
        const gone = events.find(({ kv }) => kv.modRevision === output.revision);
        assert.equal(
          gone?.type,
          'delete',
          `acknowledged ${JSON.stringify(input)} at ${output.revision} is not there`,
        );
      }
    }
    // Of the writes without an answer those that never happened need not be tried at every place.
    const possible = this.operations.filter(({ input, returnMs }) => {
      if (returnMs !== undefined || input.op === 'get' || input.op === 'delete') return true;
      return input.value === null || written.has(input.value);
    });
    const result = checkLinearizability(kvModel(), possible, { maxSteps: MAX_STEPS });
    if (result.verdict === 'not-linearizable') assert.fail(result.counterexample.message);
    assert.equal(result.verdict, 'linearizable', `not decided after ${result.steps} steps`);
    return { steps: result.steps };
  }

  /** By value the revision at which it was put, all checked. */
  #writtenBy(events: readonly WatchEvent[]): Map<string, number> {
    const attempted = new Set<string>();
    for (const { input } of this.operations) {
      if (input.op === 'put' || (input.op === 'txn' && input.value !== null))
        attempted.add(input.value!);
    }
    const written = new Map<string, number>();
    for (const { type, kv } of events) {
      if (type !== 'put') continue;
      const value = kv.value.toString();
      assert.ok(!this.refused.has(value), `${value} was refused, and is at ${kv.modRevision}`);
      assert.ok(attempted.has(value), `${value} at ${kv.modRevision} was written by nobody`);
      assert.ok(
        !written.has(value),
        `${value} is there twice: ${written.get(value)} and ${kv.modRevision}`,
      );
      written.set(value, kv.modRevision);
    }
    return written;
  }
}
