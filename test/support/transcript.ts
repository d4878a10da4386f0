/** The same etcdctl commands against two clusters, compared line by line. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { engine } from './etcd.ts';

/** What one run of the script printed, with what must differ made the same. */
export class Transcript {
  readonly lines: string[] = [];
  readonly #endpoints: readonly string[];
  readonly #names = new Map<string, string>();
  readonly #aliases = new Map<string, string>();

  constructor(endpoints: readonly string[]) {
    this.#endpoints = endpoints;
  }

  run(...args: readonly string[]): string {
    return this.#run(args, undefined);
  }

  runWithInput(input: string, ...args: readonly string[]): string {
    return this.#run(args, input);
  }

  #run(args: readonly string[], input: string | undefined): string {
    const result = spawnSync(engine('etcdctl'), ['--endpoints', this.#endpoints[0]!, ...args], {
      encoding: 'utf8',
      timeout: 20_000,
      ...(input === undefined ? {} : { input }),
    });
    this.note(
      `$ etcdctl ${args.join(' ')}\n${result.stdout}${errorOf(result.stderr)}[${result.status}]`,
    );
    return result.stdout;
  }

  start(...args: readonly string[]): { child: ChildProcess; output: () => string } {
    const child = spawn(engine('etcdctl'), ['--endpoints', this.#endpoints[0]!, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    return { child, output: () => output };
  }

  /** Calls what is `text` here by a name that is the same everywhere. */
  alias(text: string, name: string): void {
    this.#aliases.set(text, name);
  }

  /** Ids become the order in which they first appear. */
  note(text: string): void {
    let known = text;
    for (const [own, name] of this.#aliases) {
      known = known.replaceAll(new RegExp(`\\b${own.replaceAll('.', '\\.')}\\b`, 'g'), name);
    }
    const plain = known.replaceAll(/"(ClusterID|MemberID|RaftTerm)" : \d+/g, '"$1" : …');
    const same = plain.replaceAll(/\b[0-9a-f]{15,16}\b/g, (id) => {
      const name = this.#names.get(id) ?? `id${this.#names.size}`;
      this.#names.set(id, name);
      return name;
    });
    this.lines.push(...same.split('\n').map((line) => line.trimEnd()));
  }
}

/** The client's log lines carry times and addresses: the message is what matters. */
function errorOf(stderr: string): string {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('Error:') || !line.startsWith('{'))
    .join('\n');
}

/** Resolves when the process is gone. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('exit', resolve));
  }
}
