/**
 * A network of TCP connections between hosts, beneath the real transport: bytes in order, late, in
 * pieces, or lost with their connection. What real ones do that matters here: a cut is noticed by
 * nobody until someone's patience ends, a host that lost power answers nothing, one that came back
 * resets what it does not know, and a process that died closes what it had open.
 */
import { EventEmitter } from 'node:events';
import type { PeerAddress } from '../../consensus/transport/address.ts';
import type {
  ListenOptions,
  PeerListener,
  PeerSocket,
  PeerSockets,
} from '../../consensus/transport/sockets.ts';
import type { Random } from '../../core/random.ts';
import { systemError } from '../disk-image.ts';
import { chance, exponential } from './draw.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './types.ts';

/** How the network behaves: may be changed while it is in use. Rates are chances from 0 to 1. */
export interface NetworkWeather {
  /** A piece takes at least so long, and on average `delayMeanMs` more. */
  delayMinMs: number;
  delayMeanMs: number;
  /** Of a piece to be lost on the way and sent again, which holds up all that follows. */
  retransmitRate: number;
  retransmitMs: number;
  /** Of a piece to arrive with a bit flipped, and TCP's checksum right by chance. */
  corruptRate: number;
  /** Of a piece to arrive in two. */
  splitRate: number;
  /** Of a connection to be reset by something on the way, for each piece. */
  resetRate: number;
  /** A connection attempt without an answer is given up after this long. */
  connectTimeoutMs: number;
}

/** A quiet local network. */
function calmNetwork(): NetworkWeather {
  return {
    delayMinMs: 0.1,
    delayMeanMs: 0.4,
    retransmitRate: 0,
    retransmitMs: 200,
    corruptRate: 0,
    splitRate: 0,
    resetRate: 0,
    connectTimeoutMs: 2000,
  };
}

/** What a socket takes before it says that it has enough. */
const HIGH_WATER_BYTES = 256 * 1024;

interface Host {
  /** Without power: nothing is answered, not even refused. */
  isDown: boolean;
  readonly listeners: Map<number, Listener>;
  readonly sockets: Set<SimulatedSocket>;
}

interface Listener {
  readonly process: SimulatedProcess;
  readonly options: ListenOptions;
}

export class SimulatedNetwork {
  readonly weather: NetworkWeather;
  readonly world: World;
  readonly random: Random;
  readonly #hosts = new Map<string, Host>();
  /** Ways on which nothing passes: `from>to`. */
  readonly #cuts = new Set<string>();
  /** What waits for a way to open. */
  #held: { readonly from: string; readonly to: string; readonly goOn: () => void }[] = [];

  constructor(world: World, weather: NetworkWeather = calmNetwork()) {
    this.world = world;
    this.weather = weather;
    this.random = world.random('network');
  }

  /** The sockets of one process on `host`. */
  sockets(host: string, process: SimulatedProcess): PeerSockets {
    return {
      connect: (address) => this.#connect(host, process, address),
      listen: (address, options) => this.#listen(host, process, address, options),
    };
  }

  /** Sockets that are open on `host`, listening ones included. For finding leaks. */
  openSockets(host: string): number {
    const known = this.#hosts.get(host);
    return known === undefined ? 0 : known.sockets.size + known.listeners.size;
  }

