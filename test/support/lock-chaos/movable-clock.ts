/**
 * A wall clock for servers that can be set while they run: a few lines of C that stand before the C library's own
 * clock (`LD_PRELOAD`) and add what a file says. The monotonic clock is left alone, as it is where a machine's clock
 * is set. (Debian's libfaketime does not run with Debian's Redis: it meets jemalloc before it is ready.)
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('movable-clock.c', import.meta.url));

export class MovableClock {
  /** For the server's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly #folder: string;
  /** Written in place: servers have it mapped. */
  readonly #file: number;
  #offsetMs = 0;

  private constructor(folder: string) {
    this.#folder = folder;
    this.env = { LD_PRELOAD: join(folder, 'clock.so'), MOVABLE_CLOCK: join(folder, 'offset') };
    this.#file = openSync(this.env['MOVABLE_CLOCK']!, 'w');
    this.move(0);
  }

  /** Or why there is none: it needs Linux and a C compiler. Where engines are required it is, too. */
  static open(): { readonly clock: MovableClock | undefined; readonly why: string } {
    const opened = MovableClock.#open();
    if (opened.clock === undefined && process.env['QUORATE_REQUIRE_ENGINES'] === '1') {
      throw new Error(`the clocks of servers cannot be moved: ${opened.why}`);
    }
    return opened;
  }

  static #open(): { readonly clock: MovableClock | undefined; readonly why: string } {
    if (process.platform !== 'linux') return { clock: undefined, why: 'this is not Linux' };
    const folder = mkdtempSync(join(tmpdir(), 'quorate-clock-'));
    const args = ['-shared', '-fPIC', '-O2', '-o', join(folder, 'clock.so'), SOURCE];
    try {
      execFileSync('cc', args, { stdio: 'pipe' });
      return { clock: new MovableClock(folder), why: '' };
    } catch (error) {
      rmSync(folder, { recursive: true });
      return { clock: undefined, why: `no C compiler: ${(error as Error).message.trim()}` };
    }
  }

  /** Sets it ahead, or back, of what it is. */
  move(byMs: number): void {
    this.#offsetMs += byMs;
    const nanoseconds = Buffer.alloc(8);
    nanoseconds.writeBigInt64LE(BigInt(Math.round(this.#offsetMs)) * 1_000_000n);
    writeSync(this.#file, nanoseconds, 0, 8, 0);
  }

  close(): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
