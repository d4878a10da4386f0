/**
 * Packages that `quorate` does not depend on but can use: clients of other engines. They are those of the
 * project that the command runs in, or those that are installed beside `quorate`.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { CommandError } from './io.ts';

/** A package, with what it exports. */
export interface Loaded {
  readonly name: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

const HERE = fileURLToPath(import.meta.url);

/**
 * The first of these packages that is installed.
 *
 * @param why - what asks for it: `'--driver redis'`
 * @param places - files in whose folders, and the folders above, `node_modules` is looked for
 * @throws CommandError that says what to install
 */
export async function loadPackage(
  names: readonly string[],
  why: string,
  places: readonly string[] = [join(process.cwd(), 'package.json'), HERE],
): Promise<Loaded> {
  for (const place of places) {
    for (const name of names) {
      const path = find(name, place);
      if (path !== undefined) return { name, exports: await load(name, path) };
    }
  }
  const quoted = names.map((name) => `'${name}'`).join(' or ');
  throw new CommandError(
    `${why} needs the package ${quoted}, which is not installed in this project: npm install ${names[0]}`,
  );
}

function find(name: string, place: string): string | undefined {
  try {
    return createRequire(place).resolve(name);
  } catch {
    return undefined;
  }
}

async function load(name: string, path: string): Promise<Loaded['exports']> {
  try {
    const found = (await import(pathToFileURL(path).href)) as Loaded['exports'];
    // Of CommonJS not every name is seen from outside.
    return { ...found, ...(found['default'] as object | undefined) };
  } catch (error) {
    const cause = error as Error;
    throw new CommandError(
      `the package '${name}' cannot be loaded: ${cause.message}; install it anew: npm install ${name}`,
      undefined,
      { cause },
    );
  }
}
