/**
 * Refuses a Node that lacks what the package is built on, with a sentence instead of a TypeError deep
 * inside. Imported for that by every entry of the package, before all else.
 */
if (!('withResolvers' in Promise)) {
  const version = globalThis.process?.version ?? 'another runtime';
  throw new Error(`quorate needs Node 22.18 or newer, this is ${version}`);
}

export {};
