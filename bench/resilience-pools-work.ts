/** What threads are given in the benchmark of pools: the same functions for ours and for the peers, which pass one argument. */

export function add({ a, b }: { readonly a: number; readonly b: number }): number {
  return a + b;
}

export function length(bytes: Uint8Array): number {
  return bytes.length;
}

export function fib(n: number): number {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
