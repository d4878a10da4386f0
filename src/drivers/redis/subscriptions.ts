/** A connection for messages, opened when first needed and closed with the locks. */

import { orAborted } from '../../core/abort.ts';
import type { Cancel, Clock } from '../../core/clock.ts';
import { withinTime } from '../../locks/life.ts';
import { closedError } from '../../locks/signals.ts';
import type { Connection, SubscriberConnection } from './clients.ts';
import { fromClient } from './replies.ts';

type Listener = (message: string) => void;

interface Channel {
  readonly listeners: Set<Listener>;
  readonly subscribed: Promise<void>;
  /** Takes back that it is to be left. */
  stay: Cancel;
}

/** Who stops listening often listens again soon. */
const LINGER_MS = 2000;

export class Subscriptions {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #channels: Map<string, Channel>;
  /** What is left now; clients mix that up with listening to it again. */
  readonly #leaving: Map<string, Promise<void>>;
  readonly #reconnected: Set<() => void>;
  #opening: Promise<SubscriberConnection> | undefined;
  #closed: boolean;

  constructor(connection: Connection, clock: Clock, limitMs: number) {
    this.#connection = connection;
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#channels = new Map();
    this.#leaving = new Map();
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
      const subscribed = this.#subscribe(subscriber, name);
      channel = { listeners: new Set(), subscribed, stay: () => undefined };
      this.#channels.set(name, channel);
    }
    const { listeners, subscribed } = channel;
    listeners.add(listener);
    channel.stay();
    try {
      await subscribed;
    } catch (error) {
      listeners.delete(listener);
      if (this.#channels.get(name) === channel) this.#channels.delete(name);
      throw error;
    }
    return () => {
      listeners.delete(listener);
      channel.stay();
      if (listeners.size > 0) return;
      channel.stay = this.#clock.after(LINGER_MS, () => this.#leave(subscriber, name, channel));
    };
  }

  close(): void {
    this.#closed = true;
    for (const channel of this.#channels.values()) channel.stay();
    this.#opening?.then((subscriber) => subscriber.close()).catch(() => undefined);
  }

  async #subscribe(subscriber: SubscriberConnection, name: string): Promise<void> {
    await this.#leaving.get(name);
    await this.#timed(subscriber.subscribe(name));
  }

  #leave(subscriber: SubscriberConnection, name: string, channel: Channel): void {
    if (this.#closed || channel.listeners.size > 0) return;
    this.#channels.delete(name);
    const left = this.#timed(subscriber.unsubscribe(name)).catch(() => undefined);
    this.#leaving.set(name, left);
    void left.then(() => this.#leaving.delete(name));
  }

  #subscriber(): Promise<SubscriberConnection> {
    if (this.#closed) return Promise.reject(closedError());
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
