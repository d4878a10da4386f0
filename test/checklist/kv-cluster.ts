/** Nodes with the key-value store, clients that never stop asking, and the history of what they saw. */
import assert from 'node:assert/strict';
import type { Kv } from '../../src/kv/kv.ts';
import { openNode, type QuorateNode } from '../../src/node.ts';
import { checkLinearizability, type Operation } from '../../src/testing/linearizability.ts';
import { type KvInput, type KvOutput, kvModel } from '../../src/testing/linearizability-kv.ts';
import type { CoreUnderTest } from './cores.ts';
import { NodeCluster, type NodeClusterOptions, type NodeSeat, outcomeOf } from './node-cluster.ts';

export interface KvClusterOptions extends NodeClusterOptions {
  /** @defaultValue never */
  readonly snapshotEntries?: number;
}

export type Seat = NodeSeat<QuorateNode>;

export class KvCluster extends NodeCluster<QuorateNode> {
  readonly history: Operation<KvInput, KvOutput>[] = [];
  /** Answers so far, for those who wait for progress. */
  answered = 0;
  #value = 0;

  constructor(core: CoreUnderTest, options: KvClusterOptions) {
    super(core, options, (plan) =>
      openNode({
        ...plan,
        ...core.options,
        snapshotEntries: options.snapshotEntries ?? 1_000_000,
        keepEntries: 3,
      }),
    );
  }

  /** One operation at one node, noted. Returns whether it was answered. */
  async ask(client: number, seat: Seat, input: KvInput): Promise<KvOutput | undefined> {
    const callMs = this.clock.now();
    const { node } = seat;
    if (node === undefined) return undefined;
    try {
      const output = await perform(node.kv, input);
      // A node that crashed meanwhile has told nobody.
      if (seat.node !== node) this.#note(client, callMs, input, undefined);
      else this.#note(client, callMs, input, output);
      return output;
    } catch (error) {
      const isKnown = outcomeOf(error) === 'not-applied' && seat.node === node;
      if (input.op !== 'get' && !isKnown) this.#note(client, callMs, input, undefined);
      return undefined;
    }
  }

  #note(client: number, callMs: number, input: KvInput, output: KvOutput | undefined): void {
    if (output === undefined && input.op === 'get') return;
    if (output !== undefined) this.answered += 1;
    const returnMs = output === undefined ? undefined : this.clock.now();
    this.history.push({ client, callMs, returnMs, input, output });
  }

  /** A put, a get, a delete or a transaction on what was seen last; every value is new. */
  draw(key: string, seen: number): KvInput {
    const kind = this.random.below(10);
    const value = `v${this.#value++}`;
    if (kind < 4) return { op: 'get', key };
    if (kind < 7) return { op: 'put', key, value };
    if (kind < 8) return { op: 'delete', key };
    return { op: 'txn', key, ifModRevision: seen, value };
  }

  /**
   * `count` clients for `ms`: each asks one node after the other, with its own key or, `keys`, with
   * keys that they share. Resolves when the last of them has its answer.
   */
  async clients(count: number, ms: number, keys?: number): Promise<void> {
    const untilMs = this.clock.now() + ms;
    const client = async (id: number): Promise<void> => {
      const seen = new Map<string, number>();
      let at = this.random.below(this.seats.length);
      while (this.clock.now() < untilMs) {
        const key = keys === undefined ? `key of ${id}` : `key ${this.random.below(keys)}`;
        const input = this.draw(key, seen.get(key) ?? 0);
        const output = await this.ask(id, this.seat(at), input);
        if (output === undefined) at += 1;
        await new Promise<void>((resolve) => this.clock.after(1 + this.random.below(8), resolve));
        const revision = output?.found?.modRevision ?? output?.revision;
        if (revision !== undefined) seen.set(key, revision);
      }
    };
    const first = this.history.length;
    await Promise.all(Array.from({ length: count }, (_, id) => client(first + id)));
  }

  /** Draws two parts anew every 100 to 300 ms, until `ms` have passed. */
  async partitions(ms: number): Promise<void> {
    const untilMs = this.clock.now() + ms;
    while (this.clock.now() < untilMs) {
      const parts: Seat[][] = [[], []];
      for (const seat of this.seats) parts[this.random.below(2)]!.push(seat);
      this.partition(...parts);
      const pauseMs = 100 + this.random.below(200);
      await new Promise<void>((resolve) => this.clock.after(pauseMs, resolve));
    }
    this.partition(this.seats);
  }

  /** What the clients saw is possible on one copy that does one thing at a time. */
  checkHistory(): void {
    const result = checkLinearizability(kvModel(), this.history);
    if (result.verdict === 'linearizable') return;
    assert.fail(
      `${this}: ${result.verdict === 'unknown' ? 'not decided' : result.counterexample.message}`,
    );
  }

  /** Heals everything; all serve again and hold the same; what was seen is checked. */
  async finish(): Promise<void> {
    this.unreliable = false;
    this.partition(this.seats);
    this.connect(...this.seats);
    await this.start(...this.seats.filter(({ node }) => node === undefined));
    for (const seat of this.seats) await this.during(seat.node!.ready());
    const before = this.answered;
    await this.during(this.clients(this.seats.length, 200));
    assert.ok(this.answered > before, `${this}: all is well again`);
    const contents = this.seats.map(({ node }) => node!.kv.range({ prefix: 'key' }));
    const [first, ...others] = await this.during(Promise.all(contents));
    for (const other of others) assert.deepEqual(other.kvs, first!.kvs);
    this.checkHistory();
    await this.close();
  }
}

/** Carries out `input` and says what the model wants to know. */
async function perform(kv: Kv, input: KvInput): Promise<KvOutput> {
  const { key } = input;
  switch (input.op) {
    case 'get': {
      const found = await kv.get(key);
      return {
        found: { value: found?.value.toString() ?? null, modRevision: found?.modRevision ?? 0 },
      };
    }
    case 'put':
      return { revision: (await kv.put(key, input.value)).revision };
    case 'delete': {
      const { deleted, revision } = await kv.delete(key);
      return deleted > 0 ? { deleted: true, revision } : { deleted: false };
    }
    case 'txn': {
      const { succeeded, revision } = await kv.txn({
        if: [{ key, target: 'mod', is: '=', to: input.ifModRevision }],
        then: [{ op: 'put', key, value: input.value ?? '' }],
      });
      return succeeded ? { succeeded, revision } : { succeeded };
    }
  }
}
