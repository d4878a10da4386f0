/**
 * TCP links between real processes that can be hurt: cut, held, made to swallow, slowed, reset in the
 * middle of a frame; each direction by itself where that makes sense.
 *
 * Every process is reached through a listener of ours. Who dials is told by the first bytes of the
 * connection (`identify`), so that one listener a process is enough.
 */
import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/** What happens to the bytes of a link. */
export interface Impairment {
  /** Connections are reset, new ones as well. Hits both directions. */
  readonly cut?: boolean;
  /** Bytes wait and arrive when this is lifted: as packets that are lost and sent again. */
  readonly hold?: boolean;
  /** Bytes vanish and nobody is told; what lost some is reset when this is lifted. */
  readonly swallow?: boolean;
  readonly latencyMs?: number;
  readonly bytesPerSecond?: number;
}

/** Chooses links by their ends, in the direction of the bytes. */
export type Links = (from: string, to: string) => boolean;

/** Who a listener's connections come from: `undefined` while `first` is too short to tell. */
export type Identify = (first: Buffer) => string | undefined;

interface State {
  readonly cut: boolean;
  readonly hold: boolean;
  readonly swallow: boolean;
  readonly latencyMs: number;
  readonly bytesPerSecond: number;
}

/** More than this waits in the socket of the sender, which then notices. */
const MAX_QUEUED_BYTES = 256 * 1024;
/** A dialer that does not say who it is within this many bytes is a stranger. */
const MAX_FIRST_BYTES = 4096;

/** What waits to be passed on. `end`: the source has ended; `reset`: it broke here. */
interface Item {
  readonly what: Buffer | 'end' | 'reset';
  readonly dueMs: number;
}

/** One direction of a connection. */
class Pipe {
  readonly from: string;
  readonly to: string;
  state: State;
  /** The next chunk is cut in two, and the connection ends after its first half. */
  isArmed = false;
  hasSwallowed = false;
  /** Its last chunk has come: nothing that follows is let through. */
  #isOver = false;
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #breakOff: () => void;
  #queue: Item[] = [];
  #queuedBytes = 0;
  #freeMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isBlocked = false;

  constructor(
    ends: { readonly from: string; readonly to: string },
    sockets: { readonly source: Socket; readonly sink: Socket },
    state: State,
    breakOff: () => void,
  ) {
    this.from = ends.from;
    this.to = ends.to;
    this.state = state;
    this.#source = sockets.source;
    this.#sink = sockets.sink;
    this.#breakOff = breakOff;
    this.#source.on('data', (chunk: Buffer) => this.take(chunk));
    this.#source.on('end', () => this.#end());
    this.#sink.on('drain', () => {
      this.#isBlocked = false;
      this.#pump();
    });
  }

  get isQuiet(): boolean {
    return this.state.hold || this.state.swallow;
  }

  take(chunk: Buffer): void {
    if (this.state.swallow) this.hasSwallowed = true;
    else if (this.#isOver) return;
    else if (this.isArmed && chunk.length > 1) {
      this.#isOver = true;
      this.#push(chunk.subarray(0, chunk.length >> 1));
      this.#push('reset');
    } else this.#push(chunk);
  }

  #end(): void {
    if (this.state.swallow) this.hasSwallowed = true;
    else if (!this.#isOver) this.#push('end');
  }

  #push(what: Buffer | 'end' | 'reset'): void {
    const { latencyMs, bytesPerSecond } = this.state;
    const bytes = bytesOf(what);
    const dueMs = Math.max(performance.now() + latencyMs, this.#freeMs);
    this.#freeMs = dueMs + (bytes / bytesPerSecond) * 1000;
    this.#queue.push({ what, dueMs });
    this.#queuedBytes += bytes;
    if (this.#queuedBytes > MAX_QUEUED_BYTES) this.#source.pause();
    this.#pump();
  }

  /** The state has changed: what waited for the old one waits no longer. */
  restate(state: State): void {
    this.state = state;
    this.#freeMs = 0;
    this.#queue = this.#queue.map(({ what }) => ({ what, dueMs: 0 }));
    this.#pump();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #pump(): void {
    clearTimeout(this.#timer);
    while (!this.#isBlocked && !this.state.hold) {
      const [head] = this.#queue;
      if (head === undefined) break;
      const waitMs = head.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), waitMs);
        return;
      }
      this.#queue.shift();
      this.#queuedBytes -= bytesOf(head.what);
      if (head.what === 'end') this.#sink.end();
      else if (head.what === 'reset') this.#breakOff();
      else this.#isBlocked = !this.#sink.write(head.what);
    }
    if (this.#queuedBytes <= MAX_QUEUED_BYTES && this.#source.isPaused()) this.#source.resume();
  }
}

const bytesOf = (what: Item['what']): number => (typeof what === 'string' ? 0 : what.length);

/** Not where a connection is still to come or has been half closed: there Node loses hold of the handle. */
function reset(socket: Socket): void {
  if (socket.connecting || socket.writableEnded || socket.destroyed) socket.destroy();
  else socket.resetAndDestroy();
}

/** A connection that was let through: both its directions. */
class Connection {
  readonly pipes: readonly [Pipe, Pipe];
  readonly #sockets: readonly Socket[];
  readonly #onClosed: () => void;
  /** It broke while nobody was to notice. */
  #isBroken = false;