  /** From now on nothing passes from `from` to `to`: what is under way waits. */
  cut(from: string, to: string): void {
    if (this.#cuts.has(`${from}>${to}`)) return;
    this.world.fault('network-cut');
    this.#cuts.add(`${from}>${to}`);
  }

  /** The way is open again: what waited and whose connection still is there passes. */
  heal(sender: string, receiver: string): void {
    if (!this.#cuts.delete(`${sender}>${receiver}`)) return;
    const held = this.#held;
    this.#held = [];
    for (const { from, to, goOn } of held) this.world.after(0, () => this.pass(from, to, goOn));
  }

  healAll(): void {
    for (const cut of [...this.#cuts]) {
      const [from, to] = cut.split('>') as [string, string];
      this.heal(from, to);
    }
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  /** Resets every connection between two hosts: each side hears of it soon, what is under way is lost. */
  reset(a: string, b: string): void {
    this.world.fault('network-reset');
    for (const socket of [...(this.#hosts.get(a)?.sockets ?? [])]) {
      if (socket.remoteAddress === b) socket.resetBoth();
    }
  }

  /** The process on `host` died: the system closes what it had open. */
  processDied(host: string): void {
    const known = this.#host(host);
    known.listeners.clear();
    for (const socket of [...known.sockets]) socket.endByDeath(true);
  }

  /** The machine lost power: nobody is told. */
  powerCut(host: string): void {
    const known = this.#host(host);
    known.isDown = true;
    known.listeners.clear();
    for (const socket of [...known.sockets]) socket.endByDeath(false);
  }

  powerOn(host: string): void {
    this.#host(host).isDown = false;
  }

  /** For sockets: whether `host` has no power. */
  isDown(host: string): boolean {
    return this.#host(host).isDown;
  }

  /** For sockets: runs `goOn` when the way from `from` to `to` is open. */
  pass(from: string, to: string, goOn: () => void): void {
    if (this.#cuts.has(`${from}>${to}`)) this.#held.push({ from, to, goOn });
    else goOn();
  }

  /** For sockets: how long a piece takes. */
  delay(): number {
    const { delayMinMs, delayMeanMs, retransmitRate, retransmitMs } = this.weather;
    const ms = delayMinMs + exponential(this.random, delayMeanMs);
    if (!chance(this.random, retransmitRate)) return ms;
    this.world.fault('network-retransmit');
    return ms + retransmitMs;
  }

  #host(name: string): Host {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = { isDown: false, listeners: new Map(), sockets: new Set() };
      this.#hosts.set(name, host);
    }
    return host;
  }

  async #listen(
    host: string,
    process: SimulatedProcess,
    address: PeerAddress,
    options: ListenOptions,
  ): Promise<PeerListener> {
    const { listeners, sockets } = this.#host(host);
    const { port } = address;
    if (listeners.has(port)) throw systemError('EADDRINUSE', address.url);
    const listener = { process, options };
    listeners.set(port, listener);
    return {
      port,
      close: async () => {
        if (listeners.get(port) === listener) listeners.delete(port);
        for (const socket of [...sockets]) if (socket.isInbound) await socket.closed();
      },
    };
  }

  #connect(host: string, process: SimulatedProcess, address: PeerAddress): SimulatedSocket {
    const own = this.#host(host);
    const near = new SimulatedSocket(this, process, host, address.host, own.sockets, false);
    const refuse = (code: string): void => {
      near.fail(systemError(code, `${address.host}:${address.port}`));
    };
    const giveUp = this.world.after(this.weather.connectTimeoutMs, () => refuse('ETIMEDOUT'));
    near.whenClosed(giveUp);
    this.world.after(this.delay(), () =>
      this.pass(host, address.host, () => {
        const listener = this.#host(address.host).listeners.get(address.port);
        if (near.isClosed || this.isDown(address.host)) return;
        if (listener === undefined) {
          this.#back(address.host, host, () => refuse('ECONNREFUSED'));
          return;
        }
        const there = this.#host(address.host).sockets;
        const far = new SimulatedSocket(this, listener.process, address.host, host, there, true);
        far.join(near);
        listener.process.run(() => listener.options.onSocket(far));
        this.#back(address.host, host, () => {
          giveUp();
          near.join(far);
        });
      }),
    );
    return near;
  }

  #back(from: string, to: string, run: () => void): void {
    this.world.after(this.delay(), () => this.pass(from, to, run));
  }
}

/** What is said to the other side: bytes, that there will be no more, or that it is over. */
type Piece = Buffer | 'end' | 'reset';

/** One end of a connection. */
class SimulatedSocket extends EventEmitter implements PeerSocket {
  readonly remoteAddress: string;
  readonly remotePort = 0;
  readonly isInbound: boolean;
  readonly #network: SimulatedNetwork;
  readonly #process: SimulatedProcess;
  readonly #host: string;
  readonly #siblings: Set<SimulatedSocket>;
  #peer: SimulatedSocket | undefined = undefined;
  /** Written before the connection was there. */
  #early: Piece[] = [];
  /** What this side said arrives there in order: not before this. */
  #lastArrivalMs = 0;
  #inFlight = 0;
  #full = false;
  #ended = false;
  #closed = false;
  /** Something on the way dropped the connection: nothing passes any more. */
  #broken = false;
  readonly #onClosed: (() => void)[] = [];

