/**
 * A store that is away: what a client's process asks a node goes over a link that takes its time, loses replies,
 * and is cut. Whether something happened is then unknown, as with any real client of a quorum; this one sends
 * nothing again by itself, and its watches go on where they were.
 */

import type { WaitOptions } from '../../../../core/abort.ts';
import type { BytesLike } from '../../../../core/bytes.ts';
import type { Duration } from '../../../../core/duration.ts';
import { QuorateError } from '../../../../core/errors.ts';
import type {
  DeleteOptions,
  KeyRange,
  Kv,
  PutOptions,
  RangeOptions,
  ReadOptions,
  Txn,
  Watch,
  WatchOptions,
} from '../../../../kv/kv.ts';
import type { Link } from './link.ts';
import { RemoteWatch } from './remote-watch.ts';

/** After so long a call without an answer is given up: its outcome is unknown. */
const CALL_LIMIT_MS = 4000;
export class RemoteKv implements Kv {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  get(key: BytesLike, { signal, ...options }: ReadOptions = {}): ReturnType<Kv['get']> {
    return this.#call(signal, (kv, stop) => kv.get(key, { ...options, signal: stop }));
  }

  range(range: KeyRange, { signal, ...options }: RangeOptions = {}): ReturnType<Kv['range']> {
    return this.#call(signal, (kv, stop) => kv.range(range, { ...options, signal: stop }));
  }

  put(
    key: BytesLike,
    value: BytesLike,
    { signal, ...options }: PutOptions = {},
  ): ReturnType<Kv['put']> {
    return this.#call(signal, (kv, stop) => kv.put(key, value, { ...options, signal: stop }));
  }

  delete(range: KeyRange, { signal, ...options }: DeleteOptions = {}): ReturnType<Kv['delete']> {
    return this.#call(signal, (kv, stop) => kv.delete(range, { ...options, signal: stop }));
  }

  txn(txn: Txn, { signal }: WaitOptions = {}): ReturnType<Kv['txn']> {
    return this.#call(signal, (kv, stop) => kv.txn(txn, { signal: stop }));
  }

  compact(revision: number, { signal }: WaitOptions = {}): Promise<void> {
    return this.#call(signal, (kv, stop) => kv.compact(revision, { signal: stop }));
  }

  watch(range: KeyRange, options: WatchOptions = {}): Watch {
    return new RemoteWatch(this.#link, range, options);
  }

  grantLease(ttl: Duration, { signal }: WaitOptions = {}): ReturnType<Kv['grantLease']> {
    return this.#call(signal, (kv, stop) => kv.grantLease(ttl, { signal: stop }));
  }

  revokeLease(id: bigint, { signal }: WaitOptions = {}): Promise<void> {
    return this.#call(signal, (kv, stop) => kv.revokeLease(id, { signal: stop }));
  }

  keepAlive(id: bigint, { signal }: WaitOptions = {}): Promise<number> {
    return this.#call(signal, (kv, stop) => kv.keepAlive(id, { signal: stop }));
  }

  leaseInfo(id: bigint, { signal }: WaitOptions = {}): ReturnType<Kv['leaseInfo']> {
    return this.#call(signal, (kv, stop) => kv.leaseInfo(id, { signal: stop }));
  }

  leases({ signal }: WaitOptions = {}): ReturnType<Kv['leases']> {
    return this.#call(signal, (kv, stop) => kv.leases({ signal: stop }));
  }

  async close(): Promise<void> {
    // The link goes with the process.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // As `close`.
  }

  #call<T>(
    signal: AbortSignal | undefined,
    start: (kv: Kv, stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) =>
      new RemoteCall(this.#link, resolve, reject).run(signal, start),
    );
  }
}

/** One call, from its request to its reply, or to whatever ends it before. */
class RemoteCall<T> {
  readonly #link: Link;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: unknown) => void;
  readonly #leave: (() => void)[];
  #isOver: boolean;

  constructor(link: Link, resolve: (value: T) => void, reject: (error: unknown) => void) {
    this.#link = link;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#leave = [];
    this.#isOver = false;
  }

  run(signal: AbortSignal | undefined, start: (kv: Kv, stop: AbortSignal) => Promise<T>): void {
    const { process } = this.#link;
    const host = this.#link.host();
    if (host === undefined) {
      process.after(this.#link.delayMs(), () =>
        this.#fail('no node can be reached', 'not-applied'),
      );
      return;
    }
    this.#link.calls += 1;
    const stop = new AbortController();
    const onAbort = (): void => {
      this.#end(() => this.#reject(signal?.reason));
      this.#link.send(this.#link.delayMs(), () => host.run(() => stop.abort(signal?.reason)));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#leave.push(
      () => {
        this.#link.calls -= 1;
      },
      () => signal?.removeEventListener('abort', onAbort),
      process.after(CALL_LIMIT_MS, () => this.#fail('no answer in time', 'unknown')),
      this.#link.onReset(() => process.run(() => this.#fail('the connection broke', 'unknown'))),
    );
    this.#link.request(() => {
      host.run(() => {
        start(host.kv, stop.signal).then(
          (value) => this.#reply(() => this.#resolve(value)),
          (error) => this.#reply(() => this.#reject(error)),
        );
      });
    });
  }

  #reply(settle: () => void): void {
    if (this.#isOver) return;
    if (this.#link.losesReply()) {
      this.#link.world.fault('client-reply-lost');
      this.#link.reset();
      return;
    }
    this.#link.send(this.#link.delayMs(), () => this.#link.process.run(() => this.#end(settle)));
  }

  #fail(why: string, outcome: 'unknown' | 'not-applied'): void {
    this.#end(() => {
      this.#reject(new QuorateError('ERR_UNAVAILABLE', why, { outcome, retryable: true }));
    });
  }

  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const leave of this.#leave) leave();
    settle();
  }
}