  constructor(
    network: FaultyNetwork,
    ends: { readonly from: string; readonly to: string },
    near: Socket,
    far: Socket,
    onClosed: () => void,
  ) {
    this.#sockets = [near, far];
    this.#onClosed = onClosed;
    const breakOff = (): void => this.reset();
    const there = network.stateOf(ends.from, ends.to);
    const back = { from: ends.to, to: ends.from };
    this.pipes = [
      new Pipe(ends, { source: near, sink: far }, there, breakOff),
      new Pipe(back, { source: far, sink: near }, network.stateOf(back.from, back.to), breakOff),
    ];
    for (const socket of this.#sockets) {
      socket.on('error', () => this.#broke());
      socket.on('close', () => {
        if (this.#sockets.every(({ destroyed }) => destroyed)) this.#closed();
      });
    }
  }

  refresh(network: FaultyNetwork): void {
    const states = this.pipes.map((pipe) => network.stateOf(pipe.from, pipe.to));
    const mustEnd = this.pipes.some((pipe, i) => pipe.hasSwallowed && !states[i]!.swallow);
    if (mustEnd || states.some(({ cut }) => cut)) {
      this.reset();
      return;
    }
    for (const [i, pipe] of this.pipes.entries()) pipe.restate(states[i]!);
    if (this.#isBroken) this.#broke();
  }

  reset(): void {
    for (const socket of this.#sockets) reset(socket);
    this.#closed();
  }

  /** Behind a link that is held the other side hears nothing of it. */
  #broke(): void {
    this.#isBroken = true;
    if (!this.pipes.some((pipe) => pipe.isQuiet)) this.reset();
  }

  #closed(): void {
    for (const pipe of this.pipes) pipe.stop();
    this.#onClosed();
  }
}

/** See the head of this file. Close it: its listeners and connections keep a process alive. */
export class FaultyNetwork implements AsyncDisposable {
  readonly #impairments = new Set<{ readonly links: Links; readonly what: Impairment }>();
  readonly #connections = new Set<Connection>();
  readonly #strangers = new Set<Socket>();
  readonly #servers: Server[] = [];

  /** Forwards what comes to a port of its own, which it returns, to `port` of the process `to`. */
  async listen(to: string, port: number, identify: Identify): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (near) =>
      this.#greet(near, identify, { to, port }),
    );
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return (server.address() as { port: number }).port;
  }

  /** Hurts links until the function that it returns is called. Several on one link add up. */
  impair(links: Links, what: Impairment): () => void {
    const impairment = { links, what };
    this.#impairments.add(impairment);
    this.#refresh();
    return () => {
      if (this.#impairments.delete(impairment)) this.#refresh();
    };
  }

  /** What goes over these links next ends in the middle, with a reset. Returns how many it may hit. */
  resetMidFrame(links: Links): number {
    let armed = 0;
    for (const { pipes } of this.#connections) {
      for (const pipe of pipes) {
        if (!links(pipe.from, pipe.to)) continue;
        pipe.isArmed = true;
        armed += 1;
      }
    }
    return armed;
  }

  stateOf(from: string, to: string): State {
    let [cut, hold, swallow, latencyMs] = [false, false, false, 0];
    let bytesPerSecond = Number.POSITIVE_INFINITY;
    for (const { links, what } of this.#impairments) {
      if (!links(from, to)) continue;
      cut ||= what.cut === true;
      hold ||= what.hold === true;
      swallow ||= what.swallow === true;
      latencyMs += what.latencyMs ?? 0;
      bytesPerSecond = Math.min(bytesPerSecond, what.bytesPerSecond ?? bytesPerSecond);
    }
    return { cut, hold, swallow, latencyMs, bytesPerSecond };
  }

  async close(): Promise<void> {
    for (const connection of [...this.#connections]) connection.reset();
    for (const socket of this.#strangers) socket.destroy();
    await Promise.all(this.#servers.map((one) => new Promise((resolve) => one.close(resolve))));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refresh(): void {
    for (const connection of [...this.#connections]) connection.refresh(this);
  }

  /** Reads until it is known who this is. */
  #greet(
    near: Socket,
    identify: Identify,
    there: { readonly to: string; readonly port: number },
  ): void {
    let first = Buffer.alloc(0);
    this.#strangers.add(near);
    near.setNoDelay(true);
    near.on('error', () => near.destroy());
    near.on('close', () => this.#strangers.delete(near));
    const read = (chunk: Buffer): void => {
      first = Buffer.concat([first, chunk]);
      const from = identify(first) ?? (first.length > MAX_FIRST_BYTES ? 'a stranger' : undefined);
      if (from === undefined) return;
      near.off('data', read);
      near.pause();
      this.#strangers.delete(near);
      this.#forward(near, first, { from, to: there.to }, there.port);
    };
    const known = identify(first);
    if (known === undefined) near.on('data', read);
    else this.#forward(near, first, { from: known, to: there.to }, there.port);
  }

  #forward(
    near: Socket,
    first: Buffer,
    ends: { readonly from: string; readonly to: string },
    port: number,
  ): void {
    if (this.stateOf(ends.from, ends.to).cut || this.stateOf(ends.to, ends.from).cut) {
      reset(near);
      return;
    }
    const far = dial({ host: '127.0.0.1', port, allowHalfOpen: true });
    far.setNoDelay(true);
    const connection = new Connection(this, ends, near, far, () => {
      this.#connections.delete(connection);
    });
    this.#connections.add(connection);
    if (first.length > 0) connection.pipes[0].take(first);
    near.resume();
  }
}
