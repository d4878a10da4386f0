/** A client that reads and writes a few shared keys through one node, and moves on when that fails. */
import { isQuorateError } from '../../../core/errors.ts';
import type { Random } from '../../../core/random.ts';
import type { KeyValue, Kv } from '../../../kv/kv.ts';
import type { Oracle } from '../checks/oracle.ts';
import { chance, exponential, pick } from '../draw.ts';
import type { Cancel, World } from '../types.ts';
import type { History, Operation } from './history.ts';
import { callHost, type Ending, type Host, type Hosts, outcomeOf } from './hosts.ts';

export interface KvClientOptions {
  readonly world: World;
  readonly hosts: Hosts;
  readonly history: History;
  readonly oracle: Oracle;
  readonly client: number;
  readonly keys: readonly string[];
  readonly thinkMeanMs: number;
  readonly valueBytes: number;
  /** After this long the client gives up on an answer. */
  readonly limitMs: number;
  /** Counts what was done, by kind and outcome. */
  readonly count: (what: string) => void;
}

/** What clients do, and how often compared with each other. */
const MIX: readonly (readonly [kind: string, weight: number])[] = [
  ['put', 30],
  ['get', 30],
  ['serializable-get', 8],
  ['delete', 6],
  ['compare-and-set', 14],
  ['put-two', 4],
  ['range', 4],
  ['old-get', 3],
  ['compact', 1],
];
const MIX_TOTAL = MIX.reduce((sum, [, weight]) => sum + weight, 0);

/** Called once a call has ended; `isWell`: it was answered. */
type Done = (isWell: boolean) => void;

export class KvClient {
  readonly #options: KvClientOptions;
  readonly #random: Random;
  /** The mod revision last seen of each key: what its next transaction compares with. */
  readonly #seen: Map<string, number>;
  #seat: number;
  /** Newest revision seen in this life of the node: old reads may be old, but not older than that. */
  #host: Host | undefined;
  #hostRevision: number;
  #values: number;
  readonly #acts: Readonly<Record<string, (host: Host, done: Done) => void>>;
  #isStopped: boolean;
  #isBusy: boolean;
  #cancelNext: Cancel;

