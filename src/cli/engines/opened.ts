/** Something open on connections of its own. */

/** What was opened, with the connections below it. */
export interface Opened<T> extends AsyncDisposable {
  readonly it: T;
}

/** Closes what was opened, and then what it stands on. */
export function opened<T extends AsyncDisposable>(
  it: T,
  close: () => Promise<unknown> | undefined,
): Opened<T> {
  return {
    it,
    [Symbol.asyncDispose]: async () => {
      try {
        await it[Symbol.asyncDispose]();
      } finally {
        await close();
      }
    },
  };
}
