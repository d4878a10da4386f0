/**
 * Real nodes for chaos: `quorate serve` processes whose peers and clients reach them through a
 * `FaultyNetwork`, the first of them on a small file system of its own where one can be mounted.
 */
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { etcdService } from 'quorate/drivers/etcd';
import { decodeHello } from '../../../src/consensus/transport/codec.ts';
import { FrameKind, HEADER_BYTES, MAGIC } from '../../../src/consensus/transport/frame.ts';
import { Member, until } from '../cluster.ts';
import { FaultyNetwork, type Identify } from '../faulty-network.ts';

/** What clients are called on the network. */
export const CLIENTS = 'clients';

/** A place for a node: its addresses stay, its process comes and goes. */
export interface Seat {
  readonly name: string;
  /** Where clients reach it, through the network. */
  readonly endpoint: string;
  /** The same without the network: for those who watch over the test. */
  readonly directEndpoint: string;
  /** As its peers know it. */
  readonly peerUrl: string;
  readonly dataDir: string;
  member: Member;
  /** It is being removed: it may end whenever it hears of it. */
  isLeaving: boolean;
  /** A fault keeps it dead or stopped: no other fault touches the process meanwhile. */
  isHeld: boolean;
}

export interface FleetOptions {
  readonly size: number;
  /** Further flags of `serve`. */
  readonly flags: readonly string[];
}

interface Addresses {
  readonly client: number;
  readonly peer: number;
  readonly clientProxy: number;
  readonly peerProxy: number;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const url = (port: number): string => `http://127.0.0.1:${port}`;

export class Fleet implements AsyncDisposable {
  readonly seats: readonly Seat[];
  readonly network: FaultyNetwork;
  /** The first seat's folder lies on it; `undefined` where nothing can be mounted. */
  readonly smallDisk: string | undefined;
  /** Why there is no small disk. */
  readonly noSmallDisk: string;
  readonly #folder: string;
  readonly #flags: ReadonlyMap<string, readonly string[]>;

  readonly #onExit = (): void => this.#cleanUp();
  /** An interrupted test cleans up as well. */
  readonly #onSignal = (): void => process.exit(1);

