/** A connection for messages, opened when first needed and closed with the locks. */

import { orAborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { withinTime } from '../../locks/life.ts';
import type { Connection, SubscriberConnection } from './clients.ts';
import { fromClient } from './replies.ts';

type Listener = (message: string) => void;

interface Channel {
  readonly listeners: Set<Listener>;
  readonly subscribed: Promise<void>;
}

export class Subscriptions {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #channels: Map<string, Channel>;
  readonly #reconnected: Set<() => void>;
  #opening: Promise<SubscriberConnection> | undefined;
  #closed: boolean;

  constructor(connection: Connection, clock: Clock, limitMs: number) {
    this.#connection = connection;
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#channels = new Map();
    this.#reconnected = new Set();
    this.#opening = undefined;
    this.#closed = false;
  }

  /** Calls `run` each time when messages may have been missed. */
  onReconnect(run: () => void): void {
    this.#reconnected.add(run);
  }

  /** Listens; resolves with how to end that when nothing more can be missed. */
  async listen(name: string, listener: Listener): Promise<() => void> {
    const subscriber = await this.#subscriber();
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      channel = { listeners: new Set(), subscribed: this.#timed(subscriber.subscribe(name)) };
      this.#channels.set(name, channel);
    }
    const { listeners, subscribed } = channel;
    listeners.add(listener);
    const end = (): void => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#channels.get(name) !== channel) return;
      this.#channels.delete(name);
      if (!this.#closed) subscriber.unsubscribe(name).catch(() => undefined);
    };
    try {
      await subscribed;
    } catch (error) {
      end();
      throw error;
    }
    return end;
  }

  close(): void {
    this.#closed = true;
    this.#opening?.then((subscriber) => subscriber.close()).catch(() => undefined);
  }

  #subscriber(): Promise<SubscriberConnection> {
    if (this.#closed) {
      return Promise.reject(new QuorateError('ERR_CLOSED', 'these locks were closed'));
    }
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open(): Promise<SubscriberConnection> {
    const opened = this.#connection.subscriber(
      (message, channel) => this.#deliver(channel, message),
      () => {
        for (const run of this.#reconnected) run();
      },
    );
    try {
      return await this.#timed(opened);
    } catch (error) {
      this.#opening = undefined;
      opened.then((late) => late.close()).catch(() => undefined);
      throw error;
    }
  }

  #deliver(channel: string, message: string): void {
    for (const listener of [...(this.#channels.get(channel)?.listeners ?? [])]) listener(message);
  }

  /** A connection that is to be made stays in the client's hands: what it needs is a time limit. */
  async #timed<T>(work: Promise<T>): Promise<T> {
    const asked = work.catch((error: unknown) => {
      throw fromClient(error);
    });
    return withinTime(this.#clock, this.#limitMs, undefined, (signal) => orAborted(asked, signal));
  }
}