  constructor(
    network: SimulatedNetwork,
    process: SimulatedProcess,
    host: string,
    remote: string,
    siblings: Set<SimulatedSocket>,
    isInbound: boolean,
  ) {
    super();
    this.#network = network;
    this.#process = process;
    this.#host = host;
    this.remoteAddress = remote;
    this.#siblings = siblings;
    this.isInbound = isInbound;
    siblings.add(this);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  setNoDelay(): void {
    // What is written leaves at once.
  }

  /** The connection is there. */
  join(peer: SimulatedSocket): void {
    if (this.#closed) {
      // Given up before the answer came: the other side has a connection that nobody holds.
      this.#peer = peer;
      this.#say('reset');
      return;
    }
    this.#peer = peer;
    const early = this.#early;
    this.#early = [];
    for (const piece of early) this.#say(piece);
  }

  write(data: Uint8Array): boolean {
    if (this.#closed || this.#ended) return false;
    this.#inFlight += data.length;
    // Copied: the writer may use its memory again, and faults change bytes.
    this.#say(Buffer.from(data));
    this.#full = this.#inFlight > HIGH_WATER_BYTES;
    return !this.#full;
  }

  end(): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    this.#say('end');
  }

  destroy(): void {
    if (this.#closed) return;
    if (!this.#ended) this.#say('end');
    this.#close(undefined);
  }

  /** Resolves when it is closed. */
  closed(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => this.#onClosed.push(resolve));
  }

  whenClosed(run: () => void): void {
    this.#onClosed.push(run);
  }

  /** It failed: the owner is told. */
  fail(error: Error): void {
    if (!this.#closed) this.#process.run(() => this.#close(error));
  }

  resetBoth(): void {
    this.#breakSoon();
    const peer = this.#peer;
    if (peer !== undefined) peer.#breakSoon();
  }

  #breakSoon(): void {
    this.#broken = true;
    const error = systemError('ECONNRESET', this.remoteAddress);
    this.#network.world.after(this.#network.delay(), () => this.fail(error));
  }

  /** The process or the machine died. */
  endByDeath(tellsPeer: boolean): void {
    if (this.#closed) return;
    if (tellsPeer) this.#say('reset');
    this.#siblings.delete(this);
    this.#closed = true;
    this.removeAllListeners();
  }

  #say(piece: Piece): void {
    const peer = this.#peer;
    if (this.#broken) return;
    if (peer === undefined) {
      this.#early.push(piece);
      return;
    }
    const { world } = this.#network;
    const dueMs = Math.max(this.#lastArrivalMs, world.nowMs + this.#network.delay());
    this.#lastArrivalMs = dueMs;
    world.after(dueMs - world.nowMs, () =>
      this.#network.pass(this.#host, this.remoteAddress, () => this.#arrive(peer, piece)),
    );
  }

  #arrive(peer: SimulatedSocket, piece: Piece): void {
    if (this.#broken || this.#network.isDown(this.remoteAddress)) return;
    if (piece instanceof Buffer) {
      this.#drained(piece.length);
      if (peer.#closed) this.#refused();
    }
    peer.#take(piece);
  }

  /** Over there is another process by now, or it closed this: that is how the sender learns of it. */
  #refused(): void {
    const { world } = this.#network;
    world.after(this.#network.delay(), () =>
      this.#network.pass(this.remoteAddress, this.#host, () =>
        this.fail(systemError('ECONNRESET', this.remoteAddress)),
      ),
    );
  }

  #drained(bytes: number): void {
    this.#inFlight -= bytes;
    if (!this.#full || this.#inFlight > HIGH_WATER_BYTES / 2 || this.#closed) return;
    this.#full = false;
    this.#process.run(() => this.emit('drain'));
  }

  #take(piece: Piece): void {
    if (this.#closed) return;
    if (piece === 'reset') this.fail(systemError('ECONNRESET', this.remoteAddress));
    else if (piece === 'end') this.#process.run(() => this.destroy());
    else this.#process.run(() => this.#deliver(this.#weathered(piece)));
  }

  #deliver(data: Buffer): void {
    if (this.#closed) return;
    const { random, weather, world } = this.#network;
    if (data.length < 2 || !chance(random, weather.splitRate)) {
      this.emit('data', data);
      return;
    }
    world.fault('network-split');
    const at = 1 + random.below(data.length - 1);
    this.emit('data', data.subarray(0, at));
    if (!this.#closed) this.emit('data', data.subarray(at));
  }

  #weathered(data: Buffer): Buffer {
    const { random, weather, world } = this.#network;
    if (chance(random, weather.resetRate)) {
      world.fault('network-reset');
      this.resetBoth();
    }
    if (data.length === 0 || !chance(random, weather.corruptRate)) return data;
    world.fault('network-corrupt');
    const at = random.below(data.length);
    data[at] = data[at]! ^ (1 << random.below(8));
    return data;
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#siblings.delete(this);
    for (const run of this.#onClosed.splice(0)) run();
    if (error !== undefined) this.emit('error', error);
    this.emit('close');
    this.removeAllListeners();
  }
}