  private constructor(
    folder: string,
    network: FaultyNetwork,
    disk: { readonly path: string | undefined; readonly why: string },
    seats: readonly (readonly [Omit<Seat, 'member' | 'isLeaving' | 'isHeld'>, readonly string[]])[],
  ) {
    this.#folder = folder;
    this.network = network;
    this.smallDisk = disk.path;
    this.noSmallDisk = disk.why;
    this.#flags = new Map(seats.map(([{ name }, flags]) => [name, flags]));
    const initial = seats.map(([{ name, peerUrl }]) => `${name}=${peerUrl}`);
    this.seats = seats.map(([seat, flags]) => {
      const all = [...flags, `--initial-cluster=${initial.join()}`];
      const member = new Member(seat.name, seat.directEndpoint, all);
      return { ...seat, member, isLeaving: false, isHeld: false };
    });
    process.once('exit', this.#onExit);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  /** Starts all nodes and waits for a leader. */
  static async start({ size, flags }: FleetOptions): Promise<Fleet> {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-chaos-'));
    const network = new FaultyNetwork();
    const names = Array.from({ length: size }, (_, i) => `n${i + 1}`);
    const ports = await quietPorts(size * 2);
    const addresses: Addresses[] = [];
    const nameOf = new Map<string, string>();
    const identify: Identify = (first) => dialerOf(first, nameOf);
    for (const [i, name] of names.entries()) {
      const [client, peer] = [ports[2 * i]!, ports[2 * i + 1]!];
      const clientProxy = await network.listen(name, client, () => CLIENTS);
      const peerProxy = await network.listen(name, peer, identify);
      nameOf.set(url(peerProxy), name);
      addresses.push({ client, peer, clientProxy, peerProxy });
    }
    const disk = await mountSmallDisk(join(folder, 'small'));
    const seats = addresses.map((at, i) => {
      const name = names[i]!;
      const dataDir = join(i === 0 ? (disk.path ?? folder) : folder, name);
      const seat = {
        name,
        dataDir,
        endpoint: `127.0.0.1:${at.clientProxy}`,
        directEndpoint: `127.0.0.1:${at.client}`,
        peerUrl: url(at.peerProxy),
      };
      return [seat, [...flagsOf(name, dataDir, at), ...flags]] as const;
    });
    const fleet = new Fleet(folder, network, disk, seats);
    for (const { member } of fleet.seats) member.start();
    try {
      await until('the fleet has a leader', () => fleet.leader());
    } catch (error) {
      const outputs = fleet.outputs();
      await fleet[Symbol.asyncDispose]();
      throw new Error(`the fleet did not start\n${outputs}`, { cause: error });
    }
    return fleet;
  }

  get endpoints(): string[] {
    return this.seats.map(({ endpoint }) => endpoint);
  }

  get directEndpoints(): string[] {
    return this.seats.map(({ directEndpoint }) => directEndpoint);
  }

  outputs(): string {
    return this.seats.map(({ name, member }) => `--- ${name}\n${member.output}`).join('\n');
  }

  /** Who says of itself that it leads, in the newest term; it may be the last to learn that it does not. */
  async leader(): Promise<Seat | undefined> {
    const found: { readonly seat: Seat; readonly term: number }[] = [];
    await Promise.all(
      this.seats.map(async (seat) => {
        if (!seat.member.running || seat.isHeld) return;
        const service = etcdService({ endpoints: [seat.directEndpoint], timeoutMs: 500 });
        try {
          const { leader, raftTerm, header } = await service.status(seat.directEndpoint);
          if (leader !== 0n && leader === header?.memberId) found.push({ seat, term: raftTerm });
        } catch {
          // Dead or stopped: it does not lead.
        } finally {
          await service.close();
        }
      }),
    );
    return found.toSorted((a, b) => b.term - a.term)[0]?.seat;
  }

  /** Until a majority of the processes answers, whoever leads. */
  async awaitMajority(timeoutMs: number): Promise<void> {
    let missing = (this.seats.length >> 1) + 1;
    const waiting = this.seats.map(async ({ directEndpoint }) => {
      const service = etcdService({ endpoints: [directEndpoint], timeoutMs: 500 });
      const answers = async (): Promise<boolean> => {
        if (missing <= 0) return true;
        await service.status(directEndpoint);
        missing -= 1;
        return true;
      };
      try {
        await until('a majority of the processes answers', answers, timeoutMs);
      } finally {
        await service.close();
      }
    });
    await Promise.all(waiting);
  }

  /** The seat starts over with an empty folder, as a member that was added to those that run. */
  async renew(seat: Seat): Promise<void> {
    await seat.member.kill('SIGKILL');
    await rm(seat.dataDir, { recursive: true, force: true });
    const initial = this.seats.map(({ name, peerUrl }) => `${name}=${peerUrl}`);
    seat.member = new Member(seat.name, seat.directEndpoint, [
      ...this.#flags.get(seat.name)!,
      `--initial-cluster=${initial.join()}`,
      '--initial-cluster-state=existing',
    ]);
  }

  /** Writes until the small disk is full; returns what makes room again. */
  fillSmallDisk(): () => Promise<void> {
    const ballast = join(this.smallDisk!, 'ballast');
    const file = openSync(ballast, 'w');
    const zeros = Buffer.alloc(1 << 20);
    try {
      while (writeSync(file, zeros) > 0);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
    return () => rm(ballast, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.seats.map(({ member }) => member.kill('SIGKILL')));
    await this.network.close();
    this.#cleanUp();
    process.off('exit', this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  #cleanUp(): void {
    for (const { member } of this.seats) if (member.running) process.kill(member.pid!, 'SIGKILL');
    // A process that was killed just now may still have files open on it.
    if (this.smallDisk !== undefined) execFileSync('umount', ['--lazy', this.smallDisk]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function flagsOf(name: string, dataDir: string, at: Addresses): string[] {
  return [
    `--name=${name}`,
    `--data-dir=${dataDir}`,
    `--listen-client-urls=${url(at.client)}`,
    `--advertise-client-urls=${url(at.clientProxy)}`,
    `--listen-peer-urls=${url(at.peer)}`,
    `--initial-advertise-peer-urls=${url(at.peerProxy)}`,
  ];
}

/** A node's hello names the URLs that it advertises; one that only asks for the members has no name yet. */
export function dialerOf(first: Buffer, nameOf: ReadonlyMap<string, string>): string | undefined {
  const start = MAGIC.length + HEADER_BYTES;
  if (first.length <= start) return undefined;
  if (first[start] !== FrameKind.hello) return 'a stranger';
  if (first.length < start + first.readUInt32LE(MAGIC.length)) return undefined;
  const { urls } = decodeHello(first, start + 1);
  return urls.map((one) => nameOf.get(one)).find((name) => name !== undefined) ?? 'a stranger';
}

/**
 * Free ports that no outgoing connection is given, unlike those for port 0: a node that is down for a while must
 * find its ports free.
 */
async function quietPorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) ports.add(port);
  }
  return [...ports];
}

async function mountSmallDisk(
  path: string,
): Promise<{ readonly path: string | undefined; readonly why: string }> {
  await mkdir(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'quorate-chaos', path], {
      stdio: 'pipe',
    });
    return { path, why: '' };
  } catch (error) {
    return { path: undefined, why: (error as Error).message.trim() };
  }
}
