/** The peers of npm that `bench -- resilience` loads, as far as it uses them. */
import { installPeers, requirePeer } from './peers.ts';

type Work<T> = () => PromiseLike<T> | T;

/** A policy of cockatiel. */
export interface CockatielPolicy {
  execute<T>(work: Work<T>): Promise<T>;
}

export interface Cockatiel {
  readonly handleAll: object;
  readonly ConsecutiveBreaker: new (threshold: number) => object;
  readonly SamplingBreaker: new (options: object) => object;
  readonly ConstantBackoff: new (ms: number) => object;
  readonly TimeoutStrategy: { readonly Aggressive: string; readonly Cooperative: string };
  bulkhead(limit: number, queue?: number): CockatielPolicy;
  circuitBreaker(on: object, options: object): CockatielPolicy;
  retry(on: object, options: object): CockatielPolicy;
  timeout(ms: number, strategy: string): CockatielPolicy;
  wrap(...policies: CockatielPolicy[]): CockatielPolicy;
}

export interface OpossumBreaker {
  fire(): Promise<unknown>;
  open(): void;
  shutdown(): void;
}
export type Opossum = new (work: () => Promise<unknown>, options: object) => OpossumBreaker;

interface Points {
  readonly points: number;
  /** Seconds. */
  readonly duration: number;
}

export interface FlexibleLimiters {
  readonly RateLimiterMemory: new (options: Points) => { consume(key: string): Promise<unknown> };
}

interface Tokens {
  readonly tokensPerInterval: number;
  readonly interval: string;
}

export interface LimiterPackage {
  readonly RateLimiter: new (options: Tokens) => { tryRemoveTokens(count: number): boolean };
}

export type Bottleneck = new (
  options: object,
) => { schedule<T>(work: () => Promise<T>): Promise<T> };

export interface Peers {
  readonly cockatiel: Cockatiel;
  readonly Opossum: Opossum;
  readonly flexible: FlexibleLimiters;
  readonly limiter: LimiterPackage;
  readonly Bottleneck: Bottleneck;
}

const PACKAGES = [
  'cockatiel@4.0.0',
  'opossum@10.0.0',
  'rate-limiter-flexible@11.4.0',
  'limiter@4.1.0',
  'bottleneck@2.19.5',
];

export async function loadPeers(): Promise<Peers> {
  const folder = await installPeers('quorate-bench-resilience', PACKAGES);
  return {
    cockatiel: requirePeer<Cockatiel>(folder, 'cockatiel'),
    Opossum: requirePeer<Opossum>(folder, 'opossum'),
    flexible: requirePeer<FlexibleLimiters>(folder, 'rate-limiter-flexible'),
    limiter: requirePeer<LimiterPackage>(folder, 'limiter'),
    Bottleneck: requirePeer<Bottleneck>(folder, 'bottleneck'),
  };
}