  constructor(options: KvClientOptions) {
    this.#options = options;
    this.#random = options.world.random(`client/${options.client}`);
    this.#seen = new Map();
    this.#seat = this.#random.below(options.hosts.count);
    this.#host = undefined;
    this.#hostRevision = 0;
    this.#values = 0;
    this.#acts = {
      put: (host, done) => this.#put(host, done),
      get: (host, done) => this.#get(host, done),
      'serializable-get': (host, done) => this.#getOld(host, done),
      delete: (host, done) => this.#delete(host, done),
      'compare-and-set': (host, done) => this.#compareAndSet(host, done),
      'put-two': (host, done) => this.#putTwo(host, done),
      range: (host, done) => this.#range(host, done),
      'old-get': (host, done) => this.#getPast(host, done),
      compact: (host, done) => this.#compact(host, done),
    };
    this.#isStopped = false;
    this.#isBusy = false;
    this.#cancelNext = () => undefined;
  }

  /** A call is under way. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  start(): void {
    this.#think();
  }

  /** Begins nothing any more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelNext();
  }

  /** So many calls at once, without a thought between them. */
  burst(count: number, seat = this.#seat): void {
    const host = this.#options.hosts.at(seat);
    if (host === undefined || this.#isStopped) return;
    for (let i = 0; i < count; i++) this.#put(host, () => undefined);
  }

  #think(): void {
    if (this.#isStopped) return;
    const { world, thinkMeanMs } = this.#options;
    const pauseMs = exponential(this.#random, thinkMeanMs);
    this.#cancelNext = world.after(pauseMs, () => this.#next());
  }

  #next(): void {
    const host = this.#options.hosts.at(this.#seat);
    if (host === undefined) {
      this.#move();
      this.#think();
      return;
    }
    if (host !== this.#host) {
      this.#host = host;
      this.#hostRevision = 0;
    }
    this.#isBusy = true;
    this.#acts[this.#drawKind()]!(host, (isWell) => {
      this.#isBusy = false;
      if (!isWell) this.#move();
      this.#think();
    });
  }

  #move(): void {
    this.#seat = this.#random.below(this.#options.hosts.count);
  }

  #drawKind(): string {
    let at = this.#random.below(MIX_TOTAL);
    for (const [kind, weight] of MIX) {
      at -= weight;
      if (at < 0) return kind;
    }
    return 'get';
  }

  /** Unique, now and then empty, and now and then far larger than the others. */
  #value(): string {
    if (chance(this.#random, 0.01)) return '';
    this.#values += 1;
    const name = `${this.#options.client}.${this.#values}`;
    const isHuge = chance(this.#random, 0.005);
    return name.padEnd(isHuge ? 60_000 : this.#options.valueBytes, '.');
  }

  #call<T>(
    host: Host,
    operation: Operation,
    start: (kv: Kv) => Promise<T>,
    done: Done,
    succeed: (value: T) => void,
  ): void {
    const { world, limitMs, history, count } = this.#options;
    callHost(world, host, limitMs, start, (ending) => {
      const outcome = outcomeOf(ending);
      count(outcome);
      if (ending.kind === 'ok') succeed(ending.value);
      else {
        history.failed(operation, outcome === 'not-applied' ? outcome : 'unknown');
        this.#requireOrderly(operation, ending);
      }
      done(ending.kind === 'ok');
    });
  }

  /** Errors of ours, and none that says that something broke. */
  #requireOrderly(operation: Operation, ending: Ending<unknown>): void {
    if (ending.kind !== 'failed') return;
    const { error } = ending;
    const isOrderly = isQuorateError(error) && error.code !== 'ERR_INTERNAL';
    if (isOrderly) return;
    this.#options.world.violate(
      'unexpected-error',
      `client ${operation.client}: ${operation.kind} ${operation.key}: ${String(error)}`,
    );
  }

  #begin(kind: string, key: string, value = '', ifModRevision = -1): Operation {
    return this.#options.history.begin(this.#options.client, kind, key, value, ifModRevision);
  }

  #key(): string {
    return pick(this.#random, this.#options.keys);
  }

  #put(host: Host, done: Done): void {
    const { history } = this.#options;
    const key = this.#key();
    const value = this.#value();
    const operation = this.#begin('put', key, value);
    this.#call(
      host,
      operation,
      (kv) => kv.put(key, value),
      done,
      ({ revision }) => {
        this.#seen.set(key, revision);
        history.wrote(operation, revision);
      },
    );
  }

  #putTwo(host: Host, done: Done): void {
    const { history, keys } = this.#options;
    const key = this.#key();
    const other = keys[(keys.indexOf(key) + 1) % keys.length]!;
    if (key === other) {
      this.#put(host, done);
      return;
    }
    const value = this.#value();
    const operation = this.#begin('put-two', `${key},${other}`, value);
    const then = [key, other].map((each) => ({ op: 'put' as const, key: each, value }));
    this.#call(
      host,
      operation,
      (kv) => kv.txn({ then }),
      done,
      ({ revision }) => history.wrote(operation, revision),
    );
  }

  #delete(host: Host, done: Done): void {
    const key = this.#key();
    const operation = this.#begin('delete', key);
    this.#call(
      host,
      operation,
      (kv) => kv.delete(key),
      done,
      ({ revision, deleted }) => this.#options.history.deleted(operation, revision, deleted),
    );
  }

  #compareAndSet(host: Host, done: Done): void {
    const { history } = this.#options;
    const key = this.#key();
    const value = this.#value();
    const seen = this.#seen.get(key) ?? 0;
    const operation = this.#begin('compare-and-set', key, value, seen);
    const txn = {
      if: [{ key, target: 'mod', is: '=', to: seen }],
      then: [{ op: 'put', key, value }],
      else: [{ op: 'range', key }],
    } as const;
    this.#call(
      host,
      operation,
      (kv) => kv.txn(txn),
      done,
      (result) => {
        if (result.succeeded) {
          this.#seen.set(key, result.revision);
          history.wroteOnCondition(operation, result.revision);
          return;
        }
        const found = result.results[0];
        const kv = found?.op === 'range' ? found.kvs[0] : undefined;
        this.#seen.set(key, kv?.modRevision ?? 0);
        history.refusedByCondition(operation, result.revision);
        history.requireSame(operation, result.revision, kv);
      },
    );
  }

  #get(host: Host, done: Done): void {
    const key = this.#key();
    const operation = this.#begin('get', key);
    this.#call(
      host,
      operation,
      (kv) => kv.range(key),
      done,
      ({ revision, kvs }) => {
        this.#noteSeen(host, key, revision, kvs[0]);
        this.#options.history.read(operation, revision, kvs[0]);
      },
    );
  }

  #noteSeen(host: Host, key: string, revision: number, kv: KeyValue | undefined): void {
    this.#seen.set(key, kv?.modRevision ?? 0);
    if (host === this.#host) this.#hostRevision = Math.max(this.#hostRevision, revision);
  }

  #range(host: Host, done: Done): void {
    const { history, keys } = this.#options;
    const operation = this.#begin('range', 'k*');
    this.#call(
      host,
      operation,
      (kv) => kv.range({ prefix: 'k' }),
      done,
      ({ revision, kvs }) => history.readRange(operation, revision, keys, kvs),
    );
  }

  /** May be old, but true, and one node never goes back. */
  #getOld(host: Host, done: Done): void {
    const { history, world } = this.#options;
    const key = this.#key();
    const least = this.#hostRevision;
    const operation = this.#begin('serializable-get', key);
    const read = (kv: Kv) => kv.range(key, { serializable: true });
    this.#call(host, operation, read, done, ({ revision, kvs }) => {
      history.readOld(operation);
      history.requireSame(operation, revision, kvs[0]);
      if (host !== this.#host) return;
      if (revision < least) {
        world.violate(
          'serializable-read-regressed',
          `seat ${host.seat} answered for revision ${least}, and later for ${revision}`,
        );
      }
      this.#hostRevision = Math.max(this.#hostRevision, revision);
    });
  }

  #getPast(host: Host, done: Done): void {
    const { history, oracle } = this.#options;
    const key = this.#key();
    const revision = 1 + this.#random.below(Math.max(1, history.told));
    const operation = this.#begin('old-get', key);
    const { world, limitMs, count } = this.#options;
    callHost(
      world,
      host,
      limitMs,
      (kv) => kv.get(key, { revision }),
      (ending) => {
        count(outcomeOf(ending));
        history.readOld(operation);
        if (ending.kind === 'ok') history.requireSame(operation, revision, ending.value);
        else if (ending.kind === 'failed' && isQuorateError(ending.error, 'ERR_COMPACTED')) {
          if (revision >= oracle.compactRevision) {
            world.violate('wrong-answer', `revision ${revision} was called compacted and is not`);
          }
        } else this.#requireOrderly(operation, ending);
        done(ending.kind === 'ok' || ending.kind === 'failed');
      },
    );
  }

  #compact(host: Host, done: Done): void {
    const { history, world, limitMs, count } = this.#options;
    const revision = history.told - this.#random.below(30);
    const operation = this.#begin('compact', '');
    if (revision < 1) {
      history.readOld(operation);
      done(true);
      return;
    }
    callHost(
      world,
      host,
      limitMs,
      (kv) => kv.compact(revision),
      (ending) => {
        count(outcomeOf(ending));
        history.readOld(operation);
        if (ending.kind === 'ok') world.reach('compacted');
        else this.#requireOrderly(operation, ending);
        done(true);
      },
    );
  }
}
